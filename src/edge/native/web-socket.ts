// A native connection over a WebSocket: one message of the client is some records, and so is one of ours.

import type { Socket } from 'node:net';
import { WebSocket } from 'ws';
import { binaryFrame, textFrame } from '../frame.ts';
import type { HubProtocolName } from '../hub-protocol/protocol.ts';
import type { Prepared } from '../prepared.ts';
import type { NativeTransport, TransportListener } from './transport.ts';

export class NativeWebSocket implements NativeTransport {
  readonly takesBinary = true;
  readonly needsPings = true;
  readonly #webSocket: WebSocket;
  readonly #socket: Socket;

  constructor(webSocket: WebSocket, socket: Socket) {
    this.#webSocket = webSocket;
    this.#socket = socket;
  }

  start(listener: TransportListener): void {
    this.#webSocket.on('message', (data) => listener.receive(data as Buffer));
    this.#webSocket.on('error', (error) => {
      // `ws` has closed with a code that says why.
      if ((error as { code?: string }).code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH') listener.tooLarge();
      this.#webSocket.terminate();
    });
    this.#webSocket.once('close', () => listener.ended());
  }

  get waitingBytes(): number {
    return this.#socket.writableLength;
  }

  send(records: Buffer, protocol: HubProtocolName): void {
    this.#write(protocol === 'json' ? textFrame(records) : binaryFrame(records));
  }

  write(prepared: Prepared, protocol: HubProtocolName): void {
    this.#write(protocol === 'json' ? prepared.textFrame : prepared.binaryFrame);
  }

  pause(): void {
    this.#webSocket.pause();
  }

  resume(): void {
    if (this.#webSocket.isPaused) this.#webSocket.resume();
  }

  close(): void {
    this.#webSocket.close(1000);
  }

  terminate(): void {
    this.#webSocket.terminate();
  }

  /** The connection's own pings tell whether the client is there. */
  sweep(): void {}

  /** Nothing may follow the close frame with which `ws` has answered the client's. */
  #write(frame: Buffer): void {
    if (this.#webSocket.readyState === WebSocket.OPEN) this.#socket.write(frame);
  }
}
