// The log's events that went to the groups and are not shown everywhere yet: they are still being written, or wait for a
// fence at some connection. In comes where they wait and go on, out goes, by room, which of them the bridge may overtake, and
// when they are shown.

export interface Place {
  /**
   * Whether the bridge may overtake what waits there of this room. Not where its messages are not read, as the client does
   * not take what was read before: the answer to a fence that was sent lies among them, before whatever the bridge adds.
   */
  mayBeOvertaken(room: string): boolean;
}

export interface UnshownEvent {
  room: string;
  eventId: string;
}

interface WaitingEvent {
  /** With how often it waits there. */
  places: Map<Place, number>;
  /** Set where somebody waits for it. */
  shown: PromiseWithResolvers<void> | undefined;
}

export class Unshown {
  /** Room -> event id -> where it waits. */
  readonly #rooms = new Map<string, Map<string, WaitingEvent>>();

  /** An event waits there. */
  add(room: string, eventId: string, place: Place): void {
    const events = this.#rooms.get(room) ?? new Map<string, WaitingEvent>();
    const waiting = events.get(eventId) ?? { places: new Map(), shown: undefined };
    waiting.places.set(place, (waiting.places.get(place) ?? 0) + 1);
    this.#rooms.set(room, events.set(eventId, waiting));
  }

  /** It has gone on there, or is dropped. */
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

  of(covers: (room: string) => boolean): UnshownEvent[] {
    return this.#covered(covers).map(({ room, eventId }) => ({ room, eventId }));
  }

  /** Resolves when what waits now is shown; undefined where nothing waits. */
  untilShown(covers: (room: string) => boolean): Promise<unknown> | undefined {
    const covered = this.#covered(covers);
    if (covered.length === 0) return undefined;
    return Promise.all(
      covered.map(({ waiting }) => {
        waiting.shown ??= Promise.withResolvers<void>();
        return waiting.shown.promise;
      }),
    );
  }

  #covered(covers: (room: string) => boolean): (UnshownEvent & { waiting: WaitingEvent })[] {
    return [...this.#rooms].flatMap(([room, events]) => {
      if (!covers(room)) return [];
      const live = [...events].filter(([, { places }]) => places.keys().some((place) => place.mayBeOvertaken(room)));
      return live.map(([eventId, waiting]) => ({ room, eventId, waiting }));
    });
  }
}
