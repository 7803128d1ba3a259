// What waits at the connections of this replica: in come the holds whose fences are out, and the log's events that are read
// of their rooms meanwhile; out goes when a room's events are shown, and which of them are not yet.

import type { Entry } from '../log/log.ts';
import { type Clock, pause } from '../telemetry/clock.ts';

export type ReadEvent = Pick<Entry, 'eventId' | 'room' | 'instance'>;

interface Hold {
  covers(room: string): boolean;
  /** Room -> what was read of it. */
  events: Map<string, ReadEvent[]>;
  ended: PromiseWithResolvers<void>;
}

export class Held {
  readonly #clock: Clock;
  readonly #holds = new Map<string, Hold>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  begin(id: string, covers: (room: string) => boolean): void {
    this.#holds.set(id, { covers, events: new Map(), ended: Promise.withResolvers<void>() });
  }

  /** Every connection's fence is back. */
  end(id: string): void {
    this.#holds.get(id)?.ended.resolve();
    this.#holds.delete(id);
  }

  async untilEnded(id: string): Promise<void> {
    await this.#holds.get(id)?.ended.promise;
  }

  /** An event that goes to the connections now. */
  noteRead({ eventId, room, instance }: ReadEvent): void {
    for (const { covers, events } of this.#holds.values()) {
      if (!covers(room)) continue;
      const ofRoom = events.get(room) ?? [];
      ofRoom.push({ eventId, room, ...(instance !== undefined && { instance }) });
      events.set(room, ofRoom);
    }
  }

  /** Resolves when what is held now of these rooms is shown, or after `limitMs`. */
  async untilShown(covers: (room: string) => boolean, limitMs: number): Promise<void> {
    const holding = [...this.#holds.values()].filter(({ events }) => events.keys().some(covers));
    if (holding.length === 0) return;
    await Promise.race([Promise.all(holding.map(({ ended }) => ended.promise)), pause(this.#clock, limitMs)]);
  }

  /** @returns what is not shown everywhere yet; asked again, only what came after that */
  take(room: string): ReadEvent[] {
    const taken = new Map<string, ReadEvent>();
    for (const { events } of this.#holds.values()) {
      for (const event of events.get(room) ?? []) taken.set(event.eventId, event);
      events.delete(room);
    }
    return [...taken.values()];
  }
}
