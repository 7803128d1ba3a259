// For log lines that a fault would write a thousand times a second: asked each time, true once in a while.

import type { Clock } from './clock.ts';

export class LogThrottle {
  readonly #clock: Clock;
  readonly #everyMs: number;
  #dueAt = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock, everyMs: number) {
    this.#clock = clock;
    this.#everyMs = everyMs;
  }

  /** Whether it is time for the next line. */
  isDue(): boolean {
    const now = this.#clock.monotonic();
    if (now < this.#dueAt) return false;
    this.#dueAt = now + this.#everyMs;
    return true;
  }
}
