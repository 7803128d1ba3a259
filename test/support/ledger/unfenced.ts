// Recomputes which events' order the replicas could not prove, and compares it with what they have counted. In come the
// calls as they were made, what Redis gave each replica to read, and what each has counted; out go the differences.
// By DESIGN's promise 3: while the log fails a replica, a room's calls go to the bridge, from the first one that the log
// did not take until a fence; what any replica reads of the room meanwhile cannot be put in order with them. Only the
// moment of the begin cannot be seen from outside; it lies within the call.

import { type Move, moveOf } from '../../../src/cutover/state.ts';
import { comparePositions, type Position } from '../../../src/log/log.ts';
import type { MadeCall } from './owed.ts';
import type { Passed, PassedNote, Wire } from './wire.ts';

/** A replica as the ledger sees it. */
export interface Observed {
  instance: string;
  /** Where the calls that it takes go. */
  listen: string;
  wire: Pick<Wire, 'events' | 'notes'>;
  /** Event id and reason, as in `crossfade_order_unfenced_total{reason}`. */
  counted: readonly (readonly [eventId: string, reason: string])[];
}

export interface Bounds {
  /** An append that may be in the log takes this long at the least until it is given up, ms. */
  publishTimeoutMs: number;
  /** A replica takes up what Redis gave it at most this much later, ms. */
  lagMs: number;
  /** What was read may wait at the connections for a fence for so long, ms. */
  heldMs: number;
}

/** @returns a line for each difference */
export function compareUnfenced(
  made: ReadonlyMap<string, MadeCall[]>,
  replicas: readonly Observed[],
  bounds: Bounds,
): string[] {
  const logged: Logged = new Map(replicas.flatMap(({ wire }) => [...wire.events]));
  return [
    ...replicas.flatMap(findStrange),
    ...[...made].flatMap(([room, calls]) => {
      const detours = replicas.flatMap((replica) => {
        const own = calls.filter(({ address }) => address === replica.listen);
        return detoursOf(room, own, replica, logged, bounds);
      });
      const typing = new Set(calls.flatMap(({ call }) => (call.typing === undefined ? [] : [call.eventId])));
      return replicas.flatMap((replica) => compareRoom(room, detours, typing, replica, bounds));
    }),
  ];
}

/** What it has never read, or has counted more than once. */
function findStrange({ instance, wire, counted }: Observed): string[] {
  // Of what may be on both lanes a replica counts what it was not told, read or not.
  const ids = counted.filter(([, reason]) => reason !== 'not_asked').map(([eventId]) => eventId);
  const strange = ids.filter((eventId, i) => !wire.events.has(eventId) || ids.indexOf(eventId) !== i);
  return strange.map((eventId) => `${instance} has counted ${eventId} too often`);
}

/** Event id -> the event as some replica has read it. */
type Logged = ReadonlyMap<string, Passed>;

/** One replica's detour of one room; times are ms of performance.now(). */
interface Detour {
  /** It began between these. */
  begunAfter: number;
  begunBefore: number;
  /** Of the note of its fence. */
  end: Position;
}

// When a replica's detours of a room were.

function detoursOf(
  room: string,
  calls: MadeCall[],
  { instance, wire }: Observed,
  logged: Logged,
  bounds: Bounds,
): Detour[] {
  const ends = wire.notes.filter((passed) => passed.entry.instance === instance && endsDetourOf(room, passed));
  return ends.flatMap((end, i): Detour[] => {
    const before = wire.notes.filter((passed) => isBefore(passed, end.entry.position));
    const raise = before.findLast((passed) => moves(room, passed, 'raise'));
    const fencedAt = ends[i - 1]?.times[0];
    const since = Math.max(fencedAt ?? 0, raise?.times[0] ?? 0);
    const lower = before.find((passed) => moves(room, passed, 'lower') && passed.times[0]! > since);
    const until = (lower ?? end).times.at(-1)!;
    const during = calls.filter(({ call, startedAt, answeredAt }) => {
      const passed = logged.get(call.eventId);
      // What waited for the end has gone on by the log, behind the note.
      const isBehind = passed !== undefined && !isBefore(passed, end.entry.position);
      return answeredAt > since && startedAt < until && !isBehind;
    });
    const begin = beginOf(during, since, logged, bounds);
    // A fence whose note is read too late by its replica ends nothing: the room has stayed on the detour.
    const mayHaveStayed = since === fencedAt && !during.some((made) => isByLog(made, logged));
    if (begin === undefined && !mayHaveStayed) return [];
    return [
      {
        begunAfter: mayHaveStayed ? since : begin!.begunAfter,
        begunBefore: begin?.begunBefore ?? Number.POSITIVE_INFINITY,
        end: end.entry.position,
      },
    ];
  });
}

