// What a change would move: in come two states and who is in which group here, out go rooms and connections, here and added up over
// the replicas. A room is known where it has a member; what has none is nobody's loss.

import { z } from 'zod';
import type { Contract } from '../contract/contract.ts';
import type { Groups } from '../edge/groups.ts';
import { type CutoverState, MovedRooms, stateShape } from '../rooms/state.ts';
import { total } from '../telemetry/lane-rates.ts';
import { inTurns } from './own-view.ts';
import { countTogether, keptHashes, sketchHash, sketchOf } from './sketch.ts';

const count = z.int().min(0);
/** 6 bytes a hash, in base64. */
const part = z.object({ rooms: z.string().max(keptHashes * 8), connections: count });

/** One replica's, with sketches in place of numbers of rooms: a room may have members at several. */
export const forecastShape = z.object({
  known: part,
  moving: part,
  biggest: z.object({ room: z.string(), connections: count }).nullable(),
});
export const forecastQuestion = z.object({ from: stateShape, to: stateShape });

export type ReplicaForecast = z.infer<typeof forecastShape>;

export interface Forecast {
  /** `exact`: counted; else within 1%. */
  rooms: { known: number; moving: number; exact: boolean };
  /** Hub connections that are in any room, and those that are in one that moves. */
  connections: { known: number; moving: number };
  /** The moving room with the most connections at one replica. */
  biggest: { room: string; connections: number } | null;
}

export async function forecastHere(
  parts: { groups: Pick<Groups, 'all'>; contract: Pick<Contract, 'roomOf'> },
  { from, to }: { from: CutoverState; to: CutoverState },
): Promise<ReplicaForecast> {
  const moves = new MovedRooms(from, to);
  const known = new Map<string, { hash: number; moves: boolean; members: Set<object> }>();
  const members = { known: new Set<object>(), moving: new Set<object>() };
  for await (const { hub, group, members: ofGroup } of inTurns(parts.groups.all())) {
    const name = parts.contract.roomOf(hub, group);
    if (name === undefined) continue;
    const room = known.get(name) ?? { hash: sketchHash(name), moves: moves.has(name), members: new Set() };
    known.set(name, room);
    for (const member of ofGroup) {
      members.known.add(member);
      if (!room.moves) continue;
      members.moving.add(member);
      room.members.add(member);
    }
  }
  const moving = [...known].filter(([, room]) => room.moves);
  let biggest: ReplicaForecast['biggest'] = null;
  for (const [room, { members: ofRoom }] of moving)
    if (ofRoom.size > (biggest?.connections ?? 0)) biggest = { room, connections: ofRoom.size };
  return {
    known: { rooms: sketchOf([...known.values()].map(({ hash }) => hash)), connections: members.known.size },
    moving: { rooms: sketchOf(moving.map(([, { hash }]) => hash)), connections: members.moving.size },
    biggest,
  };
}

export function addForecasts(all: ReplicaForecast[]): Forecast {
  const known = countTogether(all.map((each) => each.known.rooms));
  const moving = countTogether(all.map((each) => each.moving.rooms));
  return {
    rooms: { known: known.count, moving: moving.count, exact: known.exact && moving.exact },
    connections: {
      known: total(all.map((each) => each.known.connections)),
      moving: total(all.map((each) => each.moving.connections)),
    },
    biggest: all
      .map((each) => each.biggest)
      .reduce((most, each) => ((each?.connections ?? 0) > (most?.connections ?? 0) ? each : most), null),
  };
}
