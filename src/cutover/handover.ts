// The handover: rooms change lane on all replicas at once, in two phases over the log's control stream. In come a change
// (here) and the notes of all replicas (everywhere), out go the adopted state and the fences of the edge.
//
//     coordinator   roll call ---------> announce ------------> commit (state, epoch + 1)
//     each replica             here <---          ready <---            passed <---
//                              who reads          calls held, those     what came before is delivered; rooms that
//                              takes part         under way ended       leave the stream lane go on when all have it
//
// Promises: what stands before the commit in the log was decided under the old lanes, what stands behind it under the new
// ones; a room that comes to the stream lane is fenced at every connection; no room waits much longer than the handover
// timeout (a lane that is late is waited for by the connections, not by the calls).

import { randomBytes } from 'node:crypto';
import { CrossfadeError, hasCode } from '../errors.ts';
import type { Log } from '../log/log.ts';
import { type Clock, pause } from '../telemetry/clock.ts';
import type { Faults } from '../telemetry/faults.ts';
import type { Logger } from '../telemetry/logger.ts';
import { type Note, toEntry } from './control.ts';
import { type Fences, fenceSettled } from './fences.ts';
import type { Flights } from './flights.ts';
import type { Gate } from './gate.ts';
import { type CutoverState, moveOf, movesBetween } from './state.ts';
import { Tally } from './tally.ts';
import type { Unfenced } from './unfenced.ts';

export interface HandoverParts {
  instance: string;
  log: Log;
  fences: Fences;
  gate: Gate;
  flights: Flights;
  unfenced: Pick<Unfenced, 'show'>;
  /** Ends the coalescing windows of these rooms; resolves when what was in them is where their calls go. */
  flush(covers: (room: string) => boolean): Promise<void>;
  state(): CutoverState;
  adopt(state: CutoverState): void;
  /** ms that a room may wait. */
  timeoutMs: number;
  /** ms between the last answer of a bridge and the fences: several bridges on one backplane deliver after their 200. */
  settleMs(): number;
  faults: Faults;
  clock: Clock;
  logger: Logger;
}

/** A replica that has not answered for so long takes no part; it holds its calls by itself until it has read. */
export const answerMs = 500;
/** ms: what was under way when the log was found to fail may have been accepted without it a little before. */
export const idsSlackMs = 15_000;
/** A call is answered by the bridge within its own timeout; then the hold that waits for it ends. */
export const lateLimitMs = 12_000;
/** ms beyond the handover timeout for the answers to arrive, then for the log to take the commit, then to give it up. */
const arrivalMs = 300;
const commitMs = 200;
const abandonMs = 1_000;
const maxAttempts = 5;

/** The live replicas: those that read at this moment, and those that did not answer. */
export interface Roll {
  here: string[];
  silent: string[];
}

/** The notes by which replicas move rooms, or end a detour. */
export type HandoverNote = Extract<
  Note,
  { kind: 'roll call' | 'here' | 'announce' | 'ready' | 'commit' | 'passed' | 'abandon' | 'late fence' | 'fence' }
>;

type Answer = string[];

export class Handover {
  readonly #parts: HandoverParts;
  readonly #tally: Tally<Answer>;
  /** The announced handovers that are neither committed nor abandoned, with what ends each. */
  readonly #open = new Map<string, () => void>();
  /** Holds whose fence is another replica's to ask for, with the rooms that they cover. */
  readonly #late = new Map<string, string[]>();
  #last: Promise<unknown> = Promise.resolve();

  constructor(parts: HandoverParts) {
    this.#parts = parts;
    this.#tally = new Tally(parts.clock);
  }

  /**
   * Moves all replicas to what `change` makes of the state that stands.
   * @param change asked again if another replica was faster; undefined: there is nothing to be changed any more
   * @returns the live replicas that answered, and those that did not
   * Errors: LOG_UNAVAILABLE, LOG_APPEND_*, CUTOVER_CONFLICT.
   */
  move(change: (from: CutoverState) => CutoverState | undefined): Promise<Roll> {
    const moving = this.#last.then(() => this.#move(change));
    this.#last = moving.catch(() => {});
    return moving;
  }

