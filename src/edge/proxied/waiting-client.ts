// A client that has asked for a WebSocket and waits for the bridge's word. In come its socket and what it has sent
// already; out goes either what it has sent meanwhile, or that it has left.

import type { Socket } from 'node:net';

/** A client has nothing to say before it is let in; what it says all the same waits up to here. */
const maxEarlyBytes = 64 * 1024;

export class WaitingClient {
  readonly socket: Socket;
  /** Called once if it leaves while it waits. */
  onLeft = () => {};
  #early: Buffer[];
  #earlyBytes: number;
  readonly #keep = (bytes: Buffer) => {
    this.#early.push(bytes);
    this.#earlyBytes += bytes.length;
    if (this.#earlyBytes > maxEarlyBytes) this.socket.pause();
  };
  readonly #leave = () => {
    this.release();
    this.socket.destroy();
    this.onLeft();
  };

  constructor(socket: Socket, head: Buffer) {
    this.socket = socket;
    this.#early = [head];
    this.#earlyBytes = head.length;
    socket.on('data', this.#keep).on('end', this.#leave).on('close', this.#leave);
  }

  get left(): boolean {
    return this.socket.destroyed;
  }

  /** Its waiting is over. @returns what it has sent so far */
  release(): Buffer {
    this.socket.off('data', this.#keep).off('end', this.#leave).off('close', this.#leave);
    return Buffer.concat(this.#early.splice(0));
  }
}
