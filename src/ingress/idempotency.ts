// This replica's memory of event ids: in comes a call with its id, out comes its outcome, or `duplicate` for a repeat.
// Promises: a repeat of a call that is under way here waits for it, and is carried itself if that one was not kept;
// repeats that reach another replica are the log's to know. While the bridge's memory answers repeats, ids are only noted.

import type { Outcome } from '../lanes/call.ts';
import { counterNames } from '../log/counters.ts';
import { type AcceptedId, idempotencyTtlMs, type Roster } from '../log/log.ts';
import type { Clock } from '../telemetry/clock.ts';

export class Idempotency {
  readonly #clock: Clock;
  readonly #roster: Roster;
  readonly #open = new Map<string, Promise<boolean>>();
  /** Accepted ids and the time (monotonic ms) until which they are remembered, oldest first. */
  readonly #accepted = new Map<string, number>();
  readonly #stopCounting: () => void;

  constructor(clock: Clock, roster: Roster) {
    this.#clock = clock;
    this.#roster = roster;
    this.#stopCounting = clock.every(1_000, () => this.count());
  }

  /** Carries the call unless its id was accepted in the last 5 minutes. */
  async once(eventId: string, carry: () => Promise<Outcome>): Promise<Outcome> {
    for (let open = this.#open.get(eventId); open !== undefined; open = this.#open.get(eventId)) await open;
    if ((this.#accepted.get(eventId) ?? 0) > this.#clock.monotonic()) return { kind: 'duplicate' };
    return this.note(eventId, carry);
  }

  /** Carries the call whatever is known of its id, and remembers it. */
  async note(eventId: string, carry: () => Promise<Outcome>): Promise<Outcome> {
    const carried = carry();
    const open = carried.then(wasKept, () => false);
    this.#open.set(eventId, open);
    try {
      const outcome = await carried;
      if (wasAccepted(outcome)) this.#remember(eventId);
      return outcome;
    } finally {
      if (this.#open.get(eventId) === open) this.#open.delete(eventId);
    }
  }

  /** The ids that were accepted in the last `withinMs`. */
  recent(withinMs: number): AcceptedId[] {
    const now = this.#clock.monotonic();
    const since = now + Math.max(0, idempotencyTtlMs - withinMs);
    return [...this.#accepted]
      .filter(([, until]) => until > since)
      .map(([eventId, until]) => ({ eventId, ttlMs: Math.ceil(until - now) }));
  }

  /** Tells the roster how many ids are remembered, for `/internal/stats` over all replicas. */
  count(): void {
    this.#forget();
    this.#roster.set(counterNames.ids, this.#accepted.size);
  }

  close(): void {
    this.#stopCounting();
  }

  #remember(eventId: string): void {
    this.#forget();
    if (this.#accepted.has(eventId)) return;
    this.#accepted.set(eventId, this.#clock.monotonic() + idempotencyTtlMs);
  }

  #forget(): void {
    const now = this.#clock.monotonic();
    for (const [id, until] of this.#accepted) {
      if (until > now) return;
      this.#accepted.delete(id);
    }
  }
}

function wasKept(outcome: Outcome): boolean {
  return outcome.kind !== 'bridge' || outcome.answer.status === 200;
}

/** A duplicate was accepted by another replica, which counts it. */
function wasAccepted(outcome: Outcome): boolean {
  return outcome.kind !== 'duplicate' && wasKept(outcome);
}
