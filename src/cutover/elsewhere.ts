// What replicas tell each other of their detours, by HTTP, as the log may be away. In come this replica's rooms (to be told)
// and the other replicas' (as they tell), out goes whether a room is on another replica's detour.
// Promises: what is told at once goes in one message, and in no larger one than the other side takes; a detour counts
// until the note of its end is read, or nobody has told of it again for 30 s.

import { keepNewest } from '../keep-newest.ts';
import type { Clock } from '../telemetry/clock.ts';

/** Some rooms of one replica that are on its detour. */
export interface DetourNews {
  instance: string;
  /** The fence note with this id ends it. */
  id: string;
  rooms: string[];
}

export interface ElsewhereParts {
  instance: string;
  /** Resolves when the other replicas have taken it, as far as they can be reached. */
  post(news: DetourNews): Promise<void>;
  clock: Clock;
}

const gatherMs = 10;
/** Of one message. */
const maxRooms = 1_000;
/** A replica that dies on a detour tells nobody of its end. */
const countsMs = 30_000;
/** ms for which a room is known to have been on a detour: longer than a window and its append take. */
const recentMs = 2_000;
/** Ended detours that are known; what is told of one of them comes late. */
const maxEnded = 100;

/** What is told in one go. */
interface Gathering {
  id: string;
  rooms: string[];
  told: Promise<void>;
}

/** One replica's detour of one room. `until`: ms, monotonic. */
interface Mark {
  id: string;
  until: number;
}

export class Elsewhere {
  readonly #parts: ElsewhereParts;
  #gathering: Gathering | undefined;
  /** Room -> instance -> its detour. */
  readonly #rooms = new Map<string, Map<string, Mark>>();
  readonly #ended = new Set<string>();
  /** Room -> until when its last detour is recent, ms monotonic. */
  readonly #recent = new Map<string, number>();

  constructor(parts: ElsewhereParts) {
    this.#parts = parts;
  }

  /** Resolves when the other replicas know, as far as they can be reached. */
  tell(id: string, room: string): Promise<void> {
    if (this.#gathering?.id !== id) this.#gathering = this.#gather(id);
    this.#gathering.rooms.push(room);
    return this.#gathering.told;
  }

  /** Another replica has told. @returns the rooms of which it is new; none where the detour has ended already */
  take({ instance, id, rooms }: DetourNews): string[] {
    if (this.#ended.has(id)) return [];
    const until = this.#parts.clock.monotonic() + countsMs;
    return rooms.filter((room) => {
      const marks = this.#rooms.get(room) ?? new Map<string, Mark>();
      const isNew = marks.get(instance)?.id !== id;
      this.#rooms.set(room, marks.set(instance, { id, until }));
      return isNew;
    });
  }

  has(room: string): boolean {
    const now = this.#parts.clock.monotonic();
    return (
      this.#rooms
        .get(room)
        ?.values()
        .some(({ until }) => until > now) === true
    );
  }

  /** Whether it is, or was a moment ago. */
  hadRecently(room: string): boolean {
    return this.has(room) || (this.#recent.get(room) ?? 0) > this.#parts.clock.monotonic();
  }

  /** The fence note that ends a detour was read. */
  end(id: string, rooms: string[] | 'all'): void {
    this.#ended.add(id);
    keepNewest(this.#ended, maxEnded);
    this.#forget(rooms === 'all' ? [...this.#rooms.keys()] : rooms, (mark) => mark.id === id);
  }

  sweep(): void {
    const now = this.#parts.clock.monotonic();
    this.#forget([...this.#rooms.keys()], ({ until }) => until <= now);
    for (const [room, until] of this.#recent) if (until <= now) this.#recent.delete(room);
  }

  #forget(rooms: string[], isOver: (mark: Mark) => boolean): void {
    for (const room of rooms) {
      const marks = this.#rooms.get(room);
      if (marks === undefined) continue;
      for (const [instance, mark] of marks) {
        if (!isOver(mark)) continue;
        marks.delete(instance);
        this.#recent.set(room, this.#parts.clock.monotonic() + recentMs);
      }
      if (marks.size === 0) this.#rooms.delete(room);
    }
  }

  /** Many rooms fail within a moment. */
  #gather(id: string): Gathering {
    const { promise: told, resolve } = Promise.withResolvers<void>();
    const gathering: Gathering = { id, rooms: [], told };
    this.#parts.clock.after(gatherMs, () => {
      if (this.#gathering === gathering) this.#gathering = undefined;
      this.#post(gathering).then(resolve, resolve);
    });
    return gathering;
  }

  async #post({ id, rooms }: Gathering): Promise<void> {
    const { instance, post } = this.#parts;
    const portions = Array.from({ length: Math.ceil(rooms.length / maxRooms) }, (_, i) =>
      rooms.slice(i * maxRooms, (i + 1) * maxRooms),
    );
    await Promise.all(portions.map((portion) => post({ instance, id, rooms: portion })));
  }
}
