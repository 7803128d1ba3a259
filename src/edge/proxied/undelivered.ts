// The log's events that were read here and that not every member's client has been shown: the fan-out still writes them, or they wait for
// a fence at some connection. In come the places where an event waits and goes on; out goes, by room, which events a message of the bridge
// may overtake, and when all of them are shown.

import type { RoomSet } from '../../room-set.ts';

/** Where events wait: the fan-out, or one connection. */
export interface Place {
  /**
   * Whether a message that the bridge sends now may be shown before the events of this room that wait here. Not at a connection that has
   * sent its fence and does not read the bridge, because its client is behind: the fence's answer stands in the bridge's socket before
   * that message, and it releases the events first.
   */
  mayBeOvertaken(room: string): boolean;
}

export interface UndeliveredEvent {
  room: string;
  eventId: string;
}

interface WaitingEvent {
  /** Place -> how many of the event's messages wait there. */
  places: Map<Place, number>;
  /** Set where a caller of untilDelivered() waits for it. */
  shown: PromiseWithResolvers<void> | undefined;
}

export class Undelivered {
  /** Room -> event id -> where it waits. */
  readonly #rooms = new Map<string, Map<string, WaitingEvent>>();

  /** A message of the event waits at this place. */
  add(room: string, eventId: string, place: Place): void {
    const events = this.#rooms.get(room) ?? new Map<string, WaitingEvent>();
    const waiting = events.get(eventId) ?? { places: new Map(), shown: undefined };
    waiting.places.set(place, (waiting.places.get(place) ?? 0) + 1);
    this.#rooms.set(room, events.set(eventId, waiting));
  }

  /** A message of the event has gone on from there, or was dropped. */
  remove(room: string, eventId: string, place: Place): void {
    const events = this.#rooms.get(room);
    const waiting = events?.get(eventId);
    if (events === undefined || waiting === undefined) return;
    const left = (waiting.places.get(place) ?? 0) - 1;
    if (left > 0) waiting.places.set(place, left);
    else waiting.places.delete(place);
    if (waiting.places.size > 0) return;
    waiting.shown?.resolve();
    events.delete(eventId);
    if (events.size === 0) this.#rooms.delete(room);
  }

  of(rooms: RoomSet): UndeliveredEvent[] {
    return this.#covered(rooms).map(({ room, eventId }) => ({ room, eventId }));
  }

  /** Resolves when the events that wait now are shown; undefined where none waits. */
  untilDelivered(rooms: RoomSet): Promise<unknown> | undefined {
    const covered = this.#covered(rooms);
    if (covered.length === 0) return undefined;
    return Promise.all(
      covered.map(({ waiting }) => {
        waiting.shown ??= Promise.withResolvers<void>();
        return waiting.shown.promise;
      }),
    );
  }

  #covered(rooms: RoomSet): (UndeliveredEvent & { waiting: WaitingEvent })[] {
    return [...this.#rooms].flatMap(([room, events]) => {
      if (!rooms.has(room)) return [];
      const live = [...events].filter(([, { places }]) => places.keys().some((place) => place.mayBeOvertaken(room)));
      return live.map(([eventId, waiting]) => ({ room, eventId, waiting }));
    });
  }
}
