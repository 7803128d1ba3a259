// The cutover state that all replicas share: percent, pins, mirror, which hubs are native, hold, who has the kill switch, and how it came
// to be. In goes a state, out come lanes, where hubs end, the stage, and what moves between two states. Pure; nothing here knows a log
// or a clock. Promises: a state that was read has every field with its type, whoever wrote it.

import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import type { Lane } from '../lanes/call.ts';
import type { RoomSet } from '../room-set.ts';
import { bucketOf } from './bucket.ts';

export interface CutoverState {
  /** Rises with every change; what was decided under a lower one is refused by the log. */
  epoch: number;
  /** 0-100, as it was set; see {@link effectivePercent}. */
  percent: number;
  /** Room -> its lane, whatever the percent. */
  pins: Record<string, Lane>;
  mirror: boolean;
  /** Of which share of the rooms (0-100) the mirror writes; says nothing while {@link mirror} is off. */
  mirrorPercent: number;
  /** Which hubs an operator has moved; null: none, they are where each replica's flag says. See {@link isNative}. */
  hubs: MovedHubs | null;
  /** Somebody wants it to stand as it is; null: nobody does. */
  hold: CutoverHold | null;
  /** Whether the bridge was left for good: every room is on the stream lane, every client is at crossfade, and nothing changes that. */
  completed: boolean;
  /** Whether an operator has set it; then no flag or variable of a replica that starts changes it. */
  operated: boolean;
  /** The live replicas with the kill switch. While there is one, everything behaves as percent 0. */
  killed: string[];
  /** Whether event ids are remembered in the log, also those of bridge-lane calls. */
  remembers: boolean;
  /** ... and until when (ms since 1970) they still are after that has ended: a repeat may come for 5 minutes. */
  rememberUntilMs: number;
  /** Oldest first, at most {@link maxHistory}. */
  history: Change[];
}

/** Where a hub's connections end: at the bridge, behind crossfade, or at crossfade. */
export type HubKind = 'proxy' | 'native';

export interface MovedHubs {
  /** The others are proxied. */
  native: string[];
  /** ms over which the connections of the last move leave, at the same pace at every replica. */
  overMs: number;
}

/** Who holds the cutover, since when (ISO 8601), and why. */
export interface CutoverHold {
  who: string;
  when: string;
  why: string;
}

/** One step of the history: who did what, and what the percent was before and after. */
export interface Change {
  epoch: number;
  who: string;
  /** ISO 8601 */
  when: string;
  what: string;
  /** In the words of who did it, where any were given. */
  why?: string;
  from: number;
  to: number;
}

/** How far the cutover has come, by what is set; `native`: no connection ends at a bridge any more. */
export type Stage = 'observe' | 'mirror' | 'shift' | 'full' | 'native';

export type Move = 'raise' | 'lower';

/** What a rollback makes of any state. The hubs go as well: what the bridge shows from then on reaches no native client. */
export const rolledBack = Object.freeze({
  percent: 0,
  pins: {},
  mirror: false,
  operated: true,
  hubs: Object.freeze({ native: [], overMs: 0 }),
});

export const maxHistory = 50;
/** Another replica's clock may be this far behind ours. */
const clockSlackMs = 10_000;
const idsTtlMs = 5 * 60_000 + 10_000;

/** What holds before anybody has set anything. */
export const initialState: CutoverState = Object.freeze({
  epoch: 0,
  percent: 0,
  pins: {},
  mirror: false,
  mirrorPercent: 100,
  hubs: null,
  hold: null,
  completed: false,
  operated: false,
  killed: [],
  remembers: false,
  rememberUntilMs: 0,
  history: [],
});

export function effectivePercent(state: CutoverState): number {
  return state.killed.length > 0 ? 0 : state.percent;
}

export function mirrors(state: CutoverState): boolean {
  return state.mirror && state.killed.length === 0;
}

/** Whether this room's bridge-lane events are mirrored: by a hash of its own, as by the percent's they would be the first to leave the bridge lane. */
export function mirrorsRoom(state: CutoverState, room: string): boolean {
  return mirrors(state) && (state.mirrorPercent === 100 || bucketOf(`mirror ${room}`) < state.mirrorPercent);
}

/** Whether no room is at the bridge. */
export function isAllByStream({ percent, pins, killed }: CutoverState): boolean {
  return killed.length === 0 && percent === 100 && !Object.values(pins).includes('bridge');
}

/**
 * Whether a hub's connections end at crossfade. Never while a room is at the bridge, whatever was set: its events would not reach them.
 * @param flag what the replica's flag says of all hubs
 */
export function isNative(state: CutoverState, hub: string, flag: HubKind): boolean {
  if (state.completed) return true;
  if (!isAllByStream(state)) return false;
  return state.hubs === null ? flag === 'native' : state.hubs.native.includes(hub);
}

/** Whether a hub is set to native that was not. */
export function addsNative(from: CutoverState, to: CutoverState): boolean {
  return (to.hubs?.native ?? []).some((hub) => !from.hubs?.native.includes(hub));
}

/** Of a replica whose hubs are not all native. */
export function stageOf({ percent, pins, mirror }: CutoverState): Stage {
  const lanes = Object.values(pins);
  if (percent === 100) return lanes.includes('bridge') ? 'shift' : 'full';
  if (percent > 0 || lanes.includes('stream')) return 'shift';
  return mirror ? 'mirror' : 'observe';
}

