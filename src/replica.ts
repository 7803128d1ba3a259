// One replica: its stages are made in the order in which the data flows, connected, and ended in that order too.
// Promises: the backend's side opens at once, the clients' side as soon as they miss nothing; a stop loses nothing that was accepted.

import { networkInterfaces } from 'node:os';
import { Admin, allPass, type Check } from './admin/admin.ts';
import { HealthPort } from './admin/health-port.ts';
import { ClientsSide } from './clients-side.ts';
import type { Config, HostPort } from './config.ts';
import { CutoverStage } from './cutover/stage.ts';
import { Edge } from './edge/edge.ts';
import { measure, readiness } from './health.ts';
import { Ingress } from './ingress/ingress.ts';
import { Lanes } from './lanes/lanes.ts';
import { makeParts, type Parts } from './parts.ts';
import type { Logger } from './telemetry/logger.ts';
import { Seldom } from './telemetry/seldom.ts';
import { version } from './version.ts';

/** ms that the calls under way may take when the replica stops. */
const callsDrainMs = 5_000;
/** ms between two lines of the log about words of replicas that were not signed. */
const sayUnsignedMs = 5_000;

export interface Replica {
  /** undefined: an edge alone. */
  readonly listen: HostPort | undefined;
  readonly admin: HostPort;
  readonly health: HostPort | undefined;
  /** The client side's address, once clients may come; undefined: an ingress alone. Errors: LOG_*, CONFIG_INVALID. */
  readonly ready: Promise<HostPort | undefined>;
  /** Rejects if the log refuses this replica, also after it was ready. Errors: LOG_INSTANCE_TAKEN, CONFIG_INVALID. */
  readonly failed: Promise<never>;
  /** The share of rooms on the stream lane, as it holds here now. */
  percent(): number;
  /** Counts and logs what no boundary caught, and calls `onLost`. */
  coreFailed(error: unknown): void;
  /**
   * Lets the clients go, at the configured rate, and goes on taking calls and showing events. Asked again, by whomever, it is
   * the same drain. Never rejects.
   */
  drain(): Promise<void>;
  /** Ends it, ready or not; who is still connected is closed at once. */
  stop(): Promise<void>;
}

/**
 * Starts one replica. Errors: CONFIG_INVALID, CONTRACT_INVALID; without a bridge LOG_UNAVAILABLE.
 * @param onLost called if it cannot go on and must be stopped: another process has taken its name, or its core has failed
 */
export async function startReplica(config: Config, logger: Logger, onLost: (why: string) => void): Promise<Replica> {
  // Make: what several stages share, then the stages, each from what stands above it.
  const parts = await makeParts(config, logger, onLost);
  const coreFailed = (error: unknown) => {
    parts.faults.report('core', error);
    onLost('a fault at the core');
  };
  const edge = makeEdge(config, parts);
  let stopping = false;
  const isDraining = () => stopping || clientsSide.isDraining;
  const cutover = makeCutover(config, parts, edge, isDraining);
  const lanes = makeLanes(config, parts, cutover);
  const clientsSide = new ClientsSide({ ...parts, config, edge, cutover, coreFailed });

  // Connect: what flows back, then the doors.
  cutover.connect(lanes);
  edge.connect({
    publish: (event) => lanes.publish(event),
    untilLogIsRead: () => cutover.laneChoice.untilCaughtUp(),
    onHubTyping: ({ room, user }) => cutover.onHubTyping(room, user),
  });
  parts.faults.guard('core', () => cutover.learn());
  const ingress = config.listen && (await listenIngress(config, config.listen, parts, { cutover, lanes }));
  const opening = clientsSide.open();
  // Whoever looks at `failed` gets the error; until then it is nobody's.
  opening.catch(() => {});
  const checks = () => checksOf(config, parts, { edge, cutover, clientsSide, stopping });
  const admin = await listenAdmin(config, parts, { cutover, lanes, clientsSide, checks });
  const health = config.health && (await listenHealth(config.health, parts, { clientsSide, checks }));
  if (config.insecure) logger.warn('--insecure: whoever reaches the ports may broadcast, listen and look');

  return {
    listen: ingress?.address,
    admin: admin.address,
    health: health?.address,
    ready: clientsSide.opened,
    failed: opening.then(() => new Promise<never>(() => {})),
    percent: () => cutover.percent,
    coreFailed,
    drain: () => clientsSide.drain(),
    async stop() {
      stopping = true;
      await ingress?.drain(callsDrainMs);
      await lanes.drain();
      await clientsSide.close();
      cutover.close();
      await parts.log.close();
      await parts.bridge?.close();
      parts.bridgeHealth?.close();
      parts.addresses?.close();
      admin.close();
      health?.close();
    },
  };
}

function makeEdge(config: Config, parts: Parts): Edge {
  const { log, addresses } = parts;
  const shared = { ...parts, roster: log.roster };
  if (config.hubs === 'proxy' && addresses !== undefined) {
    const values = {
      share: (...given: Parameters<typeof log.share>) => log.share(...given),
      shared: (key: string) => log.shared(key),
    };
    return new Edge({ ...shared, ...values, hubs: 'proxy', addresses });
  }
  const auth = { secret: config.jwtSecret, jwksUrl: config.jwksUrl };
  return new Edge({ ...shared, hubs: 'native', auth, allowedOrigins: config.allowedOrigins });
}

