// What is kept for a fixed time: in come keys, with values where there are any; out goes whether the time of a key still runs, and its
// value. Promises: the time is the process's own, whatever happens to the clock on the wall; bounded, and the oldest go first.

import type { Clock } from './telemetry/clock.ts';

export interface ExpiryOptions {
  clock: Clock;
  /** ms for which a key counts. */
  forMs: number;
  maxCount: number;
}

export class ExpiringMap<Value> {
  readonly #options: ExpiryOptions;
  readonly #forgotten: ((value: Value) => void) | undefined;
  /** Key to the time (monotonic ms) until which it counts; those that are over stand in front. */
  readonly #until = new Map<string, number>();
  /** Apart from the times: most that is kept has no value, and half a million objects would take 20 MB more. */
  readonly #values = new Map<string, Value>();
  /**
   * Goes on from the oldest entry, and is begun anew only at the end. V8 keeps the places of deleted entries in front until it makes the
   * table anew: one that began at the front for each key that comes would walk over all of them, 35 µs a key in a table of 300,000.
   */
  #walk: MapIterator<[key: string, until: number]> | undefined;
  /** Where the walk stands. */
  #oldest: [key: string, until: number] | undefined;

  /** @param forgotten is told of each value whose time is over, or whose place was needed, at the latest by the next sweep */
  constructor(options: ExpiryOptions, forgotten?: (value: Value) => void) {
    this.#options = options;
    this.#forgotten = forgotten;
  }

  get size(): number {
    this.#forgetOldest();
    return this.#until.size;
  }

  has(key: string): boolean {
    return (this.#until.get(key) ?? Number.NEGATIVE_INFINITY) > this.#options.clock.monotonic();
  }

  get(key: string): Value | undefined {
    return this.has(key) ? this.#values.get(key) : undefined;
  }

  /** From now on the key counts for the whole time, known or not. */
  set(key: string, value: Value): void {
    const { clock, forMs } = this.#options;
    this.#until.delete(key);
    this.#until.set(key, clock.monotonic() + forMs);
    if (value !== undefined) this.#values.set(key, value);
    this.#forgetOldest();
  }

  delete(key: string): void {
    this.#until.delete(key);
    this.#values.delete(key);
  }

  /** The keys that count, oldest first, with the ms for which they still do. */
  remaining(): { key: string; leftMs: number }[] {
    this.#forgetOldest();
    const now = this.#options.clock.monotonic();
    return Array.from(this.#until, ([key, until]) => ({ key, leftMs: until - now }));
  }

  /** Forgets now what is over, and not only when the next one is set. */
  sweep(): void {
    this.#forgetOldest();
  }

  #forgetOldest(): void {
    const now = this.#options.clock.monotonic();
    for (;;) {
      this.#oldest ??= this.#step();
      if (this.#oldest === undefined) return;
      const [key, until] = this.#oldest;
      // Else it was deleted, or set anew and stands further behind.
      const isThere = this.#until.get(key) === until;
      if (isThere && until > now && this.#until.size <= this.#options.maxCount) return;
      if (isThere) this.#forget(key);
      this.#oldest = undefined;
    }
  }

  #forget(key: string): void {
    const value = this.#values.get(key);
    this.delete(key);
    if (value !== undefined) this.#forgotten?.(value);
  }

  #step(): [key: string, until: number] | undefined {
    this.#walk ??= this.#until.entries();
    const { value, done } = this.#walk.next();
    if (done) this.#walk = undefined;
    return value;
  }
}
