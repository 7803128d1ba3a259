// The calls of this replica on their way, by room. In come calls, which wait at a closed door or are under way until they end, and
// what a coalescing window gives out, which is under way too; out goes the moment at which rooms are quiet.
// Promise: a room that is closed and quiet here has nothing on either lane that this replica still has to send.

import type { RoomSet } from '../room-set.ts';
import { type Clock, pause } from '../telemetry/clock.ts';

interface Closing {
  rooms: RoomSet;
  opened: Promise<void>;
  open(): void;
  /** ms, monotonic */
  closedAt: number;
}

/** Doors that were open again, of which it is kept how long they were closed. */
const keptDoors = 20;

interface UnderWay {
  room: string;
  ended: Promise<void>;
}

export class Traffic {
  readonly #clock: Clock;
  readonly #closed = new Map<string, Closing>();
  readonly #underWay = new Set<UnderWay>();
  /** ms for which the last doors were closed, the latest last. */
  readonly closedMs: number[] = [];
  #flushWindows: (rooms: RoomSet) => void = () => {};

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @param flushWindows ends the coalescing windows of these rooms: what was in them is under way when it returns */
  connect(flushWindows: (rooms: RoomSet) => void): void {
    this.#flushWindows = flushWindows;
  }

  /** Calls of these rooms wait from now on, until open() with the same id. */
  close(id: string, rooms: RoomSet): void {
    const { promise: opened, resolve: open } = Promise.withResolvers<void>();
    this.open(id);
    this.#closed.set(id, { rooms, opened, open, closedAt: this.#clock.monotonic() });
  }

  open(id: string): void {
    const closing = this.#closed.get(id);
    if (closing === undefined) return;
    closing.open();
    this.#closed.delete(id);
    this.closedMs.push(Math.round(this.#clock.monotonic() - closing.closedAt));
    if (this.closedMs.length > keptDoors) this.closedMs.shift();
  }

  /** What a call of this room waits for first; undefined: it may go on. Ask again afterwards. */
  waitFor(room: string): Promise<void> | undefined {
    return this.#closed.values().find(({ rooms }) => rooms.has(room))?.opened;
  }

  /** Something of this room is under way until the returned function is called. */
  begin(room: string): () => void {
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    const underWay: UnderWay = { room, ended };
    this.#underWay.add(underWay);
    return () => {
      this.#underWay.delete(underWay);
      resolve();
    };
  }

  /** Resolves when nothing of these rooms is under way any more, whose doors are closed, or after `limitMs`: then some are late. */
  async quiesce(rooms: RoomSet, limitMs: number): Promise<void> {
    await Promise.race([this.#untilQuiet(rooms), pause(this.#clock, limitMs)]);
  }

  /** Resolves when what is under way of these rooms now has ended. */
  async ended(rooms: RoomSet): Promise<void> {
    await Promise.all([...this.#underWay].filter(({ room }) => rooms.has(room)).map(({ ended }) => ended));
  }

  roomsUnderWay(rooms: RoomSet): Set<string> {
    return new Set([...this.#underWay].map(({ room }) => room).filter((room) => rooms.has(room)));
  }

  /** Ends the windows now. */
  flush(rooms: RoomSet): void {
    this.#flushWindows(rooms);
  }

  async #untilQuiet(rooms: RoomSet): Promise<void> {
    await this.ended(rooms);
    // A call that was under way may have entered a window.
    this.#flushWindows(rooms);
    await this.ended(rooms);
  }
}
