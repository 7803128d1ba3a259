// Counts, once each, the events whose order against the bridge's cannot be proven. In come events that are read from the log while the
// bridge carries their room, and rooms with which the bridge goes on while what was read of them is not shown at every connection yet.

import type { Event } from '../contract/event.ts';
import { keepNewest } from '../keep-newest.ts';
import type { Entry } from '../log/log.ts';
import type { RoomSet } from '../room-set.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics, UnfencedReason } from '../telemetry/metrics.ts';
import type { Fences } from './fences.ts';

export interface UnfencedParts {
  instance: string;
  edge: Pick<Fences, 'undelivered' | 'untilDelivered'>;
  logger: Logger;
  metrics: Metrics;
}

/** Counted events that are remembered, so that none is counted twice while it waits at a connection. */
const maxCounted = 10_000;

export class Unfenced {
  readonly #parts: UnfencedParts;
  /** Event ids. */
  readonly #counted = new Set<string>();

  constructor(parts: UnfencedParts) {
    this.#parts = parts;
  }

  /** Counts an event that is read while the bridge carries its room. */
  wasRead({ room, eventId, instance }: Entry): void {
    this.#count(room, eventId, instance === this.#parts.instance ? 'unread' : 'other_replica');
  }

  /** Counts an event that goes to the bridge while it is not known whether others append to its room. */
  sentBlind({ room, eventIds }: Pick<Event, 'room' | 'eventIds'>): void {
    this.#count(room, eventIds[0] ?? '', 'state_unknown');
  }

  /** Counts an event that may be on both lanes, where a replica does not know which copy to show: that one may show both. */
  inDoubt({ room, eventId }: { room: string; eventId: string }): void {
    this.#count(room, eventId, 'in_doubt');
  }

  /** The bridge goes on with these rooms at once: counts what is not shown of them. */
  overtakes(rooms: RoomSet): void {
    for (const { room, eventId } of this.#parts.edge.undelivered(rooms)) this.#count(room, eventId, 'unread');
  }

  /** Resolves when the bridge may go on with these rooms: what is not shown of them now is shown, or after `limitMs` counted. */
  async untilShown(rooms: RoomSet, limitMs: number): Promise<void> {
    const { edge } = this.#parts;
    const before = edge.undelivered(rooms);
    if (before.length === 0) return;
    await edge.untilDelivered(rooms, limitMs);
    const still = new Set(edge.undelivered(rooms).map(({ eventId }) => eventId));
    for (const { room, eventId } of before) if (still.has(eventId)) this.#count(room, eventId, 'unread');
  }

  #count(room: string, eventId: string, reason: UnfencedReason): void {
    if (this.#counted.has(eventId)) return;
    // Other publishers' events may have none.
    if (eventId !== '') this.#counted.add(eventId);
    keepNewest(this.#counted, maxCounted);
    this.#parts.metrics.unfenced.inc({ reason });
    this.#parts.logger.warn({ eventIds: [eventId], room, reason }, 'order cannot be proven');
  }
}
