// One connection of crossfade's own at a bridge, in place of a user's native ones. In comes the WebSocket, being dialled; out go a handshake,
// pings, and a question to the hub, whose answer proves that the hub counts the connection. What the bridge sends is read and dropped.
// Source: signalr-protocol.md, handshake and invocations.

import { WebSocket } from 'ws';
import type { Faults } from '../../telemetry/faults.ts';
import { codecs, cutRecords } from './codec.ts';
import { fenceMethod } from './fences.ts';

export interface StandInOwner {
  faults: Faults;
  /** The bridge does not take it, or cannot be reached. */
  onRefused(error: Error): void;
  /** It is over, whoever has ended it. */
  onGone(): void;
}

const handshake = '{"protocol":"json","version":1}\x1e';
const ping = '{"type":6}\x1e';
/** The hub answers it behind its connect, by which it counts the connection. */
const question = codecs.json.invocation(fenceMethod, [], 'known').toString();

export class StandIn {
  readonly #owner: StandInOwner;
  readonly #known = Promise.withResolvers<void>();
  #webSocket: WebSocket | undefined;
  #isClosed = false;

  constructor(dial: () => Promise<WebSocket>, owner: StandInOwner) {
    this.#owner = owner;
    owner.faults.guard(
      'bridge',
      async () => this.#begin(await dial()),
      () => this.#end(),
    );
  }

  /** Resolves when the hub counts the connection, or the connection is over. */
  get known(): Promise<void> {
    return this.#known.promise;
  }

  ping(): void {
    if (this.#webSocket?.readyState === WebSocket.OPEN) this.#webSocket.send(ping);
  }

  close(): void {
    this.#isClosed = true;
    this.#webSocket?.close(1000);
  }

  #begin(webSocket: WebSocket): void {
    const { faults, onRefused } = this.#owner;
    const onOpen = () => {
      webSocket.send(handshake);
      webSocket.send(question);
    };
    const onMessage = (message: Buffer) => {
      if (!isAnswer(message)) return;
      this.#known.resolve();
      webSocket.removeAllListeners('message');
    };
    const cut = () => webSocket.terminate();
    this.#webSocket = webSocket;
    webSocket.once('open', faults.guarded('bridge', onOpen, cut));
    webSocket.on('message', faults.guarded('bridge', onMessage, cut));
    webSocket.on(
      'error',
      faults.guarded('bridge', (error: Error) => !this.#isClosed && onRefused(error)),
    );
    webSocket.once(
      'close',
      faults.guarded('bridge', () => this.#end()),
    );
    if (this.#isClosed) webSocket.close(1000);
  }

  #end(): void {
    this.#known.resolve();
    this.#owner.onGone();
  }
}

/** It asks one question: a completion is its answer. */
function isAnswer(message: Buffer): boolean {
  return (cutRecords(codecs.json, message) ?? []).some((record) => codecs.json.readRecord(record)?.type === 3);
}
