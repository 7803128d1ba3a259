// Coalescing, in front of the stream lane: in come typing events and read receipts, out comes one event per room, kind
// and user and window. Promises: a trailing-edge throttle (the first event opens the window, steady typing still
// shows), the latest state wins, start and stop share a window and so never change places; an event costs by its own size,
// whatever waits in its window, and a window is bounded.

import { type Event, maxUnitedChars } from '../contract/event.ts';
import type { NewEntry, Position } from '../log/log.ts';
import type { RoomSet } from '../room-set.ts';
import type { Clock } from '../telemetry/clock.ts';

export interface CoalescerOptions<Origin> {
  /** ms */
  windowMs: number;
  clock: Clock;
  /** Where this replica's reader stands: a typing note carries it, see Typing in log.ts. */
  position(): Position;
  /**
   * Takes what a window has gathered; the last of the origins is that of the entry's state.
   * @param lateMs how long after its window's end: a process that stood still comes back to open windows
   */
  emit(entry: NewEntry, origins: Origin[], lateMs: number): void;
  /** Called for each event that was merged into another one. */
  onMerged?(event: Event): void;
  maxWindows?: number;
}

/** A window ends with that many events: each keeps its id, and its call until the log has it. */
const maxEvents = 256;

interface Window<Origin> {
  latest: Event;
  eventIds: string[];
  /** In the order in which they came, but the one of `latest` stands last. */
  origins: Origin[];
  /** The lists of all its events. */
  united: Set<string>;
  unitedChars: number;
  openedAt: Position;
  /** When the latest was accepted, in the log's time. */
  statedAt: number | undefined;
  /** ms, monotonic */
  endsAtMs: number;
  cancel(): void;
}

export class Coalescer<Origin> {
  readonly #options: CoalescerOptions<Origin>;
  readonly #rooms = new Map<string, Map<string, Window<Origin>>>();
  #openWindows = 0;

  constructor(options: CoalescerOptions<Origin>) {
    this.#options = options;
  }

  get openWindows(): number {
    return this.#openWindows;
  }

  /**
   * @param statedAt of typing: when it was accepted, in the log's time, where that is known
   * @returns false where no window is free; nothing was kept then
   */
  add(event: Event, origin: Origin, statedAt?: number): boolean {
    const { key } = event.coalescing!;
    const open = this.#rooms.get(event.room)?.get(key);
    if (open !== undefined) this.#options.onMerged?.(event);
    else if (this.#openWindows >= (this.#options.maxWindows ?? 50_000)) return false;
    const window = open ?? this.#open(event, key);
    gather(window, event, origin, statedAt);
    if (window.origins.length >= maxEvents || window.unitedChars >= maxUnitedChars) this.#end(event.room, key);
    return true;
  }

  /** Ends the room's windows now: what follows in the room must not overtake them. */
  flushRoom(room: string): void {
    const windows = this.#rooms.get(room);
    if (windows !== undefined) for (const key of [...windows.keys()]) this.#end(room, key);
  }

  flushRooms(rooms: RoomSet): void {
    for (const room of [...this.#rooms.keys()]) if (rooms.has(room)) this.flushRoom(room);
  }

  #open(event: Event, key: string): Window<Origin> {
    const { room } = event;
    const { windowMs, clock } = this.#options;
    const windows = this.#rooms.get(room) ?? new Map<string, Window<Origin>>();
    this.#rooms.set(room, windows);
    const window: Window<Origin> = {
      latest: event,
      eventIds: [],
      origins: [],
      united: new Set(),
      unitedChars: 0,
      openedAt: this.#options.position(),
      statedAt: undefined,
      endsAtMs: clock.monotonic() + windowMs,
      cancel: clock.after(windowMs, () => this.#end(room, key)),
    };
    windows.set(key, window);
    this.#openWindows++;
    return window;
  }

  #end(room: string, key: string): void {
    const windows = this.#rooms.get(room)!;
    const window = windows.get(key)!;
    window.cancel();
    windows.delete(key);
    if (windows.size === 0) this.#rooms.delete(room);
    this.#openWindows--;
    const lateMs = Math.max(0, this.#options.clock.monotonic() - window.endsAtMs);
    this.#options.emit(entryOf(window), window.origins, lateMs);
  }
}

function gather<Origin>(window: Window<Origin>, event: Event, origin: Origin, statedAt: number | undefined): void {
  // What was accepted first may come last.
  if (statedAt === undefined || window.statedAt === undefined || statedAt >= window.statedAt) {
    window.latest = event;
    window.statedAt = statedAt;
    window.origins.push(origin);
  } else {
    window.origins.splice(-1, 0, origin);
  }
  window.eventIds.push(...event.eventIds);
  for (const item of event.coalescing!.union?.items ?? []) {
    if (window.united.has(item)) continue;
    window.united.add(item);
    window.unitedChars += item.length;
  }
}

/** The one event that stands for all of a window's. */
function entryOf<Origin>({ latest, eventIds, origins, united, openedAt, statedAt }: Window<Origin>): NewEntry {
  const { typingOf: user, union } = latest.coalescing!;
  const typing = user !== undefined && { user, openedAt, ...(statedAt !== undefined && { statedAt }) };
  return {
    ...latest,
    eventIds,
    ...(union !== undefined && { payload: union.payloadOf(united) }),
    ...(origins.length > 1 && { coalescedCount: origins.length }),
    ...(typing !== false && { typing }),
    idsSettled: true,
  };
}
