// This replica's memory of event ids: in comes a call with its id, out comes its outcome, or `duplicate` for a repeat.
// Promises: a repeat of a call that is under way here waits for it, and is carried itself if that one was not kept;
// repeats that reach another replica are the log's to know. While the bridge's memory answers repeats, ids are only noted.

import type { Outcome } from '../lanes/call.ts';
import { counterNames } from '../log/counters.ts';
import { type AcceptedId, idempotencyTtlMs, type Roster } from '../log/log.ts';
import { Recent } from '../recent.ts';
import type { Clock } from '../telemetry/clock.ts';

/** Of 5 minutes at 3,000 calls a second; what the log keeps too is known beyond that. */
const maxAccepted = 1_000_000;

export class Idempotency {
  readonly #roster: Roster;
  readonly #open = new Map<string, Promise<boolean>>();
  readonly #accepted: Recent;
  readonly #stopCounting: () => void;

  constructor(clock: Clock, roster: Roster) {
    this.#roster = roster;
    this.#accepted = new Recent({ clock, forMs: idempotencyTtlMs, maxCount: maxAccepted });
    this.#stopCounting = clock.every(1_000, () => this.count());
  }

  /** Carries the call unless its id was accepted in the last 5 minutes. */
  async once(eventId: string, carry: () => Promise<Outcome>): Promise<Outcome> {
    for (let open = this.#open.get(eventId); open !== undefined; open = this.#open.get(eventId)) await open;
    if (this.#accepted.has(eventId)) return { kind: 'duplicate' };
    return this.note(eventId, carry);
  }

  /** Carries the call whatever is known of its id, and remembers it. */
  async note(eventId: string, carry: () => Promise<Outcome>): Promise<Outcome> {
    const carried = carry();
    const open = carried.then(wasKept, () => false);
    this.#open.set(eventId, open);
    try {
      const outcome = await carried;
      if (wasAccepted(outcome)) this.#accepted.add(eventId);
      return outcome;
    } finally {
      if (this.#open.get(eventId) === open) this.#open.delete(eventId);
    }
  }

  /** The ids that were accepted in the last `withinMs`. */
  recent(withinMs: number): AcceptedId[] {
    const leastMs = Math.max(0, idempotencyTtlMs - withinMs);
    return this.#accepted
      .remaining()
      .filter(({ leftMs }) => leftMs > leastMs)
      .map(({ key, leftMs }) => ({ eventId: key, ttlMs: Math.ceil(leftMs) }));
  }

  /** Tells the roster how many ids are remembered, for `/internal/stats` over all replicas. */
  count(): void {
    this.#roster.set(counterNames.ids, this.#accepted.size);
  }

  close(): void {
    this.#stopCounting();
  }
}

function wasKept(outcome: Outcome): boolean {
  return outcome.kind !== 'bridge' || outcome.answer.status === 200;
}

/** A duplicate was accepted by another replica, which counts it. */
function wasAccepted(outcome: Outcome): boolean {
  return outcome.kind !== 'duplicate' && wasKept(outcome);
}