function endsDetourOf(room: string, { note }: PassedNote): boolean {
  // The fences of late calls have an instance's name in their ids.
  return note.kind === 'fence' && !note.id.includes(' ') && (note.rooms === 'all' || note.rooms.includes(room));
}

function moves(room: string, { note }: PassedNote, move: Move): boolean {
  return note.kind === 'commit' && moveOf(note.from, note.to, room) === move;
}

/** @param calls those of one room through one replica, from after its last detour to the end of this one */
function beginOf(
  calls: MadeCall[],
  since: number,
  logged: Logged,
  { publishTimeoutMs }: Bounds,
): Omit<Detour, 'end'> | undefined {
  const byBridge = calls.findIndex(
    (made) => made.startedAt >= since && made.accepted && !isCoalesced(made) && !logged.has(made.call.eventId),
  );
  const before = byBridge === -1 ? calls : calls.slice(0, byBridge);
  const lastByLog = before.findLastIndex((made) => isByLog(made, logged));
  // What the log had executed without its answer arriving began the detour as well.
  const wasUncertain = ({ startedAt, answeredAt }: MadeCall) => answeredAt - startedAt >= publishTimeoutMs;
  const candidate = lastByLog >= 0 && wasUncertain(before[lastByLog]!) ? calls[lastByLog] : calls[lastByLog + 1];
  if (candidate === undefined) return undefined;
  return {
    begunAfter: candidate.startedAt,
    begunBefore: byBridge === -1 ? Number.POSITIVE_INFINITY : calls[byBridge]!.answeredAt,
  };
}

function isCoalesced({ call }: MadeCall): boolean {
  return (call.typing ?? call.receipt) !== undefined;
}

function isByLog(made: MadeCall, logged: Logged): boolean {
  return !isCoalesced(made) && logged.has(made.call.eventId);
}

// What a replica has counted of a room.

function compareRoom(
  room: string,
  detours: Detour[],
  typing: ReadonlySet<string>,
  { instance, wire, counted }: Observed,
  bounds: Bounds,
): string[] {
  const reasons = new Map(counted);
  const events = [...wire.events.values()].filter(({ entry }) => entry.room === room).sort(inLogOrder);
  return events.flatMap((passed, i) => {
    const { eventId, position, instance: writer } = passed.entry;
    const open = detours.filter(({ end }) => isBefore(passed, end));
    const reason = reasons.get(eventId);
    if (reason === undefined) {
      // Stale typing is not shown, and so not counted.
      const isMissing = !typing.has(eventId) && open.some(({ begunBefore }) => passed.times[0]! >= begunBefore);
      return isMissing ? [`${instance} has not counted ${eventId}`] : [];
    }
    if (reason === 'not_asked') return [];
    const met =
      open.some((detour) => mayMeet(detour, passed, bounds)) && (writer === instance ? 'unread' : 'other_replica');
    const isHeldAt = (at: number) => reason === 'unread' && mayBeHeld(room, at, passed, wire.notes, bounds);
    // A room that leaves the stream lane goes on after a bound, too.
    const lowers = wire.notes.filter((note) => moves(room, note, 'lower') && !isBefore(note, position));
    if (lowers.some(({ times }) => isHeldAt(times[0]!))) return [];
    if (reason !== met && !open.some(({ begunAfter }) => isHeldAt(begunAfter)))
      return [`${instance} has counted ${eventId} as ${reason}`];
    // Once it is begun, everything is counted until a fence.
    const next = events.slice(i + 1).find(({ entry }) => !typing.has(entry.eventId));
    if (next === undefined || reasons.has(next.entry.eventId)) return [];
    const isOver = open.some(({ end }) => comparePositions(end, next.entry.position) < 0);
    return isOver ? [] : [`${instance} has counted ${eventId} and not ${next.entry.eventId}, with no fence in between`];
  });
}

/** Whether the event may have been read after the detour had begun. */
function mayMeet({ begunAfter }: Detour, { times }: Passed, { lagMs }: Bounds): boolean {
  return times.at(-1)! >= begunAfter - lagMs;
}

/** Whether it may have waited at the connections, at that time, for a fence that a note before it had asked for. */
function mayBeHeld(room: string, at: number, { entry }: Passed, notes: PassedNote[], { heldMs }: Bounds): boolean {
  return notes.some(
    (asked) => isBefore(asked, entry.position) && asked.times[0]! > at - heldMs && asksForFence(room, asked),
  );
}

function asksForFence(room: string, passed: PassedNote): boolean {
  const { note } = passed;
  if (note.kind === 'fence') return note.rooms === 'all' || note.rooms.includes(room);
  return moves(room, passed, 'raise');
}

function isBefore({ entry }: Passed, position: Position): boolean {
  return comparePositions(entry.position, position) < 0;
}

function inLogOrder(a: Passed, b: Passed): number {
  return comparePositions(a.entry.position, b.entry.position);
}
