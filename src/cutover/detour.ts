// The detour: while the log fails, the rooms of the stream lane go to the bridge on this replica, whole rooms, until the
// log answers again and a fence has passed. In come failures and the log's return, out goes whether a room is on it.
// Promises: a room's events never change between the lanes call by call; what cannot be put in order is counted.

import type { FailureReason } from '../errors.ts';
import type { Entry } from '../log/log.ts';
import { type Clock, pause } from '../telemetry/clock.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Note } from './control.ts';
import type { Flights } from './flights.ts';
import type { Gate } from './gate.ts';
import { newId } from './handover.ts';

export interface DetourParts {
  instance: string;
  gate: Gate;
  flights: Flights;
  /** Ends the coalescing windows of these rooms; resolves when what was in them is where their calls go. */
  flush(covers: (room: string) => boolean): Promise<void>;
  /** Whether the log answers and this replica reads it. */
  logAnswers(): boolean;
  /** What must be in the log before calls go there again: the ids that the bridge has accepted in the last `withinMs`. */
  beforeReturn(withinMs: number): Promise<void>;
  tell(note: Note): Promise<void>;
  /** Tells the other replicas which rooms are affected, as far as they can be reached without the log. */
  tellPeers(rooms: string[]): void;
  /** ms that a room may wait. */
  timeoutMs: number;
  clock: Clock;
  logger: Logger;
  metrics: Metrics;
}

const retryMs = 100;
/** What was under way when the detour began may have been accepted a little before. */
const idsSlackMs = 15_000;
/** ms within which this replica must have read its own note again. */
const readBackMs = 1_000;
/** What other replicas have told counts for so long; they tell it again as long as it is so. */
const toldMs = 30_000;
const tellAgainMs = 10_000;
/** More rooms than this are fenced as all rooms. */
const maxNamedRooms = 500;

export class Detour {
  readonly #parts: DetourParts;
  readonly #rooms = new Map<string, FailureReason>();
  /** Set while every room is on it: the shared state is not known yet, or was not followed for a while. */
  #all: FailureReason | undefined;
  /**
   * The detours of other replicas, as they told, and until when (ms monotonic) that counts: what is read of these rooms
   * meanwhile is out of order here too.
   */
  readonly #elsewhere = new Map<string, number>();
  /** Notes that this replica waits to read. */
  readonly #awaited = new Map<string, () => void>();
  readonly #stops: (() => void)[];
  #returning = false;
  /** When the first room took the detour, ms monotonic. */
  #since = 0;

  constructor(parts: DetourParts) {
    this.#parts = parts;
    this.#stops = [
      parts.clock.every(retryMs, () => {
        if (parts.logAnswers()) this.#tryReturn();
      }),
      parts.clock.every(tellAgainMs, () => this.#tellAgain()),
    ];
  }

