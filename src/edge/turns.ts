// The turns of the event loop as clients' records share them. In comes the question whether one may go on, out goes what to wait
// for. Promises: all clients' records together hold a turn for 5 ms and the one record that is being handled then, however
// many there are; everything else has its chance in between.

/** A call of the backend takes several turns to its reader. */
const turnMs = 5;

export class Turns {
  readonly #now: () => number;
  #startedAt: number | undefined;
  #over: PromiseWithResolvers<void> | undefined;

  /** @param now ms, monotonic */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** @returns undefined while this turn has time, else what resolves when it is over */
  spent(): Promise<void> | undefined {
    const now = this.#now();
    if (this.#startedAt === undefined) {
      this.#startedAt = now;
      setImmediate(() => this.#end());
    }
    if (now - this.#startedAt < turnMs) return undefined;
    this.#over ??= Promise.withResolvers();
    return this.#over.promise;
  }

  #end(): void {
    const over = this.#over;
    this.#startedAt = undefined;
    this.#over = undefined;
    over?.resolve();
  }
}
