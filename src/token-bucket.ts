// How much of something may be spent: in come amounts and the time, out goes whether they are still free. Promises: a burst at
// once and a rate for ever, in two numbers of memory.

export interface Rate {
  /** What may be spent at once. */
  burst: number;
  /** What comes back in a second, up to the burst. */
  perSecond: number;
}

export class TokenBucket {
  readonly #rate: Rate;
  readonly #now: () => number;
  #left: number;
  #at: number;

  /** @param now ms, monotonic */
  constructor(rate: Rate, now: () => number) {
    this.#rate = rate;
    this.#now = now;
    this.#left = rate.burst;
    this.#at = now();
  }

  /** @returns false where less than that is left; nothing is spent then */
  take(amount: number): boolean {
    const now = this.#now();
    const { burst, perSecond } = this.#rate;
    this.#left = Math.min(burst, this.#left + ((now - this.#at) / 1000) * perSecond);
    this.#at = now;
    if (amount > this.#left) return false;
    this.#left -= amount;
    return true;
  }
}