export function laneOf(state: CutoverState, room: string): Lane {
  if (state.killed.length > 0) return 'bridge';
  const pin = Object.hasOwn(state.pins, room) ? state.pins[room] : undefined;
  return pin ?? (bucketOf(room) < state.percent ? 'stream' : 'bridge');
}

/** Whether any room may be on the stream lane. */
export function usesStream(state: CutoverState): boolean {
  return effectivePercent(state) > 0 || (state.killed.length === 0 && Object.values(state.pins).includes('stream'));
}

/** Whether rooms are on the stream lane, or may have been at any time since `sinceMs` (ms since 1970): in doubt yes. */
export function mayHaveUsedStream(state: CutoverState, sinceMs: number): boolean {
  return usesStream(state) || state.history.some(({ when }) => Date.parse(when) >= sinceMs - clockSlackMs);
}

export function isRolledBack({ percent, pins, mirror, operated, hubs }: CutoverState): boolean {
  return percent === 0 && Object.keys(pins).length === 0 && !mirror && operated && !hubs?.native.length;
}

/** Whether the state came to be after this one, and so in spite of it: the last step of the earlier history stands in the later one. */
export function comesAfter(state: CutoverState, earlier: CutoverState): boolean {
  const last = earlier.history.at(-1);
  return state.history.some((step) => isDeepStrictEqual(step, last));
}

export function moveOf(from: CutoverState, to: CutoverState, room: string): Move | undefined {
  const [before, after] = [laneOf(from, room), laneOf(to, room)];
  if (before === after) return undefined;
  return after === 'stream' ? 'raise' : 'lower';
}

/** The rooms that a change from one state to another moves: all of them, or those of one direction. */
export class MovedRooms implements RoomSet {
  readonly #from: CutoverState;
  readonly #to: CutoverState;
  readonly #move: Move | undefined;

  constructor(from: CutoverState, to: CutoverState, move?: Move) {
    this.#from = from;
    this.#to = to;
    this.#move = move;
  }

  has(room: string): boolean {
    const move = moveOf(this.#from, this.#to, room);
    return move !== undefined && (this.#move === undefined || move === this.#move);
  }
}

/** The same state with every room at the bridge, where they are while the log fails. */
export function atBridge(state: CutoverState): CutoverState {
  return { ...state, percent: 0, pins: {} };
}

/** Which kinds of moves there may be between two states; by buckets and by the pins of either. */
export function movesBetween(from: CutoverState, to: CutoverState): { raises: boolean; lowers: boolean } {
  const pinned = new Set([...Object.keys(from.pins), ...Object.keys(to.pins)]);
  const moves = new Set([...pinned].map((room) => moveOf(from, to, room)));
  const [before, after] = [effectivePercent(from), effectivePercent(to)];
  return { raises: after > before || moves.has('raise'), lowers: after < before || moves.has('lower') };
}

/** What one step can make different. */
export type Difference = Partial<
  Pick<
    CutoverState,
    | 'percent'
    | 'pins'
    | 'mirror'
    | 'mirrorPercent'
    | 'hubs'
    | 'hold'
    | 'completed'
    | 'operated'
    | 'killed'
    | 'remembers'
  >
>;

/**
 * The state that follows `from`.
 * @param change what is different
 * @param by who says so, in which words (without words the step is not worth a line of history), and why; `nowMs`: ms since 1970
 */
export function nextState(
  from: CutoverState,
  change: Difference,
  by: { who: string; what: string; why?: string | undefined; nowMs: number },
): CutoverState {
  const changed: CutoverState = { ...from, ...change, epoch: from.epoch + 1 };
  const remembers = changed.remembers && (usesStream(changed) || changed.mirror || change.remembers === true);
  const step: Change = {
    epoch: changed.epoch,
    who: by.who,
    when: new Date(by.nowMs).toISOString(),
    what: by.what,
    ...(by.why !== undefined && { why: by.why }),
    from: effectivePercent(from),
    to: effectivePercent(changed),
  };
  return {
    ...changed,
    remembers,
    rememberUntilMs: from.remembers && !remembers ? by.nowMs + idsTtlMs : changed.rememberUntilMs,
    history: by.what === '' ? from.history : [...from.history, step].slice(-maxHistory),
  };
}

const movedHubs = z.object({ native: z.array(z.string()), overMs: z.number().min(0) });
const hold = z.object({ who: z.string(), when: z.string(), why: z.string() });
const change = z.object({
  epoch: z.int(),
  who: z.string(),
  when: z.string(),
  what: z.string(),
  why: z.string().optional(),
  from: z.number(),
  to: z.number(),
});

/** What an older release did not know has its initial value; what a newer one added is kept as it is. */
export const stateShape: z.ZodType<CutoverState> = z.looseObject({
  epoch: z.int().min(0),
  percent: z.int().min(0).max(100),
  pins: z.record(z.string(), z.enum(['bridge', 'stream'])).default({}),
  mirror: z.boolean().default(initialState.mirror),
  mirrorPercent: z.int().min(0).max(100).default(initialState.mirrorPercent),
  hubs: movedHubs.nullable().default(initialState.hubs),
  hold: hold.nullable().default(initialState.hold),
  completed: z.boolean().default(initialState.completed),
  operated: z.boolean().default(initialState.operated),
  killed: z.array(z.string()).default([]),
  remembers: z.boolean().default(initialState.remembers),
  rememberUntilMs: z.number().default(initialState.rememberUntilMs),
  history: z.array(change).default([]),
});

/** @throws Error where the text is not a state */
export function readState(text: string): CutoverState {
  return stateShape.parse(JSON.parse(text));
}
