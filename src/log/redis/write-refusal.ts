// Whether Redis itself refuses what it is asked to write, though it answers (OOM, READONLY). In come the outcomes of writes; out goes why.
// Promises: a replica whose events are refused is soon asked for none, so its renewals of the lease end the refusal as well.

import { hasCode } from '../../errors.ts';
import type { Clock } from '../../telemetry/clock.ts';

/** A refusal of an event counts for so long where no other is asked of Redis, and the lease can be written. */
const countsMs = 5_000;

export class WriteRefusal {
  readonly #clock: Clock;
  #last: { why: string; at: number } | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** undefined: nothing was refused last. */
  get why(): string | undefined {
    return this.#last?.why;
  }

  note(why: string): void {
    this.#last = { why, at: this.#clock.monotonic() };
  }

  /** Why an append or a commit has failed; counts where Redis has refused it. */
  noteError(error: unknown): void {
    if (!hasCode(error, 'LOG_APPEND_REFUSED') || error.reason !== 'redis_error') return;
    this.note(error.cause instanceof Error ? error.cause.message : error.message);
  }

  noteTaken(): void {
    this.#last = undefined;
  }

  /** The lease could be written. */
  noteRenewal(): void {
    if (this.#last !== undefined && this.#clock.monotonic() - this.#last.at >= countsMs) this.#last = undefined;
  }
}
