// The handover, as each replica takes part in it: rooms change lane on all replicas at once, in two phases over the log's control
// stream. In come the notes of a coordinator (coordinator.ts), out go the adopted state and the fences of the edge.
//
//     coordinator   roll call ---------> announce ------------> commit (state, epoch + 1)
//     each replica             here <---          ready <---            passed <---
//                              who reads          calls held, those     what came before is delivered; rooms that
//                              takes part         under way ended       leave the stream lane go on when all have it
//
// Promises: what stands before the commit in the log was decided under the old lanes, what stands behind it under the new
// ones; a room that comes to the stream lane is fenced at every connection; a room waits about the handover timeout, and at most
// abandonMs more, with lowerMs on top where it leaves the stream lane (a lane that is late is waited for by the connections, not by the calls).

import type { Log } from '../log/log.ts';
import { newId } from '../new-id.ts';
import { allRooms, except, type RoomSet } from '../room-set.ts';
import { answerMs, lateLimitMs } from '../rooms/bounds.ts';
import { type Fences, fenceSettled } from '../rooms/fences.ts';
import type { Outage } from '../rooms/outage.ts';
import type { RoomLanes } from '../rooms/room-lanes.ts';
import { MovedRooms, movesBetween } from '../rooms/state.ts';
import type { Traffic } from '../rooms/traffic.ts';
import type { Unfenced } from '../rooms/unfenced.ts';
import type { Clock } from '../telemetry/clock.ts';
import type { Faults } from '../telemetry/faults.ts';
import type { Logger } from '../telemetry/logger.ts';
import { type Note, tell } from './control.ts';
import { abandonMs, arrivalMs } from './coordinator.ts';
import { Replies } from './replies.ts';

export interface HandoverParts {
  instance: string;
  log: Pick<Log, 'append'>;
  roomLanes: Pick<RoomLanes, 'state' | 'adopt' | 'hears' | 'onAdopted' | 'outage' | 'hasNativeHubs'>;
  traffic: Traffic;
  outage: Pick<Outage, 'end'>;
  fences: Pick<Fences, 'queue' | 'fence'>;
  unfenced: Pick<Unfenced, 'untilShown'>;
  /** ms that the calls under way may take until this replica is ready. */
  timeoutMs: number;
  /** ms between the last answer of a bridge and the fences: several bridges on one backplane deliver after their 200. */
  settleMs(): number;
  faults: Faults;
  clock: Clock;
  logger: Logger;
}

/** The notes to which each replica has to do something. */
export type HandoverNote = Extract<
  Note,
  { kind: 'roll call' | 'announce' | 'commit' | 'passed' | 'abandon' | 'late fence' }
>;
type Announce = Extract<Note, { kind: 'announce' }>;
type Commit = Extract<Note, { kind: 'commit' }>;

export class Handover {
  readonly #parts: HandoverParts;
  readonly #passed: Replies<true>;
  /** The announced handovers that are neither committed nor abandoned, with what ends each. */
  readonly #open = new Map<string, () => void>();
  /** The fences behind late calls, for which the replica of the calls asks (this one too); with the rooms that wait for them. */
  readonly #late = new Map<string, string[]>();

