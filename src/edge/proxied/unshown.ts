// The log's events that went to the groups and are not shown everywhere yet: they are still being written, or wait for a
// fence at some connection. In comes where they wait and go on, out goes, by room, which there are and when they are shown.

interface Waiting {
  /** At how many places. */
  places: number;
  shown: PromiseWithResolvers<void>;
}

export interface UnshownEvent {
  room: string;
  eventId: string;
}

export class Unshown {
  /** Room -> event id -> where it waits. */
  readonly #rooms = new Map<string, Map<string, Waiting>>();

  /** An event waits at one more place. */
  add(room: string, eventId: string): void {
    const events = this.#rooms.get(room) ?? new Map<string, Waiting>();
    const waiting = events.get(eventId) ?? { places: 0, shown: Promise.withResolvers<void>() };
    waiting.places++;
    this.#rooms.set(room, events.set(eventId, waiting));
  }

  /** It has gone on at one of them, or is dropped there. */
  remove(room: string, eventId: string): void {
    const events = this.#rooms.get(room);
    const waiting = events?.get(eventId);
    if (events === undefined || waiting === undefined) return;
    waiting.places--;
    if (waiting.places > 0) return;
    waiting.shown.resolve();
    events.delete(eventId);
    if (events.size === 0) this.#rooms.delete(room);
  }

  of(covers: (room: string) => boolean): UnshownEvent[] {
    return this.#covered(covers).flatMap(([room, events]) =>
      Array.from(events.keys(), (eventId) => ({ room, eventId })),
    );
  }

  /** Resolves when what waits now is shown; undefined where nothing waits. */
  untilShown(covers: (room: string) => boolean): Promise<unknown> | undefined {
    const waiting = this.#covered(covers).flatMap(([, events]) => [...events.values()]);
    return waiting.length === 0 ? undefined : Promise.all(waiting.map(({ shown }) => shown.promise));
  }

  #covered(covers: (room: string) => boolean): [room: string, events: Map<string, Waiting>][] {
    return [...this.#rooms].filter(([room]) => covers(room));
  }
}
