// The ids of the entries shown in the last 5 minutes, so that an event that stands in the log twice (a publisher's
// repeat, a log that was replaced) is shown once. Bounded: the oldest go first.

import { idempotencyTtlMs } from '../log/log.ts';
import type { Clock } from '../telemetry/clock.ts';

const maxIds = 500_000;

export class SeenIds {
  readonly #clock: Clock;
  /** Id to the time (monotonic ms) until which it counts, in order of arrival. */
  readonly #until = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get size(): number {
    this.#forget(this.#clock.monotonic());
    return this.#until.size;
  }

  has(id: string): boolean {
    return (this.#until.get(id) ?? 0) > this.#clock.monotonic();
  }

  /** @returns whether the id is new */
  add(id: string): boolean {
    if (this.has(id)) return false;
    const now = this.#clock.monotonic();
    this.#forget(now);
    this.#until.delete(id);
    this.#until.set(id, now + idempotencyTtlMs);
    return true;
  }

  #forget(now: number): void {
    for (const [id, until] of this.#until) {
      if (until > now && this.#until.size < maxIds) return;
      this.#until.delete(id);
    }
  }
}
