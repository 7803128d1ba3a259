// What one client sends where its transport carries the other direction only: the bodies of its POSTs, each behind the one before it.
// Promises: a body is read as far as the connection takes it, and no further once that is over; what comes before the connection is open
// waits for it, up to a bound.

import type { IncomingMessage } from 'node:http';

/** A handshake takes 40 bytes. 100,000 clients may have negotiated and be still to come. */
const maxEarlyBytes = 1024;

export class PostedBytes {
  #early: Buffer[] = [];
  #earlyBytes = 0;
  #receive = (bytes: Buffer) => this.#keep(bytes);
  #isOver = false;
  #turn: Promise<unknown> = Promise.resolve();
  #paused: PromiseWithResolvers<void> | undefined;

  /** The connection is open. */
  start(receive: (bytes: Buffer) => void): void {
    this.#receive = receive;
    for (const bytes of this.#early.splice(0)) receive(bytes);
    this.resume();
  }

  /** @returns whether all of it has been taken; false where the connection is over. Rejects where the client has broken off. */
  take(request: IncomingMessage): Promise<boolean> {
    const taken = this.#turn.then(() => this.#read(request));
    this.#turn = taken.catch(() => {});
    return taken;
  }

  pause(): void {
    this.#paused ??= Promise.withResolvers();
  }

  resume(): void {
    this.#paused?.resolve();
    this.#paused = undefined;
  }

  end(): void {
    this.#isOver = true;
    this.resume();
  }

  async #read(request: IncomingMessage): Promise<boolean> {
    // Of what is left nothing is read here, and the client gets to read its answer all the same.
    for await (const bytes of request.iterator({ destroyOnReturn: false })) {
      if (this.#isOver) return false;
      this.#receive(bytes);
      await this.#paused?.promise;
    }
    // Also where it has ended the connection.
    return true;
  }

  #keep(bytes: Buffer): void {
    this.#early.push(bytes);
    this.#earlyBytes += bytes.length;
    if (this.#earlyBytes > maxEarlyBytes) this.pause();
  }
}
