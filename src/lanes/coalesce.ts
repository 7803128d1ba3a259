// Coalescing, in front of the stream lane: in come typing events and read receipts, out comes one event per room, kind
// and user and window. Promises: a trailing-edge throttle (the first event opens the window, steady typing still
// shows), the latest state wins, start and stop share a window and so never change places.

import type { Event } from '../contract/event.ts';
import type { NewEntry, Position } from '../log/log.ts';
import type { Clock } from '../telemetry/clock.ts';

export interface CoalescerOptions<Origin> {
  /** ms */
  windowMs: number;
  clock: Clock;
  /** Where this replica's reader stands: a typing note carries it, see Typing in log.ts. */
  position(): Position;
  /**
   * Takes what a window has gathered; origins are in order.
   * @param lateMs how long after its window's end: a process that stood still comes back to open windows
   */
  emit(entry: NewEntry, origins: Origin[], lateMs: number): void;
  /** Called for each event that was merged into another one. */
  onMerged?(event: Event): void;
  maxWindows?: number;
}

interface Window<Origin> {
  event: Event;
  origins: Origin[];
  openedAt: Position;
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

  /** @returns false where no window is free; nothing was kept then */
  add(event: Event, origin: Origin): boolean {
    const key = event.coalescing!.key;
    const open = this.#rooms.get(event.room)?.get(key);
    if (open !== undefined) {
      open.event = event.coalescing!.mergeInto(open.event);
      open.origins.push(origin);
      this.#options.onMerged?.(event);
      return true;
    }
    if (this.#openWindows >= (this.#options.maxWindows ?? 50_000)) return false;
    this.#open(event, origin, key);
    return true;
  }

  /** Ends the room's windows now: what follows in the room must not overtake them. */
  flushRoom(room: string): void {
    const windows = this.#rooms.get(room);
    if (windows !== undefined) for (const key of [...windows.keys()]) this.#end(room, key);
  }

  flushRooms(covers: (room: string) => boolean): void {
    for (const room of [...this.#rooms.keys()].filter(covers)) this.flushRoom(room);
  }

  #open(event: Event, origin: Origin, key: string): void {
    const { room } = event;
    const { windowMs, clock } = this.#options;
    const windows = this.#rooms.get(room) ?? new Map<string, Window<Origin>>();
    this.#rooms.set(room, windows);
    windows.set(key, {
      event,
      origins: [origin],
      openedAt: this.#options.position(),
      endsAtMs: clock.monotonic() + windowMs,
      cancel: clock.after(windowMs, () => this.#end(room, key)),
    });
    this.#openWindows++;
  }

  #end(room: string, key: string): void {
    const windows = this.#rooms.get(room)!;
    const { event, origins, openedAt, endsAtMs, cancel } = windows.get(key)!;
    cancel();
    windows.delete(key);
    if (windows.size === 0) this.#rooms.delete(room);
    this.#openWindows--;
    const user = event.coalescing!.typingOf;
    this.#options.emit(
      { ...event, ...(user !== undefined && { typing: { user, openedAt } }), idsSettled: true },
      origins,
      Math.max(0, this.#options.clock.monotonic() - endsAtMs),
    );
  }
}