  constructor(parts: HandoverParts) {
    this.#parts = parts;
    this.#passed = new Replies(parts.clock);
    parts.roomLanes.onAdopted(() => this.#returnForNative());
  }

  /** Its notes of the control stream, in log order, after what stands before them was delivered. */
  onNote(note: HandoverNote): void {
    const { instance, log } = this.#parts;
    switch (note.kind) {
      case 'roll call':
        return this.#finish(tell(log, { kind: 'here', id: note.id, instance }));
      case 'announce':
        return this.#onAnnounce(note);
      case 'commit':
        return this.#onCommit(note);
      case 'passed':
        return this.#passed.note(note.id, note.instance, true);
      case 'abandon':
        return this.#end(note.id);
      // Nothing waits for it any more where its room has left the stream lane again.
      case 'late fence':
        return this.#fenceLate(lateFence(note.id, note.instance));
      default:
        note satisfies never;
    }
  }

  #onAnnounce(note: Announce): void {
    const { roomLanes, traffic, clock, timeoutMs } = this.#parts;
    const { id, from, to } = note;
    if (roomLanes.state.epoch !== from.epoch) return;
    traffic.close(id, new MovedRooms(from, to));
    const cancel = clock.after(timeoutMs + abandonMs, () => this.#end(id));
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    this.#open.set(id, () => {
      cancel();
      resolve();
    });
    this.#finish(this.#getReady(note, ended));
  }

  async #getReady({ id, from, to }: Announce, ended: Promise<void>): Promise<void> {
    const { traffic, log, instance, timeoutMs } = this.#parts;
    await traffic.quiesce(new MovedRooms(from, to), 0.75 * timeoutMs);
    const late = traffic.roomsUnderWay(new MovedRooms(from, to, 'raise'));
    await tell(log, { kind: 'ready', id, instance, late: [...late] });
    if (late.size === 0) return;
    await Promise.all([ended, traffic.ended(late)]);
    await tell(log, { kind: 'late fence', id, instance });
  }

  #onCommit(commit: Commit): void {
    const { roomLanes, traffic, outage } = this.#parts;
    const { id, from, to, participants, endsOutage } = commit;
    roomLanes.adopt(to, this.#isWaitedFor(participants) ? 'together' : 'alone');
    // One that was not asked may have calls at the bridge that nobody waited for: it comes back by a handover of its own.
    if (endsOutage && this.#open.has(id)) outage.end();
    const { raises, lowers } = movesBetween(from, to);
    if (raises) this.#fenceRaised(commit);
    if (lowers) {
      const lowered = new MovedRooms(from, to, 'lower');
      traffic.close(lowerDoor(id), lowered);
      // Late calls of rooms that leave again are waited for no longer: they and the next ones go by one lane, the bridge.
      for (const [fence, rooms] of this.#late) if (rooms.every((room) => lowered.has(room))) this.#fenceLate(fence);
      this.#finish(this.#passOn(id, lowered, participants));
    }
    this.#end(id);
  }

  /**
   * Nobody waits for the windows of a replica that stands still, be it when the roll is called or later: its typing might come behind what
   * others have sent since. Who pauses for less than answerMs is in time (fencedMsOf).
   */
  #isWaitedFor(participants: string[]): boolean {
    const { instance, roomLanes } = this.#parts;
    return participants.includes(instance) && (participants.length === 1 || roomLanes.hears);
  }

  #fenceRaised({ id, from, to, late }: Commit): void {
    const { fences, clock } = this.#parts;
    const allLate = new Set(late.flatMap(({ rooms }) => rooms));
    fences.queue(id, except(new MovedRooms(from, to, 'raise'), allLate));
    this.#fenceSettled(id);
    for (const { instance, rooms } of late) {
      const fence = lateFence(id, instance);
      fences.queue(fence, new Set(rooms));
      this.#late.set(fence, rooms);
      clock.after(lateLimitMs, () => this.#fenceLate(fence));
    }
  }

  /**
   * Rooms that leave the stream lane go on when every replica has shown what stands before the commit; what still waits at a
   * connection for the fence of an earlier handover is not shown yet. After a bound they go on in any case, and what is
   * not shown is counted.
   */
  async #passOn(id: string, lowered: RoomSet, participants: string[]): Promise<void> {
    const { instance, log, unfenced, traffic, timeoutMs, settleMs } = this.#parts;
    const fencedMs = fencedMsOf(timeoutMs, settleMs());
    this.#passed.open(id);
    try {
      // What a window gave out too late for the commit goes by the bridge, before the calls that follow.
      await Promise.all([unfenced.untilShown(lowered, fencedMs), traffic.quiesce(lowered, fencedMs)]);
      await tell(log, { kind: 'passed', id, instance });
      await this.#passed.gather(id, participants, fencedMs + arrivalMs);
    } finally {
      traffic.open(lowerDoor(id));
    }
  }

  #fenceLate(id: string): void {
    if (this.#late.delete(id)) this.#fenceSettled(id);
  }

  #fenceSettled(id: string): void {
    const { fences, settleMs, clock } = this.#parts;
    this.#parts.faults.contain('note', () => fenceSettled(fences, id, settleMs(), clock));
  }

  /**
   * A hub has become native while all rooms are at the bridge here, as who moved it had not heard of the log's outage: its clients hear
   * nothing of the bridge, and out of order is better than never. What the bridge has for a connection already comes first.
   */
  #returnForNative(): void {
    const { roomLanes, outage, fences } = this.#parts;
    if (roomLanes.outage === undefined || !roomLanes.hasNativeHubs) return;
    outage.end();
    const id = newId();
    fences.queue(id, allRooms);
    this.#fenceSettled(id);
  }

  /** The handover is over, one way or the other: its calls go on. */
  #end(id: string): void {
    this.#open.get(id)?.();
    this.#open.delete(id);
    this.#parts.traffic.open(id);
  }

  /** A step that ends later: one that the log did not take is told, and made up for by the bounds of the others. */
  #finish(step: Promise<void>): void {
    const { logger } = this.#parts;
    step.catch((error) => logger.warn({ reason: (error as Error).message }, 'a step of a handover could not be told'));
  }
}

/** ms in which what is read must be shown. With arrivalMs it is answerMs at least: a replica that pauses for less can still say `passed` in time. */
function fencedMsOf(timeoutMs: number, settleMs: number): number {
  return Math.max(timeoutMs, settleMs, answerMs - arrivalMs);
}

/** ms that rooms which leave the stream lane wait at most, from the commit on. */
export function lowerMs(timeoutMs: number, settleMs: number): number {
  return 2 * fencedMsOf(timeoutMs, settleMs) + arrivalMs;
}

/** The fence behind the late calls of one replica. */
function lateFence(id: string, instance: string): string {
  return `${id} ${instance}`;
}

/** The door behind which calls wait whose rooms leave the stream lane. */
function lowerDoor(id: string): string {
  return `${id} lower`;
}