  /** Why a call of this room takes the detour; undefined: it does not. */
  reasonOf(room: string): FailureReason | undefined {
    if (this.#all !== undefined && !this.#rooms.has(room)) this.#add(room, this.#all);
    return this.#rooms.get(room);
  }

  get roomCount(): number | 'all' {
    return this.#all === undefined ? this.#rooms.size : 'all';
  }

  /** The log could not take a call of this room. */
  take(room: string, reason: FailureReason): void {
    if (this.reasonOf(room) !== undefined) return;
    if (this.roomCount === 0) {
      this.#since = this.#parts.clock.monotonic();
      this.#parts.logger.warn({ reason }, 'the log fails: its rooms go to the bridge');
    }
    this.#add(room, reason);
  }

  /** The log answers, but no room of this replica may use the stream lane before a fence. */
  takeAll(reason: FailureReason): void {
    if (this.roomCount === 0) this.#since = this.#parts.clock.monotonic();
    this.#all = reason;
    this.#tryReturn();
  }

  takenElsewhere(rooms: string[]): void {
    const until = this.#parts.clock.monotonic() + toldMs;
    for (const room of rooms) this.#elsewhere.set(room, until);
  }

  /**
   * Counts what is read of a room while the bridge carries it: the two cannot be put in order any more.
   * @param wasOvertaken whether the room has left the stream lane meanwhile, without the log
   */
  noteRead(entry: Entry, wasOvertaken: boolean): void {
    const isElsewhere = (this.#elsewhere.get(entry.room) ?? 0) > this.#parts.clock.monotonic();
    if (!wasOvertaken && !this.#rooms.has(entry.room) && !isElsewhere) return;
    const reason = entry.instance === this.#parts.instance ? 'unread' : 'other_replica';
    this.#parts.metrics.unfenced.inc({ reason });
    const { eventId, room } = entry;
    this.#parts.logger.warn({ eventIds: [eventId], room, reason }, 'order cannot be proven');
  }

  /** A fence note was read, of this replica or another one. */
  onFence(id: string, rooms: string[] | 'all'): void {
    if (rooms === 'all') this.#elsewhere.clear();
    else for (const room of rooms) this.#elsewhere.delete(room);
    this.#awaited.get(id)?.();
  }

  close(): void {
    for (const stop of this.#stops) stop();
  }

  #add(room: string, reason: FailureReason): void {
    this.#rooms.set(room, reason);
    this.#parts.tellPeers([room]);
  }

  /** A replica that dies on a detour tells nobody of its end. */
  #tellAgain(): void {
    const now = this.#parts.clock.monotonic();
    for (const [room, until] of this.#elsewhere) if (until <= now) this.#elsewhere.delete(room);
    if (this.#rooms.size > 0) this.#parts.tellPeers([...this.#rooms.keys()]);
  }

  #tryReturn(): void {
    if (this.#returning || this.roomCount === 0) return;
    this.#returning = true;
    this.#return()
      .catch((error) => this.#parts.logger.warn({ reason: (error as Error).message }, 'the rooms stay with the bridge'))
      .finally(() => {
        this.#returning = false;
      });
  }

  /** Holds the rooms' calls, waits for those at the bridge, has everything fenced, and lets them go on by the log. */
  async #return(): Promise<void> {
    const { gate, flights, flush, clock, timeoutMs, beforeReturn } = this.#parts;
    await beforeReturn(clock.monotonic() - this.#since + idsSlackMs);
    const all = this.#all;
    const named = new Set(this.#rooms.keys());
    const covers = all !== undefined ? () => true : (room: string) => named.has(room);
    const id = newId();
    gate.close(id, covers);
    try {
      const landed = flights.landed(covers).then(() => flush(covers));
      await Promise.race([landed, pause(clock, timeoutMs)]);
      // A room whose call is still at the bridge goes on there, and returns another time.
      const late = new Set(flights.rooms(covers));
      const rooms = [...named].filter((room) => !late.has(room));
      if (all === undefined && rooms.length === 0) return;
      if (!(await this.#fenceAll(id, all !== undefined || rooms.length > maxNamedRooms ? 'all' : rooms))) return;
      for (const room of rooms) this.#rooms.delete(room);
      if (all !== undefined) for (const room of late) this.#add(room, all);
      this.#all = undefined;
      if (this.roomCount === 0) this.#parts.logger.info('the log answers: its rooms are back');
    } finally {
      gate.open(id);
    }
  }

  /** @returns whether the note was read here, and so by every replica before what follows it */
  async #fenceAll(id: string, rooms: string[] | 'all'): Promise<boolean> {
    const { promise: read, resolve } = Promise.withResolvers<boolean>();
    this.#awaited.set(id, () => resolve(true));
    try {
      await this.#parts.tell({ kind: 'fence', id, rooms });
      return await Promise.race([read, pause(this.#parts.clock, readBackMs).then(() => false)]);
    } finally {
      this.#awaited.delete(id);
    }
  }
}
