// The stages of one replica, each made from the parts (parts.ts) and the stages before it in the flow. In come the Config and these,
// out goes the stage; what it asks of a later stage comes when the replica connects them (replica.ts).

import { Compare } from './compare/compare.ts';
import type { Config } from './config.ts';
import { Cutover, type CutoverOptions } from './cutover/cutover.ts';
import { Edge } from './edge/edge.ts';
import { Lanes } from './lanes/lanes.ts';
import { leaveBridge, type Parts } from './parts.ts';
import { Plans } from './plan/plans.ts';
import { version } from './version.ts';

export function makeEdge(config: Config, parts: Parts): Edge {
  const { log, addresses } = parts;
  const auth = { secret: config.jwtSecret, jwksUrl: config.jwksUrl };
  const values = {
    share: (...given: Parameters<typeof log.share>) => log.share(...given),
    shared: (key: string) => log.shared(key),
  };
  return new Edge({
    ...parts,
    roster: log.roster,
    native: { auth, allowedOrigins: config.allowedOrigins },
    hadBridge: parts.completed !== undefined,
    ...(addresses && { proxied: { ...values, addresses } }),
  });
}

export function makeCutover(
  config: Config,
  parts: Parts,
  edge: Edge,
  aroundClients: CutoverOptions['aroundClients'],
): Cutover {
  const { bridgeHealth, idempotency } = parts;
  const cutover: Cutover = new Cutover({
    ...parts,
    config,
    edge,
    ids: idempotency,
    aroundClients,
    bridgeStates: () => (cutover.roomLanes.standalone ? [] : (bridgeHealth?.states ?? [])),
  });
  cutover.onComplete(() => {
    edge.leaveBridge();
    parts.faults.contain('bridge', () => leaveBridge(parts));
  });
  cutover.onUse((inUse) => edge.proveConnects(inUse));
  cutover.onHubs((native, overMs) => edge.moveHubs(native, overMs));
  return cutover;
}

export function makePlans({ instance }: Config, parts: Parts, cutover: Cutover): Plans {
  const { answers, survey, outage, roomLanes } = cutover;
  const plans = new Plans({ ...parts, ...answers, instance, survey, outage, roomLanes });
  cutover.onSurplus((surplus) => plans.onSurplus(surplus));
  return plans;
}

export function makeCompare(config: Config, parts: Parts, cutover: Cutover, edge: Edge): Compare {
  const { instance, hubs, requireCompare } = config;
  const { roomLanes, outage, guard } = cutover;
  const compare = new Compare({ ...parts, instance, hubs, version, edge, roomLanes, outage });
  if (parts.bridge !== undefined) parts.bridge.onForwarded = () => compare.onForwarded();
  if (requireCompare) guard.require(() => compare.objection);
  return compare;
}

export function makeLanes(config: Config, parts: Parts, cutover: Cutover, compare: Compare): Lanes {
  const { fallback, bridgeFallback, coalesce, coalesceWindow } = config;
  const settings = { fallback, bridgeFallback, coalesceWindowMs: coalesce ? coalesceWindow : undefined };
  const hasAudience = () => cutover.roomLanes.hasNativeHubs || parts.hasAudience();
  const onUnshadowed = (why: string, sinceMs: number) => compare.onUnshadowed(why, sinceMs);
  const lanes = new Lanes({
    ...parts,
    cutover: cutover.roomLanes,
    failures: cutover,
    hasAudience,
    settings,
    onUnshadowed,
  });
  compare.connect(lanes);
  return lanes;
}
