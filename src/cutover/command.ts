// A command of an operator as values: in come what it asks for and under which conditions, out go the change of the state that it
// makes, and its words, for the history and to be typed. Pure. Promise: what was bound to an epoch changes nothing that is newer.

import { isDeepStrictEqual } from 'node:util';
import { CrossfadeError } from '../errors.ts';
import type { RoomLanes } from '../rooms/room-lanes.ts';
import { type CutoverState, type Difference, type HubKind, initialState } from '../rooms/state.ts';
import type { ChangeOf } from './changes.ts';
import type { Wish } from './own-flags.ts';

/** What a command changes; a pin of null ends one. */
export interface Command {
  percent?: number;
  /** Of which share of the rooms, 0-100. */
  mirror?: number;
  pins?: Record<string, 'bridge' | 'stream' | null>;
  /** Hub -> where its connections shall end. */
  hubs?: Record<string, HubKind>;
}

/** Who gives a command, and under which conditions. */
export interface Order {
  who: string;
  why?: string | undefined;
  /** Past the guard. */
  force?: boolean;
  /** Only over this epoch: nothing may have been changed since it was read. */
  ifEpoch?: number | undefined;
}

/** What is different of a state's hubs, see hub-moves.ts. */
export type HubsOf = (from: CutoverState) => Pick<Difference, 'hubs'>;

/** Error of the change: CUTOVER_INVALID where a pin is to be ended that there is not. */
export function changeBy(command: Command, hubsOf?: HubsOf): ChangeOf {
  return (from) => {
    const unknown = Object.entries(command.pins ?? {}).find(([room, lane]) => lane === null && !(room in from.pins));
    if (unknown !== undefined) throw new CrossfadeError('CUTOVER_INVALID', `'${unknown[0]}' is not pinned`);
    const changed = { ...differenceOf(from, command), ...hubsOf?.(from), operated: true };
    return isDeepStrictEqual({ ...from, ...changed }, from) ? undefined : changed;
  };
}

/** Drops what operators have set. Error of the change: CUTOVER_INVALID where there are no flags (an edge alone). */
export function resetTo(wish: Wish | null): ChangeOf {
  return () => {
    if (wish === null)
      throw new CrossfadeError(
        'CUTOVER_INVALID',
        'this replica takes no calls and so has no flags to go back to: give --admin of one that does',
      );
    const { percent, mirror } = wish;
    return { percent, mirror, mirrorPercent: initialState.mirrorPercent, pins: {}, hubs: null, operated: false };
  };
}

/** What is to be changed, as long as nobody has changed anything since: steps without words (of the machinery) do not count. */
export function over(epoch: number | undefined, change: ChangeOf): ChangeOf {
  if (epoch === undefined) return change;
  return (from) => {
    const isAsRead = from.epoch >= epoch && !from.history.some((step) => step.epoch > epoch);
    if (isAsRead) return change(from);
    throw new CrossfadeError('CUTOVER_CONFLICT', `the cutover is at epoch ${from.epoch}, not as it was at ${epoch}`);
  };
}

/** Errors: CUTOVER_INVALID where there is no bridge, CUTOVER_COMPLETE where it was left for good. */
export function requireBridge({ standalone, state }: Pick<RoomLanes, 'standalone' | 'state'>): void {
  if (state.completed)
    throw new CrossfadeError('CUTOVER_COMPLETE', 'the cutover is complete: there is no way back to the bridge');
  if (standalone) throw new CrossfadeError('CUTOVER_INVALID', 'there is no --bridge: every room is on the stream lane');
}

/** In the words of the history. */
export function wordsFor({ percent, mirror, pins, hubs = {} }: Command): string {
  const words = Object.entries(pins ?? {}).map(([room, lane]) =>
    lane === null ? `unpin ${room}` : `pin ${room} ${lane}`,
  );
  if (percent !== undefined) words.unshift(`set ${percent}`);
  if (mirror !== undefined) words.push(`mirror ${mirrorWord(mirror)}`);
  for (const kind of new Set(Object.values(hubs))) {
    const moved = Object.keys(hubs).filter((hub) => hubs[hub] === kind);
    words.push(`hubs ${kind}: ${moved.join(' ')}`);
  }
  return words.join(', ');
}

/** As it is typed behind `crossfade cutover`. */
export function commandFor(command: Command): string {
  const { percent, mirror, pins = {}, hubs = {} } = command;
  const [kind, ...otherKinds] = new Set(Object.values(hubs));
  const parts =
    Number(percent !== undefined) +
    Number(mirror !== undefined) +
    Object.keys(pins).length +
    Number(kind !== undefined);
  if (kind !== undefined && parts === 1 && otherKinds.length === 0)
    return [`hubs ${kind}`, ...Object.keys(hubs).map((hub) => `--hub ${quoted(hub)}`)].join(' ');
  if (mirror !== undefined && parts === 1) return `mirror ${mirror}`;
  const [pin] = Object.entries(pins);
  if (pin === undefined || parts > 1) return wordsFor(command);
  const [room, lane] = pin;
  return lane === null ? `unpin ${quoted(room)}` : `pin ${quoted(room)} ${lane}`;
}

function differenceOf(from: CutoverState, { percent, mirror, pins }: Command): Difference {
  const kept = Object.entries({ ...from.pins, ...pins }).filter(([, lane]) => lane !== null);
  return {
    ...(percent !== undefined && { percent }),
    ...(mirror !== undefined && { mirror: mirror > 0, mirrorPercent: mirror || initialState.mirrorPercent }),
    ...(pins !== undefined && { pins: Object.fromEntries(kept) as CutoverState['pins'] }),
  };
}

/** As a shell reads it. */
function quoted(word: string): string {
  return /^[\w./:@%+=-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

function mirrorWord(percent: number): string {
  if (percent === 0) return 'off';
  return percent === 100 ? 'on' : `${percent}%`;
}
