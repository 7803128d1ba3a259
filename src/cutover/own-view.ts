// What a replica says of itself to whoever operates it, here or by way of another replica: in come its stages, out go numbers.

import { setImmediate as nextTurn } from 'node:timers/promises';
import { z } from 'zod';
import type { BridgeState } from '../bridge/health.ts';
import type { OnlyThere } from '../bridge/only-there.ts';
import type { Contract } from '../contract/contract.ts';
import type { ClientsOfHub } from '../edge/both-hubs.ts';
import type { Groups } from '../edge/groups.ts';
import type { Log, StreamState } from '../log/log.ts';
import { type Clock, pause } from '../telemetry/clock.ts';
import { type LaneRates, total } from '../telemetry/lane-rates.ts';
import type { Metrics } from '../telemetry/metrics.ts';

export interface OwnViewParts {
  contract: Pick<Contract, 'roomOf' | 'streams'>;
  groups: Pick<Groups, 'all'>;
  clientsByHub(): Record<string, ClientsOfHub>;
  log: Pick<Log, 'streamStates' | 'reachable'>;
  bridgeStates(): BridgeState[];
  bridge: { onlyThere: Pick<OnlyThere, 'all'> } | undefined;
  /** How it is on the side of the clients: whether they are let go, and how old the newest probe is that has arrived, ms (undefined: none comes). */
  aroundClients(): { isDraining: boolean; probeMs: number | undefined };
  rates: Pick<LaneRates, 'read'>;
  clock: Clock;
  metrics: Metrics;
}

/** ms that a log which hangs may hold up who asks. */
const logMs = 300;
/** Groups that are looked at before others get their turn. */
const perTurn = 1_000;

const count = z.number().min(0);
const lane = z.object({ events: count, failures: count, delivered: z.array(count).max(100) });

export const viewShape = z.object({
  /** Its clock, ms since 1970. */
  nowMs: count,
  draining: z.boolean(),
  /** Hub connections. */
  clients: count,
  /** Those of each hub that end here, and those that end at the bridge; nothing of a replica that does not say. */
  hubs: z.record(z.string(), z.object({ native: count, proxied: count })).default({}),
  /** Rooms with a member here. */
  rooms: count,
  /** Entries of the contract's streams that it has not acknowledged yet; null: the log does not say. */
  lag: count.nullable(),
  /** How old the newest probe is that has arrived; null: none comes here, as it has no clients' side. */
  probeMs: count.nullable(),
  /** Events whose order could not be proven, since it started. */
  unfenced: count,
  /** Which bridges answer it. */
  bridges: z.array(z.object({ bridge: z.string(), reachable: z.boolean() })).max(100),
  /** Requests that the bridge alone could answer, as far as they are remembered. */
  onlyAtBridge: z
    .array(z.object({ request: z.string().max(200), count, lastMs: count }))
    .max(100)
    .default([]),
  lanes: z.object({ windowMs: count, bridge: lane, stream: lane, fallbacks: count, missed: count }),
});

export type ReplicaView = z.infer<typeof viewShape>;

export async function ownView(parts: OwnViewParts): Promise<ReplicaView> {
  const { contract, groups, clientsByHub, bridgeStates, aroundClients, rates, metrics } = parts;
  const { isDraining, probeMs } = aroundClients();
  const [connections, unfenced, lanes, rooms, streams] = await Promise.all([
    metrics.connections.get(),
    metrics.unfenced.get(),
    rates.read(),
    countRooms(groups, contract),
    contractStreams(parts),
  ]);
  return {
    nowMs: parts.clock.now(),
    draining: isDraining,
    clients: total(connections.values.map(({ value }) => value)),
    hubs: clientsByHub(),
    rooms,
    probeMs: probeMs ?? null,
    lag: streams === undefined ? null : total(streams.map(({ lag }) => lag)),
    unfenced: total(unfenced.values.map(({ value }) => value)),
    bridges: bridgeStates().map(({ bridge, reachable }) => ({ bridge, reachable })),
    onlyAtBridge: parts.bridge?.onlyThere.all ?? [],
    lanes,
  };
}

/** The contract's streams as the log has them; undefined: it does not say. Never rejects. */
export async function contractStreams({
  contract,
  log,
  clock,
}: Pick<OwnViewParts, 'contract' | 'log' | 'clock'>): Promise<StreamState[] | undefined> {
  if (!log.reachable) return undefined;
  const streams = await Promise.race([log.streamStates(), pause(clock, logMs)]).catch(() => undefined);
  return streams?.filter(({ stream }) => contract.streams.has(stream));
}

async function countRooms(groups: Pick<Groups, 'all'>, contract: Pick<Contract, 'roomOf'>): Promise<number> {
  const rooms = new Set<string>();
  for await (const { hub, group } of inTurns(groups.all())) {
    const room = contract.roomOf(hub, group);
    if (room !== undefined) rooms.add(room);
  }
  return rooms.size;
}

/** However many there are, calls and clients get their turns in between. */
export async function* inTurns<T>(all: Iterable<T>): AsyncGenerator<T> {
  let taken = 0;
  for (const each of all) {
    if (++taken % perTurn === 0) await nextTurn();
    yield each;
  }
}