  /** Asks who is there: the live replicas that read at this moment. Errors: LOG_UNAVAILABLE, LOG_APPEND_*. */
  async callRoll(): Promise<Roll> {
    const id = newId();
    const live = (await this.#parts.log.roster.replicas()).map(({ instance }) => instance);
    this.#tally.open(`here ${id}`);
    await this.tell({ kind: 'roll call', id });
    const here = [...(await this.#tally.gather(`here ${id}`, live, answerMs)).keys()];
    const silent = live.filter((instance) => !here.includes(instance));
    if (silent.length > 0) this.#parts.logger.warn({ silent }, 'replicas that do not answer are left out');
    return { here, silent };
  }

  /** Tells all replicas; resolves when the log has it. Errors: LOG_APPEND_*. */
  async tell(note: Note): Promise<void> {
    await this.#parts.log.append(toEntry(note));
  }

  /** Its notes of the control stream, in log order, after what stands before them was delivered. */
  onNote(note: HandoverNote): void {
    switch (note.kind) {
      case 'roll call':
        return this.#say({ kind: 'here', id: note.id, instance: this.#parts.instance });
      case 'here':
      case 'passed':
        return this.#tally.note(`${note.kind} ${note.id}`, note.instance, []);
      case 'ready':
        return this.#tally.note(`ready ${note.id}`, note.instance, note.late);
      case 'announce':
        return this.#onAnnounce(note);
      case 'commit':
        return this.#onCommit(note);
      case 'abandon':
        return this.#end(note.id);
      // It has no hold any more where its room has left the stream lane again.
      case 'late fence':
        return this.#fenceLate(lateHold(note.id, note.instance));
      case 'fence':
        return this.#onFence(note.id, note.rooms);
      default:
        note satisfies never;
    }
  }

  async #move(change: (from: CutoverState) => CutoverState | undefined): Promise<Roll> {
    for (let attempt = 1; attempt <= maxAttempts; attempt++) {
      const from = this.#parts.state();
      const to = change(from);
      if (to === undefined) return { here: [], silent: [] };
      try {
        const roll = await this.callRoll();
        if (await this.#carryOut(from, to, roll.here)) return roll;
      } catch (error) {
        // A log that was slow for once has kept nothing: the step is made again.
        if (!hasCode(error, 'LOG_APPEND_REFUSED') || !this.#parts.log.reachable || attempt === maxAttempts) throw error;
      }
      await this.#catchUp(from.epoch);
    }
    throw new CrossfadeError('CUTOVER_CONFLICT', 'another change of the cutover was faster, again and again');
  }

  /** @returns whether all replicas are in the new state now, as far as they answer */
  async #carryOut(from: CutoverState, to: CutoverState, participants: string[]): Promise<boolean> {
    const { timeoutMs, log, clock } = this.#parts;
    const id = newId();
    const { raises, lowers } = movesBetween(from, to);
    let late: { instance: string; rooms: string[] }[] = [];
    const abandonedAt = clock.monotonic() + timeoutMs + abandonMs;
    if (raises || lowers) {
      this.#tally.open(`ready ${id}`);
      await this.tell({ kind: 'announce', id, from, to });
      const ready = await this.#tally.gather(`ready ${id}`, participants, timeoutMs + arrivalMs);
      late = [...ready].filter(([, rooms]) => rooms.length > 0).map(([instance, rooms]) => ({ instance, rooms }));
    }
    const note = toEntry({ kind: 'commit', id, from, to, participants, late });
    const next = { epoch: to.epoch, value: JSON.stringify(to) };
    // Who was stopped meanwhile comes too late: the others' calls go on under the old lanes.
    const withinMs = Math.max(0, Math.min(commitMs, abandonedAt - clock.monotonic()));
    const options = { over: from.epoch, note, withinMs };
    const result = await log.commitState(next, options).catch((error) => {
      this.#say({ kind: 'abandon', id });
      throw error;
    });
    if (result !== 'committed') {
      await this.tell({ kind: 'abandon', id });
      return false;
    }
    const givesUpAt = clock.monotonic() + 4 * answerMs;
    while (this.#parts.state().epoch < to.epoch && clock.monotonic() < givesUpAt) await pause(clock, 2);
    return true;
  }

  /** Another state stands in the log: it is read here sooner or later, mostly at once. */
  async #catchUp(epoch: number): Promise<void> {
    const { clock } = this.#parts;
    const givesUpAt = clock.monotonic() + 2 * answerMs;
    while (this.#parts.state().epoch <= epoch && clock.monotonic() < givesUpAt) await pause(clock, 5);
  }

  #onAnnounce({ id, from, to }: Extract<Note, { kind: 'announce' }>): void {
    const { state, gate, clock, timeoutMs } = this.#parts;
    if (state().epoch !== from.epoch) return;
    const covers = (room: string) => moveOf(from, to, room) !== undefined;
    gate.close(id, covers);
    const cancel = clock.after(timeoutMs + abandonMs, () => this.#end(id));
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    this.#open.set(id, () => {
      cancel();
      resolve();
    });
    this.#getReady(id, covers, (room) => moveOf(from, to, room) === 'raise', ended).catch((error) => this.#warn(error));
  }

  async #getReady(
    id: string,
    covers: (room: string) => boolean,
    raises: (room: string) => boolean,
    ended: Promise<void>,
  ): Promise<void> {
    const { flights, flush, clock, instance, timeoutMs } = this.#parts;
    // A call under way may still enter a window.
    const landed = flights.landed(covers).then(() => flush(covers));
    await Promise.race([landed, pause(clock, 0.75 * timeoutMs)]);
    const late = flights.rooms(raises);
    await this.tell({ kind: 'ready', id, instance, late });
    if (late.length === 0) return;
    const isLate = new Set(late);
    await Promise.all([ended, flights.landed((room) => isLate.has(room))]);
    await this.tell({ kind: 'late fence', id, instance });
  }

  #onCommit({ id, from, to, participants, late }: Extract<Note, { kind: 'commit' }>): void {
    const { adopt, gate } = this.#parts;
    adopt(to);
    const { raises, lowers } = movesBetween(from, to);
    if (raises) this.#fenceRaised(id, from, to, late);
    if (lowers) {
      const isLowered = (room: string) => moveOf(from, to, room) === 'lower';
      gate.close(`${id} lower`, isLowered);
      // What the late calls still have to say comes by the same lane as what follows.
      for (const [holdId, rooms] of this.#late) if (rooms.every(isLowered)) this.#fenceLate(holdId);
      this.#passOn(id, isLowered, participants).catch((error) => this.#warn(error));
    }
    this.#end(id);
  }

  #fenceRaised(id: string, from: CutoverState, to: CutoverState, late: { instance: string; rooms: string[] }[]): void {
    const { fences, clock } = this.#parts;
    const allLate = new Set(late.flatMap(({ rooms }) => rooms));
    fences.hold(id, (room) => !allLate.has(room) && moveOf(from, to, room) === 'raise');
    this.#fenceSettled(id);
    for (const { instance, rooms } of late) {
      const holdId = lateHold(id, instance);
      const covered = new Set(rooms);
      fences.hold(holdId, (room) => covered.has(room));
      this.#late.set(holdId, rooms);
      clock.after(lateLimitMs, () => this.#fenceLate(holdId));
    }
  }

  /**
   * Rooms that leave the stream lane go on when every replica has shown what stands before the commit; what still waits at a
   * connection for the fence of an earlier handover is not shown yet. After a bound they go on in any case, and what is
   * not shown is counted.
   */
  async #passOn(id: string, isLowered: (room: string) => boolean, participants: string[]): Promise<void> {
    const { unfenced, flush, clock, timeoutMs, settleMs } = this.#parts;
    const fencedMs = Math.max(timeoutMs, settleMs());
    this.#tally.open(`passed ${id}`);
    try {
      // What a window gave out too late for the commit goes by the bridge, before the calls that follow.
      const flushed = Promise.race([flush(isLowered), pause(clock, fencedMs)]);
      await Promise.all([unfenced.show(isLowered, fencedMs), flushed]);
      await this.tell({ kind: 'passed', id, instance: this.#parts.instance });
      await this.#tally.gather(`passed ${id}`, participants, fencedMs + arrivalMs);
    } finally {
      this.#parts.gate.open(`${id} lower`);
    }
  }

  #onFence(id: string, rooms: string[] | 'all'): void {
    const covered = rooms === 'all' ? undefined : new Set(rooms);
    this.#parts.fences.hold(id, (room) => covered?.has(room) ?? true);
    this.#fenceSettled(id);
  }

  #fenceLate(id: string): void {
    if (this.#late.delete(id)) this.#fenceSettled(id);
  }

  #fenceSettled(id: string): void {
    const { fences, settleMs, clock } = this.#parts;
    this.#parts.faults.guard('note', () => fenceSettled(fences, id, settleMs(), clock));
  }

  /** The handover is over, one way or the other: its calls go on. */
  #end(id: string): void {
    this.#open.get(id)?.();
    this.#open.delete(id);
    this.#parts.gate.open(id);
  }

  #say(note: Note): void {
    this.tell(note).catch((error) => this.#warn(error));
  }

  #warn(error: unknown): void {
    this.#parts.logger.warn({ reason: (error as Error).message }, 'a step of a handover could not be told');
  }
}

/** The hold for the late calls of one replica; no other id has a space. */
function lateHold(id: string, instance: string): string {
  return `${id} ${instance}`;
}

export function newId(): string {
  return randomBytes(9).toString('base64url');
}
