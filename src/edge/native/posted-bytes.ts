// What one client sends where its transport carries the other direction only: the bodies of its POSTs, each behind the one before it.
// Promises: a body is read as far as the connection takes it, and no further once that is over; what comes before the connection is open
// waits for it, up to 1,024 bytes: with more, it is all over.

import type { IncomingMessage } from 'node:http';

/** A handshake takes 40 bytes. 100,000 clients may have negotiated and be still to come. */
const maxEarlyBytes = 1024;

export class PostedBytes {
  /** In one piece of its own: each of many small ones, and the block that Node has read it into, would take more than its bytes. */
  #early = Buffer.alloc(0);
  /** undefined: the connection is not open. */
  #receive: ((bytes: Buffer) => void) | undefined;
  #isOver = false;
  #turn: Promise<unknown> = Promise.resolve();
  #paused: PromiseWithResolvers<void> | undefined;
  /** The body that is being read waits for its next bytes, or for this: no connection opens any more. */
  #unopened: PromiseWithResolvers<undefined> | undefined;

  /** The connection is open. */
  start(receive: (bytes: Buffer) => void): void {
    this.#receive = receive;
    const early = this.#early;
    this.#early = Buffer.alloc(0);
    if (early.length > 0) receive(early);
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

  /** Where no connection was open, a body that is still to come is not waited for. */
  end(): void {
    this.#isOver = true;
    this.#early = Buffer.alloc(0);
    if (this.#receive === undefined) this.#unopened?.resolve(undefined);
    this.resume();
  }

  async #read(request: IncomingMessage): Promise<boolean> {
    // Of what is left nothing is read here, and the client gets to read its answer all the same.
    const chunks = request.iterator({ destroyOnReturn: false });
    for (;;) {
      const next = await this.#next(chunks);
      // Also where it has ended the connection.
      if (next?.done) return true;
      if (next === undefined || this.#isOver) {
        // Behind the bytes it may still wait for, which may never come.
        chunks.return?.().catch(() => {});
        return false;
      }
      if (this.#receive === undefined) this.#keep(next.value);
      else this.#receive(next.value);
      await this.#paused?.promise;
    }
  }

  /** @returns undefined where it is over before a connection was open */
  async #next(chunks: AsyncIterator<Buffer>): Promise<IteratorResult<Buffer> | undefined> {
    if (this.#receive === undefined && this.#isOver) return undefined;
    this.#unopened = Promise.withResolvers();
    return Promise.race([chunks.next(), this.#unopened.promise]);
  }

  #keep(bytes: Buffer): void {
    const length = this.#early.length + bytes.length;
    if (length > maxEarlyBytes) return this.end();
    // Not out of Node's shared blocks, as concat's are: some bytes would keep a whole one.
    const kept = Buffer.alloc(length);
    kept.set(this.#early);
    kept.set(bytes, this.#early.length);
    this.#early = kept;
  }
}
