// The detour: while the log fails, the rooms of the stream lane go to the bridge on this replica, whole rooms, until the
// log answers again and a fence has passed. In come failures and the log's return, out goes whether a room is on it.
// Promises: a room's events never change between the lanes call by call; before its first call goes to the bridge every
// replica that can be reached knows of it, and has shown, or counted (unfenced.ts), what it had read of the room.

import { type FailureReason, hasCode } from '../errors.ts';
import type { OnDetour } from '../lanes/lanes.ts';
import type { Entry } from '../log/log.ts';
import { type Clock, pause } from '../telemetry/clock.ts';
import type { Logger } from '../telemetry/logger.ts';
import { Seldom } from '../telemetry/seldom.ts';
import type { Note } from './control.ts';
import { type DetourNews, Elsewhere } from './elsewhere.ts';
import type { Flights } from './flights.ts';
import type { Gate } from './gate.ts';
import { idsSlackMs, newId } from './handover.ts';
import type { Unfenced } from './unfenced.ts';

export interface DetourParts {
  instance: string;
  gate: Gate;
  flights: Flights;
  unfenced: Unfenced;
  /** Ends the coalescing windows of these rooms; resolves when what was in them is where their calls go. */
  flush(covers: (room: string) => boolean): Promise<void>;
  /** The rooms of whose windows something is still on its way. */
  emitting(): string[];
  /** Whether the log answers and this replica reads it. */
  logAnswers(): boolean;
  /** What must be in the log before calls go there again: the ids that the bridge has accepted in the last `withinMs`. */
  beforeReturn(withinMs: number): Promise<void>;
  tell(note: Note): Promise<void>;
  /** Tells the other replicas without the log; resolves when they have taken it, as far as they can be reached. */
  post(news: DetourNews): Promise<void>;
  /** ms that a room may wait. */
  timeoutMs: number;
  /** ms that what was read of a room may take until it is shown. */
  showMs(): number;
  clock: Clock;
  logger: Logger;
}

const retryMs = 100;
/** ms within which this replica must have read its own note again. */
const readBackMs = 1_000;
/** What other replicas have told counts for a while; they tell it again as long as it is so. */
const tellAgainMs = 10_000;
/** More rooms than this are fenced as all rooms. */
const maxNamedRooms = 500;
/** A return that fails holds calls up in vain: the next one waits twice as long, up to this. */
const maxRetryMs = 2_000;
const sayEveryMs = 5_000;

interface OwnRoom extends OnDetour {
  /** Of the fence note that will end it. */
  id: string;
}

export class Detour {
  readonly #parts: DetourParts;
  readonly #rooms = new Map<string, OwnRoom>();
  /** Set while every room is on it: the shared state is not known yet, or was not followed for a while. */
  #all: { reason: FailureReason } | undefined;
  /** Of the next fence note. */
  #id = newId();
  /** What is read of these rooms meanwhile is out of order here too. */
  readonly #elsewhere: Elsewhere;
  /** Notes that this replica waits to read. */
  readonly #awaited = new Map<string, () => void>();
  /** Detours of other replicas -> when what they overtake here is shown or counted. */
  readonly #shows = new Map<string, Promise<unknown>>();
  readonly #stops: (() => void)[];
  readonly #saysStay: Seldom;
  #returning = false;
  /** The next return is not tried before, ms monotonic. */
  #retryAt = 0;
  #waitMs = retryMs;
  /** Whether the log has failed a call since the rooms were last back: at a start they take the detour without that. */
  #hasFailed = false;
  /** When the first room took the detour, ms monotonic. */
  #since = 0;

  constructor(parts: DetourParts) {
    this.#parts = parts;
    this.#elsewhere = new Elsewhere(parts);
    this.#saysStay = new Seldom(parts.clock, sayEveryMs);
    this.#stops = [
      parts.clock.every(retryMs, () => {
        if (parts.logAnswers()) this.#tryReturn();
      }),
      parts.clock.every(tellAgainMs, () => this.#tellAgain()),
    ];
  }

  /** undefined: a call of this room does not take the detour. */
  of(room: string): OnDetour | undefined {
    return this.#rooms.get(room) ?? (this.#all && this.#add(room, this.#all.reason));
  }

  get roomCount(): number | 'all' {
    return this.#all === undefined ? this.#rooms.size : 'all';
  }

