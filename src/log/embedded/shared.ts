// Values shared by all replicas of the embedded log, of which there is one: they live in its memory until their TTL ends (those that
// are swapped for each other live in its file, see store.ts).

import type { Clock } from '../../telemetry/clock.ts';

export class EmbeddedShared {
  readonly #clock: Clock;
  readonly #values = new Map<string, { value: string; until: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  set(key: string, value: string, ttlMs: number): void {
    this.#values.set(key, { value, until: this.#clock.monotonic() + ttlMs });
  }

  get(key: string): string | undefined {
    const found = this.#values.get(key);
    return found !== undefined && found.until > this.#clock.monotonic() ? found.value : undefined;
  }

  forgetExpired(): void {
    const now = this.#clock.monotonic();
    for (const [key, { until }] of this.#values) if (until <= now) this.#values.delete(key);
  }
}
