// Recomputes which events' order the replicas could not prove. In come the calls as they were made and what Redis gave each
// replica to read, out go for each replica the events that it must have counted, and those that it may have: the moment
// at which its detour began lies somewhere within a call.
// By DESIGN's promise 3: while the log fails a replica, its room's calls go to the bridge, from the first one that the log
// did not take until a fence; what any replica reads of the room meanwhile cannot be put in order with them.

import { type Move, moveOf } from '../../../src/cutover/state.ts';
import { comparePositions } from '../../../src/log/log.ts';
import type { MadeCall } from './owed.ts';
import type { Passed, PassedNote, Wire } from './wire.ts';

/** A replica as the ledger sees it. */
export interface Observed {
  instance: string;
  /** Where the calls that it takes go. */
  listen: string;
  wire: Wire;
}

/** Event id -> its reason, as in `crossfade_order_unfenced_total{reason}`. */
export interface Unfenced {
  must: Map<string, string>;
  /** Includes those. */
  may: Map<string, string>;
}

export interface Bounds {
  /** An append that may be in the log takes this long at the least until it is given up, ms. */
  publishTimeoutMs: number;
  /** A replica takes up what Redis gave it at most this much later, ms. */
  lagMs: number;
  /** What was read may wait at the connections for a fence for so long, ms. */
  heldMs: number;
}

/** One replica's detour of one room; times are ms of performance.now(). */
interface Detour {
  room: string;
  /** It began between these. */
  begunAfter: number;
  begunBefore: number;
  /** Of the note of its fence. */
  end: string;
}

/** @returns instance -> what it has counted */
export function recomputeUnfenced(
  made: ReadonlyMap<string, MadeCall[]>,
  replicas: Observed[],
  bounds: Bounds,
): Map<string, Unfenced> {
  const logged = new Set(replicas.flatMap(({ wire }) => [...wire.events.keys()]));
  const detours = replicas.flatMap((replica) =>
    [...made].flatMap(([room, calls]) => {
      const own = calls.filter(({ address }) => address === replica.listen);
      return detoursOf(room, own, replica, logged, bounds);
    }),
  );
  const byRoom = Map.groupBy(detours, ({ room }) => room);
  return new Map(replicas.map((replica) => [replica.instance, countedBy(replica, made, byRoom, bounds)]));
}

// When a replica's detours were.

function detoursOf(
  room: string,
  calls: MadeCall[],
  { instance, wire }: Observed,
  logged: ReadonlySet<string>,
  bounds: Bounds,
): Detour[] {
  const ends = wire.notes.filter((passed) => passed.entry.instance === instance && endsDetourOf(room, passed));
  return ends.flatMap((end, i): Detour[] => {
    const before = wire.notes.filter(({ entry }) => comparePositions(entry.position, end.entry.position) < 0);
    const raise = before.findLast((passed) => moves(room, passed, 'raise'));
    const since = Math.max(ends[i - 1]?.times[0] ?? 0, raise?.times[0] ?? 0);
    const lower = before.find((passed) => moves(room, passed, 'lower') && passed.times[0]! > since);
    const until = (lower ?? end).times.at(-1)!;
    const during = calls.filter(({ startedAt, answeredAt }) => answeredAt > since && startedAt < until);
    const begin = beginOf(during, since, logged, bounds);
    return begin === undefined ? [] : [{ room, ...begin, end: end.entry.position }];
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
  logged: ReadonlySet<string>,
  { publishTimeoutMs }: Bounds,
): Pick<Detour, 'begunAfter' | 'begunBefore'> | undefined {
  const isCoalesced = ({ call }: MadeCall) => (call.typing ?? call.receipt) !== undefined;
  const byBridge = calls.findIndex(
    (made) => made.startedAt >= since && made.accepted && !isCoalesced(made) && !logged.has(made.call.eventId),
  );
  const before = byBridge === -1 ? calls : calls.slice(0, byBridge);
  const lastByLog = before.findLastIndex((made) => !isCoalesced(made) && logged.has(made.call.eventId));
  // What the log had executed without its answer arriving began the detour as well.
  const isTwin = ({ startedAt, answeredAt }: MadeCall) => answeredAt - startedAt >= publishTimeoutMs;
  const first = lastByLog >= 0 && isTwin(before[lastByLog]!) ? lastByLog : lastByLog + 1;
  const candidate = calls[first];
  if (candidate === undefined) return undefined;
  return {
    begunAfter: candidate.startedAt,
    begunBefore: byBridge === -1 ? Number.POSITIVE_INFINITY : calls[byBridge]!.answeredAt,
  };
}

// What was read meanwhile.

function countedBy(
  replica: Observed,
  made: ReadonlyMap<string, MadeCall[]>,
  detours: ReadonlyMap<string, Detour[]>,
  bounds: Bounds,
): Unfenced {
  const must = new Map<string, string>();
  const may = new Map<string, string>();
  for (const [room, calls] of made) {
    const typing = new Set(calls.flatMap(({ call }) => (call.typing === undefined ? [] : [call.eventId])));
    for (const [eventId, passed] of replica.wire.events) {
      if (passed.entry.room !== room) continue;
      const reason = passed.entry.instance === replica.instance ? 'unread' : 'other_replica';
      const met = (detours.get(room) ?? []).filter(({ end }) => comparePositions(passed.entry.position, end) < 0);
      if (met.some((detour) => mayMeet(detour, passed, replica.wire.notes, bounds))) may.set(eventId, reason);
      // Stale typing is not shown, and so not counted.
      const isShown = !typing.has(eventId);
      if (isShown && met.some(({ begunBefore }) => passed.times[0]! >= begunBefore)) must.set(eventId, reason);
    }
  }
  return { must, may };
}

function mayMeet({ room, begunAfter }: Detour, { entry, times }: Passed, notes: PassedNote[], bounds: Bounds): boolean {
  const lastAt = times.at(-1)!;
  if (lastAt >= begunAfter - bounds.lagMs) return true;
  // It waited at the connections for a fence that a note had asked for.
  return notes.some(
    (note) =>
      comparePositions(note.entry.position, entry.position) < 0 &&
      note.times[0]! > begunAfter - bounds.heldMs &&
      asksForFence(room, note),
  );
}

function asksForFence(room: string, { note }: PassedNote): boolean {
  if (note.kind === 'fence') return note.rooms === 'all' || note.rooms.includes(room);
  return note.kind === 'commit' && moveOf(note.from, note.to, room) === 'raise';
}
