// What this replica has read of the log, and how far: in come the entries as the consumer takes them, out goes whether each is to
// be shown (no repeat, no stale typing, nothing that the bridge shows), and what the other stages ask of what was read. It is made before
// the reader, and knows nothing until there is one. Bounded: the oldest go first.

import { keepNewest } from '../keep-newest.ts';
import { type Entry, idempotencyTtlMs, type Position, type Reader, type Typing } from '../log/log.ts';
import { Recent } from '../recent.ts';
import type { Clock } from '../telemetry/clock.ts';
import { TypingOrder } from './typing.ts';

/** Ids that are remembered: of 1,600 events a second. */
const maxSeen = 500_000;
/** Events that the bridge shows, as their appends had no answer. */
const maxWithheld = 10_000;

export class ReadMemory {
  /** An event may stand in the log twice (a publisher's repeat, a log that was replaced), and is shown once. */
  readonly #seen: Recent;
  readonly #typing = new TypingOrder();
  /**
   * Id -> until when (ms since 1970) an event with it is the one that the bridge shows. By when it was published, not by when
   * it is read: the log may bring it after any outage. After 5 minutes its id may be another event's; clocks differ by less than half of that.
   */
  readonly #withheld = new Map<string, number>();
  readonly #clock: Clock;
  #reader: Pick<Reader, 'position' | 'stalenessMs'> | undefined;

  constructor(clock: Clock) {
    this.#seen = new Recent({ clock, forMs: idempotencyTtlMs, maxCount: maxSeen });
    this.#clock = clock;
  }

  /** From now on this reader says how far the log is read. */
  follow(reader: Pick<Reader, 'position' | 'stalenessMs'>): void {
    this.#reader = reader;
  }

  /** See {@link Reader.position}; the begin of every log while there is no reader. */
  get position(): Position {
    return this.#reader?.position ?? '0-0';
  }

  /** See {@link Reader.stalenessMs}; Infinity while there is no reader. */
  get stalenessMs(): number {
    return this.#reader?.stalenessMs ?? Number.POSITIVE_INFINITY;
  }

  /** Whether the event was read in the last 5 minutes. */
  hasRead(eventId: string): boolean {
    return this.#seen.has(eventId);
  }

  /** The bridge shows this event: it is not shown if the log brings it from now on. */
  withhold(eventId: string): void {
    this.#withheld.set(eventId, this.#clock.now() + idempotencyTtlMs / 2);
    keepNewest(this.#withheld, maxWithheld);
  }

  /** Whether the sender of a typing note is known to have sent its message meanwhile, or a later state of its typing. */
  isTypingOver(room: string, typing: Typing): boolean {
    return this.#typing.isOver(room, typing);
  }

  /** An entry is read. @returns why it is not to be shown; undefined: it is new, and to be shown */
  take(entry: Entry): 'bridge' | 'repeat' | 'typing' | undefined {
    if (this.#isWithheld(entry)) {
      // The bridge shows it: its sender's typing must not come behind it there, either.
      this.#typing.allows(entry);
      return 'bridge';
    }
    if (entry.eventId !== '' && !this.#seen.add(entry.eventId)) return 'repeat';
    return this.#typing.allows(entry) ? undefined : 'typing';
  }

  /** Also where it says nothing of when it was published. */
  #isWithheld({ eventId, publishedAtMs }: Entry): boolean {
    const until = this.#withheld.get(eventId);
    return until !== undefined && !(publishedAtMs > until);
  }
}
