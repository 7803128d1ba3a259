// What this replica has read of the log, and how far: in come the entries as the consumer takes them, out goes what the other
// stages ask of that. It is made before the reader, and knows nothing until there is one. Bounded: the oldest go first.

import { keepNewest } from '../keep-newest.ts';
import { type Entry, idempotencyTtlMs, type Position, type Reader, type Typing } from '../log/log.ts';
import { Recent } from '../recent.ts';
import type { Clock } from '../telemetry/clock.ts';
import { TypingGuard } from './typing.ts';

/** Ids that are remembered: of 1,600 events a second. */
const maxSeen = 500_000;
/** Events that the bridge shows, as their appends had no answer. */
const maxWithheld = 10_000;

export class ReadMemory {
  /** An event may stand in the log twice (a publisher's repeat, a log that was replaced), and is shown once. */
  readonly #seen: Recent;
  readonly #typing = new TypingGuard();
  /** Not for a time: the log may bring them after any outage. */
  readonly #withheld = new Set<string>();
  #reader: Pick<Reader, 'position' | 'silentMs'> | undefined;

  constructor(clock: Clock) {
    this.#seen = new Recent({ clock, forMs: idempotencyTtlMs, maxCount: maxSeen });
  }

  /** From now on this reader says how far the log is read. */
  follow(reader: Pick<Reader, 'position' | 'silentMs'>): void {
    this.#reader = reader;
  }

  /** See {@link Reader.position}; the begin of every log while there is no reader. */
  get position(): Position {
    return this.#reader?.position ?? '0-0';
  }

  /** See {@link Reader.silentMs}; Infinity while there is no reader. */
  get silentMs(): number {
    return this.#reader?.silentMs ?? Number.POSITIVE_INFINITY;
  }

  /** Whether the event was read in the last 5 minutes. */
  hasRead(eventId: string): boolean {
    return this.#seen.has(eventId);
  }

  /** The bridge shows this event: it is not shown if the log brings it from now on. */
  withhold(eventId: string): void {
    this.#withheld.add(eventId);
    keepNewest(this.#withheld, maxWithheld);
  }

  /** Whether the sender of a typing note is known to have sent its message meanwhile, or a later state of its typing. */
  isTypingOver(room: string, typing: Typing): boolean {
    return this.#typing.isOver(room, typing);
  }

  /** An entry is read. @returns why it is not to be shown; undefined: it is new, and to be shown */
  take(entry: Entry): 'bridge' | 'repeat' | 'typing' | undefined {
    if (this.#withheld.has(entry.eventId)) return 'bridge';
    if (entry.eventId !== '' && !this.#seen.add(entry.eventId)) return 'repeat';
    return this.#typing.allows(entry) ? undefined : 'typing';
  }
}
