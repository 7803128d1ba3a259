// Time in a test's hand: it stands still until the test moves it. Timers run in the order of their time, at their time.

import type { Clock } from '../../src/telemetry/clock.ts';

interface Timer {
  at: number;
  run(): void;
  everyMs?: number;
}

export class TestClock implements Clock {
  /** ms since 1970; a test may set it, also backwards, without moving monotonic time. */
  wallMs: number;
  #monotonicMs = 0;
  readonly #timers = new Set<Timer>();

  constructor(wallMs = Date.UTC(2026, 0, 1)) {
    this.wallMs = wallMs;
  }

  get timers(): number {
    return this.#timers.size;
  }

  now(): number {
    return this.wallMs;
  }

  monotonic(): number {
    return this.#monotonicMs;
  }

  after(ms: number, run: () => void): () => void {
    return this.#start({ at: this.#monotonicMs + ms, run });
  }

  every(ms: number, run: () => void): () => void {
    return this.#start({ at: this.#monotonicMs + ms, run, everyMs: ms });
  }

  advance(ms: number): void {
    const end = this.#monotonicMs + ms;
    for (let timer = this.#nextUntil(end); timer !== undefined; timer = this.#nextUntil(end)) {
      this.#moveTo(timer.at);
      if (timer.everyMs === undefined) this.#timers.delete(timer);
      else timer.at += timer.everyMs;
      timer.run();
    }
    this.#moveTo(end);
  }

  #start(timer: Timer): () => void {
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  #nextUntil(end: number): Timer | undefined {
    const due = [...this.#timers].filter(({ at }) => at <= end);
    return due.sort((a, b) => a.at - b.at)[0];
  }

  #moveTo(monotonicMs: number): void {
    this.wallMs += monotonicMs - this.#monotonicMs;
    this.#monotonicMs = monotonicMs;
  }
}