  /** The log could not take a call of this room. @returns when the call may go to the bridge, see OnDetour */
  take(room: string, reason: FailureReason): Promise<void> {
    if (!this.#hasFailed) this.#parts.logger.warn({ reason }, 'the log fails: its rooms go to the bridge');
    this.#hasFailed = true;
    const known = this.of(room);
    if (known !== undefined) return known.ready;
    if (this.roomCount === 0) this.#since = this.#parts.clock.monotonic();
    return this.#add(room, reason).ready;
  }

  /** The log answers, but no room of this replica may use the stream lane before a fence. */
  takeAll(reason: FailureReason): void {
    if (this.roomCount === 0) this.#since = this.#parts.clock.monotonic();
    this.#all = { reason };
    this.#tryReturn();
  }

  /** Another replica has told, perhaps twice. Resolves when the bridge overtakes nothing here that is not counted. */
  async takenElsewhere(news: DetourNews): Promise<void> {
    const shown = Promise.all([this.#shows.get(news.id), this.#show(this.#elsewhere.take(news))]);
    this.#shows.set(news.id, shown);
    await shown;
    if (this.#shows.get(news.id) === shown) this.#shows.delete(news.id);
  }

  /** Whether another replica takes, or took a moment ago, this room's calls to the bridge: what they say the log does not know. */
  hadElsewhere(room: string): boolean {
    return this.#elsewhere.hadRecently(room);
  }

  /**
   * Counts what is read of a room while the bridge carries it: the two cannot be put in order any more.
   * @param wasOvertaken whether the room has left the stream lane meanwhile, without the log
   */
  noteRead(entry: Entry, wasOvertaken: boolean): void {
    const { room } = entry;
    if (wasOvertaken || this.#rooms.has(room) || this.#elsewhere.has(room)) this.#parts.unfenced.read(entry);
  }

  /** A fence note was read, of this replica or another one. */
  onFence(id: string, rooms: string[] | 'all'): void {
    this.#elsewhere.end(id, rooms);
    this.#awaited.get(id)?.();
  }

  close(): void {
    for (const stop of this.#stops) stop();
  }

  #add(room: string, reason: FailureReason): OwnRoom {
    const told = this.#elsewhere.tell(this.#id, room);
    const ready = Promise.all([told, this.#show([room])]).then(() => {});
    const added = { reason, ready, id: this.#id };
    this.#rooms.set(room, added);
    return added;
  }

  #show(rooms: string[]): Promise<void> {
    const named = new Set(rooms);
    return this.#parts.unfenced.show((room) => named.has(room), this.#parts.showMs());
  }

  #tellAgain(): void {
    this.#elsewhere.sweep();
    for (const [room, { id }] of this.#rooms) void this.#elsewhere.tell(id, room);
  }

  #tryReturn(): void {
    const { clock } = this.#parts;
    if (this.#returning || this.roomCount === 0 || clock.monotonic() < this.#retryAt) return;
    this.#returning = true;
    this.#return()
      .catch((error) => {
        this.#sayStay(error);
        return false;
      })
      .then((isDone) => {
        this.#returning = false;
        this.#retryAt = isDone ? 0 : clock.monotonic() + this.#waitMs;
        this.#waitMs = isDone ? retryMs : Math.min(2 * this.#waitMs, maxRetryMs);
      });
  }

  #sayStay(error: unknown): void {
    const reason = (error as Error).message;
    if (this.#saysStay.isDue()) this.#parts.logger.warn({ reason }, 'the rooms stay with the bridge');
  }

  /**
   * Holds the rooms' calls, waits for those at the bridge, has everything fenced, and lets them go on by the log.
   * @returns false where the log has not taken that
   */
  async #return(): Promise<boolean> {
    const { gate, flights, flush, emitting, clock, timeoutMs, beforeReturn } = this.#parts;
    await beforeReturn(clock.monotonic() - this.#since + idsSlackMs);
    const all = this.#all;
    const named = new Map(this.#rooms);
    const covers = all !== undefined ? () => true : (room: string) => named.has(room);
    const id = this.#id;
    // What takes the detour from now on is ended by the next fence.
    this.#id = newId();
    gate.close(id, covers);
    try {
      const landed = flights.landed(covers).then(() => flush(covers));
      await Promise.race([landed, pause(clock, timeoutMs)]);
      // A room whose call is still at the bridge goes on there, and returns another time.
      const late = new Set([...flights.rooms(covers), ...emitting().filter(covers)]);
      await this.#stay([...late].map((room) => [room, (all ?? this.#rooms.get(room)!).reason]));
      for (const room of late) named.delete(room);
      if (all === undefined && named.size === 0) return true;
      const rooms = all !== undefined || named.size > maxNamedRooms ? 'all' : [...named.keys()];
      if (await this.#isFenced(id, rooms, () => this.#release(named, all))) return true;
      await this.#stay([...named].map(([room, { reason }]) => [room, reason]));
      return false;
    } finally {
      gate.open(id);
    }
  }

  /** These rooms are on the next detour; the other replicas know it before they read of the end of this one, if they can. */
  async #stay(rooms: [room: string, reason: FailureReason][]): Promise<void> {
    if (rooms.length === 0) return;
    const told = rooms.map(([room, reason]) => this.#add(room, reason).ready);
    await Promise.race([Promise.all(told), pause(this.#parts.clock, this.#parts.timeoutMs)]);
  }

  /** @param all unless all rooms have taken it once more meanwhile */
  #release(rooms: ReadonlyMap<string, OnDetour>, all: object | undefined): void {
    for (const room of rooms.keys()) this.#rooms.delete(room);
    if (this.#all === all) this.#all = undefined;
    if (this.roomCount !== 0) return;
    if (this.#hasFailed) this.#parts.logger.info('the log answers: its rooms are back');
    this.#hasFailed = false;
  }

  /**
   * @param onRead called where the note is read here: what stands behind it is in order again
   * @returns whether it was read here, and so by every replica before what follows it
   */
  async #isFenced(id: string, rooms: string[] | 'all', onRead: () => void): Promise<boolean> {
    const { promise: read, resolve } = Promise.withResolvers<boolean>();
    this.#awaited.set(id, () => {
      onRead();
      resolve(true);
    });
    const { tell, clock, timeoutMs } = this.#parts;
    const waitMs = await tell({ kind: 'fence', id, rooms }).then(
      () => readBackMs,
      // What may be in the log all the same is read soon, or not at all.
      (error) => {
        this.#sayStay(error);
        return hasCode(error, 'LOG_APPEND_UNKNOWN') ? timeoutMs : 0;
      },
    );
    const isRead = await Promise.race([read, pause(clock, waitMs).then(() => false)]);
    this.#awaited.delete(id);
    return isRead;
  }
}
