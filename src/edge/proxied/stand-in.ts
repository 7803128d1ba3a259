// One connection of crossfade's own at a bridge, in a user's name. In comes a WebSocket that is being dialled; out go a handshake, pings, and
// a fence, whose answer proves that the bridge counts the connection. What else the bridge sends is read and dropped.
// Promises: one whose bridge says nothing any more is ended, however its network hides that.
// Source: HubProtocol.md ("HandshakeRequest Message", "Invocation", "Ping").

import { WebSocket } from 'ws';
import type { Faults } from '../../telemetry/faults.ts';
import { ping } from '../hub-protocol/json.ts';
import { codecs, cutRecords } from './codec.ts';
import { fenceMethod, OpenFences } from './fences.ts';

export interface StandInOwner {
  faults: Faults;
  /** +1: from now on the bridge may count it among its connections; -1: no more. */
  onCounted(change: 1 | -1): void;
  /** The bridge refuses it, cannot be reached, or does not answer. */
  onNotTaken(error: Error): void;
  /** It is over, whoever has ended it. */
  onGone(): void;
}

const handshake = '{"protocol":"json","version":1}\x1e';
/** A bridge pings every 15 s, and is pinged every 10. */
const maxUnheard = 3;

export class StandIn {
  readonly #owner: StandInOwner;
  readonly #fences = new OpenFences();
  readonly #known = Promise.withResolvers<void>();
  #webSocket: WebSocket | undefined;
  /** Pings since the bridge has said anything: no time, as a process that stood still has not read yet what has come meanwhile. */
  #unheard = 0;
  #isCounted = false;
  #isClosed = false;

  constructor(dial: () => Promise<WebSocket>, owner: StandInOwner) {
    this.#owner = owner;
    owner.faults.contain(
      'bridge',
      async () => this.#begin(await dial()),
      () => this.#end(),
    );
  }

  /** Resolves when the bridge counts the connection, or the connection is over. */
  get known(): Promise<void> {
    return this.#known.promise;
  }

  /** Every 10 s. */
  ping(): void {
    if (this.#webSocket?.readyState !== WebSocket.OPEN) return;
    if (++this.#unheard > maxUnheard) this.#webSocket.terminate();
    else this.#webSocket.send(ping);
  }

  close(): void {
    this.#isClosed = true;
    this.#webSocket?.close(1000);
  }

  #begin(webSocket: WebSocket): void {
    const { faults } = this.#owner;
    const cut = () => webSocket.terminate();
    this.#webSocket = webSocket;
    webSocket.once(
      'open',
      faults.contained('bridge', () => this.#greet(webSocket), cut),
    );
    webSocket.on(
      'message',
      faults.contained('bridge', (message: Buffer) => this.#hear(message), cut),
    );
    webSocket.on(
      'error',
      faults.contained('bridge', (error: Error) => this.#fail(error)),
    );
    webSocket.once(
      'close',
      faults.contained('bridge', () => this.#end()),
    );
    if (this.#isClosed) webSocket.close(1000);
  }

  #greet(webSocket: WebSocket): void {
    this.#isCounted = true;
    this.#owner.onCounted(+1);
    webSocket.send(handshake);
    // The hub answers it behind its connect, by which it counts the connection.
    const fence = this.#fences.open(() => this.#known.resolve());
    webSocket.send(codecs.json.invocation(fenceMethod, [], fence).toString());
  }

  #hear(message: Buffer): void {
    this.#unheard = 0;
    if (!this.#fences.mayBeIn(message)) return;
    for (const record of cutRecords(codecs.json, message) ?? []) {
      const read = codecs.json.readRecord(record);
      if (read?.type === 3) this.#fences.take(read.invocationId)?.();
    }
  }

  #fail(error: Error): void {
    if (!this.#isClosed && !this.#isCounted) this.#owner.onNotTaken(error);
  }

  #end(): void {
    if (this.#isCounted) this.#owner.onCounted(-1);
    this.#known.resolve();
    this.#owner.onGone();
  }
}
