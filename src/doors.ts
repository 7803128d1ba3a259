// The ports of one replica beside the clients' own: the backend's calls, the operator, the probes. In come the made stages, out go
// listening ports; what a door says of this replica's health comes from health.ts.

import { Admin, allPass, type Check } from './admin/admin.ts';
import { HealthPort } from './admin/health-port.ts';
import { type Around, Live } from './admin/live.ts';
import { checkRunning } from './checks.ts';
import type { ClientsSide } from './clients-side.ts';
import type { Compare } from './compare/compare.ts';
import { compareView } from './compare/report.ts';
import type { Config, HostPort } from './config.ts';
import type { Cutover } from './cutover/cutover.ts';
import { tokensFact } from './cutover/hub-moves.ts';
import { contractStreams } from './cutover/own-view.ts';
import type { Edge } from './edge/edge.ts';
import { measure, readiness } from './health.ts';
import { Ingress } from './ingress/ingress.ts';
import type { Lanes } from './lanes/lanes.ts';
import type { Parts } from './parts.ts';
import { adminFact } from './peers/peers.ts';
import type { Plans } from './plan/plans.ts';
import { withPlan } from './plan/report.ts';
import { total } from './telemetry/lane-rates.ts';
import { LogThrottle } from './telemetry/log-throttle.ts';
import { version } from './version.ts';

/** ms between two lines of the log about words of replicas that were not signed. */
const sayUnsignedMs = 5_000;

interface Stages {
  edge: Edge;
  cutover: Cutover;
  plans: Plans;
  compare: Compare;
  lanes: Lanes;
  clientsSide: ClientsSide;
  checks(): Record<string, Check>;
}

export function listenIngress(
  { apiKey, maxBody: maxBodyBytes }: Config,
  listen: HostPort,
  parts: Parts,
  { cutover, lanes }: Pick<Stages, 'cutover' | 'lanes'>,
): Promise<Ingress> {
  return Ingress.listen({ ...parts, listen, apiKey, maxBodyBytes, roomLanes: cutover.roomLanes, lanes });
}

export function checksOf(
  config: Config,
  parts: Parts,
  { edge, cutover, clientsSide, stopping }: Pick<Stages, 'edge' | 'cutover' | 'clientsSide'> & { stopping: boolean },
): Record<string, Check> {
  return readiness({
    config,
    log: parts.log,
    bridges: bridgeOf(parts, cutover).bridgeHealth,
    edge,
    hasAudience: cutover.roomLanes.hasNativeHubs || parts.hasAudience(),
    hasNativeHubs: cutover.roomLanes.hasNativeHubs,
    isCutOff: cutover.readerWatch.isCutOff,
    probe: clientsSide.probe,
    usesStream: cutover.roomLanes.usesStream,
    draining: stopping || clientsSide.isDraining,
  });
}

export async function listenHealth(
  listen: HostPort,
  { clock, faults }: Parts,
  { clientsSide, checks }: Pick<Stages, 'clientsSide' | 'checks'>,
): Promise<HealthPort> {
  let hasStarted = false;
  clientsSide.opened.then(() => {
    hasStarted = true;
  });
  return HealthPort.listen({ listen, hasStarted: () => hasStarted, isReady: () => allPass(checks()), clock, faults });
}

export async function listenAdmin(
  config: Config,
  parts: Parts,
  { edge, cutover, plans, compare, lanes, clientsSide, checks }: Stages,
): Promise<Admin> {
  const { probe } = clientsSide;
  const status = async () => withPlan(await cutover.answers.status(), plans.run, compare.verdict?.line ?? null);
  // Who asks at once whether this replica is ready gets an answer that holds.
  await parts.bridgeHealth?.begun;
  const admin = await Admin.listen({
    listen: config.admin,
    token: config.adminToken,
    insecure: config.insecure,
    faults: parts.faults,
    metrics: parts.metrics,
    beforeScrape: () =>
      measure({ ...parts, ...bridgeOf(parts, cutover), config, lanes, drained: clientsSide.drained, probe }),
    readiness: checks,
    check: oneAtATime(() => checkRunning({ ...parts, ...bridgeOf(parts, cutover), config, cutover, compare })),
    drain() {
      parts.faults.contain('client', () => clientsSide.drain());
      return clientsSide.drained;
    },
    cutover: { ...cutover.answers, status, plans },
    peers: {
      ...parts,
      instance: config.instance,
      edge: config.edge && edge,
      rollback: cutover.answers.rollback,
      survey: cutover.survey,
      uncertain: cutover.uncertain,
      outage: cutover.outage,
      readerWatch: cutover.readerWatch,
      signature: cutover.signature,
      saysUnsigned: new LogThrottle(parts.clock, sayUnsignedMs),
    },
    compare: { compare, clock: parts.clock },
    live: new Live({
      ...parts,
      instance: config.instance,
      status,
      run: () => plans.run,
      compare: () => compareView(compare.run, parts.clock.now(), false),
      around: () => aroundOf(parts, clientsSide),
      guard: () => bridgeOf(parts, cutover).bridge && cutover.guard,
    }),
  });
  await cutover.introduce({
    [adminFact]: admin.url,
    hubs: config.hubs,
    version,
    contract: parts.contract.fingerprint,
    [tokensFact]: config.edge === undefined || config.jwtSecret || config.jwksUrl ? 'checked' : 'not checked',
  });
  return admin;
}

/** None once it was left for good. */
function bridgeOf({ bridge, bridgeHealth }: Parts, { roomLanes }: Cutover) {
  if (roomLanes.standalone) return { bridge: undefined, bridgeHealth: undefined, bridgeStates: [] };
  return { bridge, bridgeHealth, bridgeStates: bridgeHealth?.states ?? [] };
}

async function aroundOf(parts: Parts, { probeMs }: ClientsSide): Promise<Around> {
  const [streams, faults] = await Promise.all([contractStreams(parts), parts.metrics.faults.get()]);
  return {
    probeMs: probeMs === undefined ? null : Math.round(probeMs),
    streams: streams ?? null,
    faults: total(faults.values.map(({ value }) => value)),
  };
}

/** Who asks while it is being done gets the same answer: a check connects to Redis, and asks every bridge and every replica. */
function oneAtATime<Answer>(ask: () => Promise<Answer>): () => Promise<Answer> {
  let asked: Promise<Answer> | undefined;
  return () => {
    asked ??= ask().finally(() => {
      asked = undefined;
    });
    return asked;
  };
}
