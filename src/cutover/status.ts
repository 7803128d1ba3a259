// The answer of `GET /cutover`: everything that an operator wants to see of the cutover, on one page. In come the parts that know it,
// out goes JSON with stable keys. Promise: it answers within a second, whatever hangs.

import type { BridgeState } from '../bridge/health.ts';
import type { Log } from '../log/log.ts';
import { adminFact, epochFact } from '../peers/peers.ts';
import type { Outage } from '../rooms/outage.ts';
import type { RoomLanes } from '../rooms/room-lanes.ts';
import type { CutoverState } from '../rooms/state.ts';
import { addUp, type LaneReading, quantileMs } from '../telemetry/lane-rates.ts';
import type { Guard, PastVerdict } from './guard.ts';
import type { HubMoveRules, HubStatus } from './hub-moves.ts';
import { type Outlook, outlook } from './outlook.ts';
import type { OwnFlags, Wish } from './own-flags.ts';
import type { ReaderWatch } from './reader-watch.ts';
import type { SharedState } from './shared-state.ts';
import type { Seen, Survey } from './survey.ts';

export interface StatusParts {
  hubMoves: Pick<HubMoveRules, 'status'>;
  wish: Wish | null;
  roomLanes: RoomLanes;
  guard: Pick<Guard, 'last'>;
  outage: Pick<Outage, 'status'>;
  ownFlags: Pick<OwnFlags, 'heldFor'>;
  shared: Pick<SharedState, 'follows'>;
  readerWatch: Pick<ReaderWatch, 'isCutOff'>;
  log: Pick<Log, 'reachable'>;
  survey: Pick<Survey, 'look'>;
  bridgeStates(): BridgeState[];
}

/** One lane over the last seconds, of all replicas that answer. */
export interface LaneStatus {
  perSecond: number;
  /** ms from publish to broadcast; null: nothing was delivered. */
  p50: number | null;
  p95: number | null;
  p99: number | null;
  /** Events that it did not take. */
  failures: number;
}

export interface ReplicaStatus {
  instance: string;
  /** Of the state that it has adopted; absent where it is not known. */
  epoch?: string;
  admin?: string;
  hubs?: string;
  version?: string;
  contract?: string;
  answers: boolean;
  /** ms since it last answered this replica; null: it never has. */
  heardMs: number | null;
  /** These are null while it does not answer. */
  draining: boolean | null;
  clients: number | null;
  rooms: number | null;
  lag: number | null;
  unfenced: number | null;
  /** Bridges that answer it, and all. */
  bridges: { up: number; of: number } | null;
}

export interface Status
  extends Outlook,
    Pick<
      CutoverState,
      'epoch' | 'percent' | 'pins' | 'mirror' | 'mirrorPercent' | 'hold' | 'operated' | 'killed' | 'history'
    > {
  /** What holds here now; `why` it is not the percent that is set, and what is `held` back. */
  effective: { percent: number; why?: string; held?: string };
  /** Where each hub's connections end, and how many of them do where (of all replicas that answer). */
  hubs: Record<string, HubStatus>;
  /** The bridge was left for good. */
  completed: boolean;
  /** What the flags of this replica ask for. */
  wish: Wish | null;
  /** All rooms go to the bridge, as the log failed; null: they do not. */
  outage: Outage['status'];
  guard: PastVerdict | null;
  bridges: BridgeState[];
  log: { reachable: boolean; followed: boolean; isCutOff: boolean };
  lanes: { windowMs: number; bridge: LaneStatus; stream: LaneStatus; fallbacks: number };
  /** This one first. */
  replicas: ReplicaStatus[];
}

export async function cutoverStatus(parts: StatusParts): Promise<Status> {
  const { roomLanes, guard, outage, wish, ownFlags, shared, readerWatch, log, bridgeStates, survey, hubMoves } = parts;
  const seen = await survey.look();
  const { state, standalone } = roomLanes;
  const hubs = hubMoves.status(seen);
  const known = {
    state,
    standalone,
    hubs: Object.values(hubs).every(({ at }) => at === 'native') ? ('native' as const) : ('proxy' as const),
    wish,
    heldFor: ownFlags.heldFor,
    outage: outage.status,
    guard: guard.last,
    bridges: bridgeStates(),
    log: { reachable: log.reachable, followed: standalone || shared.follows, isCutOff: readerWatch.isCutOff },
    replicas: seen,
  };
  const { epoch, percent, pins, mirror, mirrorPercent, hold, operated, killed, completed, history } = state;
  return {
    ...outlook(known),
    epoch,
    percent,
    effective: {
      percent: roomLanes.percent,
      ...(killed.length > 0 && { why: `the kill switch of ${killed.join(', ')}` }),
      ...(ownFlags.heldFor !== '' && { held: ownFlags.heldFor }),
    },
    pins,
    mirror,
    mirrorPercent,
    hold,
    operated,
    killed,
    hubs,
    completed,
    wish,
    outage: known.outage,
    guard: (!standalone && guard.last) || null,
    bridges: known.bridges,
    log: known.log,
    lanes: lanesOf(seen),
    // This replica knows its own epoch before the roster does.
    replicas: seen.map((each, i) => replicaOf(each, i === 0 ? String(epoch) : each.facts[epochFact])),
    history,
  };
}

function lanesOf(seen: Seen[]): Status['lanes'] {
  const { windowMs, bridge, stream, fallbacks } = addUp(
    seen.flatMap(({ view }) => (view === undefined ? [] : [view.lanes])),
  );
  const ofLane = (reading: LaneReading): LaneStatus => ({
    perSecond: windowMs === 0 ? 0 : rounded((reading.events * 1_000) / windowMs),
    p50: inMs(quantileMs(reading, 0.5)),
    p95: inMs(quantileMs(reading, 0.95)),
    p99: inMs(quantileMs(reading, 0.99)),
    failures: reading.failures,
  });
  return { windowMs: Math.round(windowMs), bridge: ofLane(bridge), stream: ofLane(stream), fallbacks };
}

function replicaOf({ instance, facts, view, heardMs }: Seen, epoch: string | undefined): ReplicaStatus {
  const { [adminFact]: admin, hubs, version, contract } = facts;
  return {
    instance,
    ...(epoch !== undefined && { epoch }),
    ...(admin !== undefined && { admin }),
    ...(hubs !== undefined && { hubs }),
    ...(version !== undefined && { version }),
    ...(contract !== undefined && { contract }),
    answers: view !== undefined,
    heardMs: heardMs ?? null,
    draining: view?.draining ?? null,
    clients: view?.clients ?? null,
    rooms: view?.rooms ?? null,
    lag: view?.lag ?? null,
    unfenced: view?.unfenced ?? null,
    bridges:
      view === undefined ? null : { up: view.bridges.filter((each) => each.reachable).length, of: view.bridges.length },
  };
}

function inMs(value: number | undefined): number | null {
  return value === undefined ? null : rounded(value);
}

function rounded(value: number): number {
  return Math.round(value * 10) / 10;
}
