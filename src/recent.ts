// What is remembered for a fixed time: in come keys, out goes whether one came a short while ago. Promises: the time is the
// process's own, whatever happens to the clock on the wall; bounded, and the oldest go first.

import { setNewest } from './keep-newest.ts';
import type { Clock } from './telemetry/clock.ts';

export interface RecentOptions {
  clock: Clock;
  /** ms for which a key counts. */
  forMs: number;
  maxCount: number;
}

export class Recent {
  readonly #options: RecentOptions;
  /** Key to the time (monotonic ms) until which it counts; those that are over stand in front. */
  readonly #until = new Map<string, number>();

  constructor(options: RecentOptions) {
    this.#options = options;
  }

  get size(): number {
    this.#forget();
    return this.#until.size;
  }

  has(key: string): boolean {
    return (this.#until.get(key) ?? Number.NEGATIVE_INFINITY) > this.#options.clock.monotonic();
  }

  /** From now on it counts for the whole time, known or not. */
  renew(key: string): void {
    const { clock, forMs, maxCount } = this.#options;
    this.#forget();
    setNewest(this.#until, key, clock.monotonic() + forMs, maxCount);
  }

  /** Remembers a new key; one that is known counts no longer for it. @returns whether it is new */
  add(key: string): boolean {
    if (this.has(key)) return false;
    this.renew(key);
    return true;
  }

  #forget(): void {
    const now = this.#options.clock.monotonic();
    for (const [key, until] of this.#until) {
      if (until > now) return;
      this.#until.delete(key);
    }
  }
}