function makeCutover(config: Config, parts: Parts, edge: Edge, isDraining: () => boolean): CutoverStage {
  const { addresses, bridgeHealth, idempotency } = parts;
  const cutover = new CutoverStage({
    ...parts,
    config,
    edge,
    ids: idempotency,
    isDraining,
    bridgeStates: () => bridgeHealth?.states ?? [],
    severalBridges: () => config.bridgeCalls === 'one' && (addresses?.all.length ?? 0) > 1,
  });
  cutover.onUse((inUse) => edge.proveConnects(inUse));
  return cutover;
}

function makeLanes(config: Config, parts: Parts, cutover: CutoverStage): Lanes {
  const { outage, uncertain } = cutover;
  return new Lanes({
    ...parts,
    fallback: config.fallback,
    bridgeFallback: config.bridgeFallback,
    coalesceWindowMs: config.coalesce ? config.coalesceWindow : undefined,
    cutover: cutover.laneChoice,
    onLogFailure: (reason) => outage.begin(reason),
    hadElsewhere: (room) => cutover.hadElsewhere(room),
    hasAudience: () => hasAudience(config, parts),
    onBlind: (event) => cutover.onBlind(event),
    settleUncertain: (event, callBridge) => uncertain.settle(event, callBridge),
  });
}

interface Stages {
  edge: Edge;
  cutover: CutoverStage;
  lanes: Lanes;
  clientsSide: ClientsSide;
  checks(): Record<string, Check>;
}

function listenIngress(
  { apiKey, maxBody: maxBodyBytes }: Config,
  listen: HostPort,
  parts: Parts,
  { cutover, lanes }: Pick<Stages, 'cutover' | 'lanes'>,
): Promise<Ingress> {
  return Ingress.listen({ ...parts, listen, apiKey, maxBodyBytes, cutover: cutover.laneChoice, lanes });
}

function checksOf(
  config: Config,
  parts: Parts,
  { edge, cutover, clientsSide, stopping }: Pick<Stages, 'edge' | 'cutover' | 'clientsSide'> & { stopping: boolean },
): Record<string, Check> {
  return readiness({
    config,
    log: parts.log,
    bridgeStates: parts.bridgeHealth?.states ?? [],
    canForward: parts.bridgeHealth?.reachable ?? false,
    edge,
    hasAudience: hasAudience(config, parts),
    isCutOff: cutover.readerWatch.isCutOff,
    probe: clientsSide.probe,
    usesStream: cutover.laneChoice.usesStream,
    draining: stopping || clientsSide.isDraining,
  });
}

async function listenHealth(
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

async function listenAdmin(
  config: Config,
  parts: Parts,
  { cutover, lanes, clientsSide, checks }: Pick<Stages, 'cutover' | 'lanes' | 'clientsSide' | 'checks'>,
): Promise<Admin> {
  const bridgeStates = () => parts.bridgeHealth?.states ?? [];
  // Who asks at once whether this replica is ready gets an answer that holds.
  await parts.bridgeHealth?.begun;
  const admin = await Admin.listen({
    listen: config.admin,
    token: config.adminToken,
    insecure: config.insecure,
    faults: parts.faults,
    metrics: parts.metrics,
    beforeScrape: () =>
      measure({
        ...parts,
        config,
        lanes,
        bridgeStates: bridgeStates(),
        drained: clientsSide.drained,
        probe: clientsSide.probe,
      }),
    readiness: checks,
    drain() {
      parts.faults.guard('client', () => clientsSide.drain());
      return clientsSide.drained;
    },
    cutover: {
      instance: config.instance,
      operator: cutover.operator,
      survey: cutover.survey,
      uncertain: cutover.uncertain,
      outage: cutover.outage,
      readerWatch: cutover.readerWatch,
      signature: cutover.signature,
      saysUnsigned: new Seldom(parts.clock, sayUnsignedMs),
      logger: parts.logger,
    },
  });
  cutover.introduce({
    admin: reachableUrl(admin.address),
    hubs: config.hubs,
    version,
    contract: parts.contract.fingerprint,
  });
  return admin;
}

/** Proxied connections end with their bridge; native ones do not. */
function hasAudience({ hubs }: Config, { bridgeHealth }: Parts): boolean {
  return hubs === 'native' || bridgeHealth === undefined || bridgeHealth.reachable;
}

/** The admin port's address as other hosts can use it, where it listens beyond loopback. */
function reachableUrl({ host, port }: HostPort): string {
  const isAny = host === '0.0.0.0' || host === '::';
  const outside = Object.values(networkInterfaces())
    .flat()
    .find((face) => face !== undefined && !face.internal && face.family === 'IPv4');
  const name = isAny ? (outside?.address ?? '127.0.0.1') : host;
  return `http://${name.includes(':') ? `[${name}]` : name}:${port}`;
}
