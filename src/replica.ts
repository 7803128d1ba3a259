// One replica: wires the stages in the order in which the data flows, and ends them in that order too.
// Promises: the clients' side opens when the reader stands at the tail; a bridge's clients do not wait for a log that is away, but
// are closed when it is there, if they may have missed something; a stop loses nothing that was accepted.

import { networkInterfaces } from 'node:os';
import { Admin } from './admin/admin.ts';
import { assetText } from './assets.ts';
import { BridgeAddresses, isAt } from './bridge/addresses.ts';
import { BridgeHealth } from './bridge/health.ts';
import { BridgeLane } from './bridge/lane.ts';
import { type Config, type HostPort, nameOf } from './config.ts';
import { Consumer } from './consumer/consumer.ts';
import type { Contract } from './contract/contract.ts';
import { readContract } from './contract/file.ts';
import { loadContract } from './contract/load.ts';
import { unknownStateMs } from './cutover/cutover.ts';
import { CutoverStage } from './cutover/stage.ts';
import { Edge } from './edge/edge.ts';
import { CrossfadeError } from './errors.ts';
import { measure, readiness } from './health.ts';
import { Ingress } from './ingress/ingress.ts';
import { Lanes } from './lanes/lanes.ts';
import { LateLog } from './log/late.ts';
import { controlStream, type Log, type LogOptions, type Reader, typingStream } from './log/log.ts';
import { openLog } from './log/open.ts';
import { type Clock, pause, systemClock } from './telemetry/clock.ts';
import { Faults } from './telemetry/faults.ts';
import type { Logger } from './telemetry/logger.ts';
import { createMetrics, type Metrics, presetLabels } from './telemetry/metrics.ts';
import { Seldom } from './telemetry/seldom.ts';
import { version } from './version.ts';

/** ms that the calls under way may take when the replica stops. */
const callsDrainMs = 5_000;
/** ms that clients get to see what was published last. */
const deliveryDrainMs = 1_000;

export interface Replica {
  readonly listen: HostPort;
  readonly admin: HostPort;
  /** The client side's address, once clients may come. Errors: LOG_*, CONFIG_INVALID. */
  readonly ready: Promise<HostPort>;
  /** Rejects if the log refuses this replica, also after it was ready. Errors: LOG_INSTANCE_TAKEN, CONFIG_INVALID. */
  readonly failed: Promise<never>;
  /** The share of rooms on the stream lane, as it holds here now. */
  percent(): number;
  /** Counts and logs what no boundary caught, and calls `onLost`. */
  coreFailed(error: unknown): void;
  /** Ends it as SIGTERM does, ready or not. */
  stop(): Promise<void>;
}

/**
 * Starts one replica: the backend's side at once, the clients' side as soon as they miss nothing.
 * @param onLost called if it cannot go on and must be stopped: another process has taken its name, or its core has failed
 */
export async function startReplica(config: Config, logger: Logger, onLost: (why: string) => void): Promise<Replica> {
  const contract = contractOf(config);
  const metrics = metricsOf(config, contract);
  const faults = new Faults(logger, metrics);
  const clock = faults.clock(systemClock);
  const addresses = await addressesOf(config, clock);
  const log = await logOf(config, {
    clock,
    logger,
    metrics,
    onInstanceLost: () => onLost('the instance name was lost'),
  });
  const coreFailed = (error: unknown) => {
    faults.report('core', error);
    onLost('a fault at the core');
  };
  const bridge = addresses && new BridgeLane({ addresses, calls: config.bridgeCalls });
  const bridgeHealth = addresses && new BridgeHealth({ addresses, clock, logger });
  const bridgeStates = () => bridgeHealth?.states ?? [];
  // Proxied connections end with their bridge; native ones do not.
  const hasAudience = () => config.hubs === 'native' || bridgeHealth === undefined || bridgeHealth.reachable;
  let edge: Edge | undefined;
  let reading: { reader: Reader; consumer: Consumer; consuming: Promise<void> } | undefined;
  const cutover = new CutoverStage({
    config,
    contract,
    log,
    bridge,
    bridgeStates,
    severalBridges: () => config.bridgeCalls === 'one' && (addresses?.all.length ?? 0) > 1,
    // Before there is an edge nobody has been shown anything.
    edge: {
      hold: (id, covers) => edge?.hold(id, covers),
      fence: async (id) => edge?.fence(id),
      fenceMembers: (room, deliveries) => edge?.fenceMembers(room, deliveries),
      unshown: (covers) => edge?.unshown(covers) ?? [],
      untilShown: async (covers, limitMs) => edge?.untilShown(covers, limitMs),
      withhold: (eventId) => edge?.withhold(eventId),
    },
    reads: {
      hasRead: (eventId) => reading?.consumer.hasRead(eventId) ?? false,
      withhold: (eventId) => reading?.consumer.withhold(eventId),
    },
    flush: (covers) => lanes.flush(covers),
    emitting: () => lanes.emittingRooms,
    recentIds: (withinMs) => ingress.recentIds(withinMs),
    silentMs: () => reading?.reader.silentMs ?? Number.POSITIVE_INFINITY,
    faults,
    clock,
    logger,
    metrics,
  });
  const lanes = new Lanes({
    log,
    bridge,
    fallback: config.fallback,
    bridgeFallback: config.bridgeFallback,
    cutover: cutover.lanes,
    onLogFailure: (room, reason) => cutover.detour.take(room, reason),
    wasRead: (eventId) => reading?.consumer.hasRead(eventId) ?? false,
    isTypingOver: (room, typing) => reading?.consumer.isTypingOver(room, typing) ?? false,
    hadElsewhere: (room) => cutover.detour.hadElsewhere(room),
    hasAudience,
    onBlind: (event) => cutover.onBlind(event),
    settleUncertain: (event, callBridge) => cutover.uncertain.settle(event, callBridge),
    coalesceWindowMs: config.coalesce ? config.coalesceWindow : undefined,
    position: () => reading?.reader.position ?? '0-0',
    clock,
    logger,
    metrics,
  });
  const ingress = await Ingress.listen({
    listen: config.listen,
    apiKey: config.apiKey,
    maxBodyBytes: config.maxBody,
    contract,
    cutover: cutover.lanes,
    lanes,
    bridge,
    log,
    clock,
    logger,
    metrics,
    faults,
  });
  // Who asks at once whether this replica is ready gets an answer that holds.
  await bridgeHealth?.begun;
  let draining = false;
  const admin = await Admin.listen({
    listen: config.admin,
    token: config.adminToken,
    insecure: config.insecure,
    metrics,
    beforeScrape: () => measure({ config, contract, log, lanes, bridge, bridgeStates: bridgeStates(), metrics }),
    readiness: () =>
      readiness({
        config,
        log,
        bridgeStates: bridgeStates(),
        edge,
        hasAudience: hasAudience(),
        isCutOff: cutover.readerWatch.isCutOff,
        draining,
      }),
    cutover: {
      instance: config.instance,
      operator: cutover.operator,
      uncertain: cutover.uncertain,
      detour: cutover.detour,
      readerWatch: cutover.readerWatch,
      signature: cutover.signature,
      saysUnsigned: new Seldom(clock, 5_000),
      logger,
    },
  });
  cutover.introduce({ admin: reachableUrl(admin.address), hubs: config.hubs, version });
  if (config.insecure) logger.warn('--insecure: whoever reaches the ports may broadcast, listen and look');

  const openEdge = async () => {
    const ends = { listen: config.edge, contract, roster: log.roster, clock, faults, logger, metrics };
    edge = await Edge.listen(
      config.hubs === 'native'
        ? {
            ...ends,
            hubs: 'native',
            auth: { secret: config.jwtSecret, jwksUrl: config.jwksUrl },
            allowedOrigins: config.allowedOrigins,
            publish: (event) => lanes.publish(event),
          }
        : {
            ...ends,
            hubs: 'proxy',
            addresses: addresses!,
            share: (key, value, ttlMs) => log.share(key, value, ttlMs),
            shared: (key) => log.shared(key),
            untilLogIsRead: () => cutover.lanes.untilCaughtUp(),
            onHubTyping: ({ room, user }) => cutover.onHubTyping(room, user),
          },
    );
    cutover.onUse((inUse) => edge?.proveConnects(inUse));
    return edge;
  };
  /** The reader stands at the tail; then the state is read, which is newer than what stands before that. */
  const standAtTail = async () => {
    const reader = await log.openReader([...contract.streams.keys(), controlStream, typingStream]);
    await cutover.begin();
    return reader;
  };
  const opened = Promise.withResolvers<Edge>();
  const run = async () => {
    const stands = standAtTail();
    // The bridge's clients do not wait for a log that is away.
    const isLate = () => pause(clock, unknownStateMs).then(() => true);
    const late = await Promise.race([stands.then(() => false), ...(config.hubs === 'proxy' ? [isLate()] : [])]);
    const openedAtMs = clock.now();
    const onEdge = await openEdge();
    opened.resolve(onEdge);
    const reader = await stands;
    const closeWhoMissed = () => {
      logger.warn({ code: 'EDGE_GAP' }, 'clients came before the log was read here; they are closed to reconnect');
      return onEdge.closeClients('gap');
    };
    if (late && cutover.mayHaveUsedStream(openedAtMs)) faults.guard('client', closeWhoMissed);
    const consumer = new Consumer({
      reader,
      audience: onEdge,
      contract,
      onGap: () => onEdge.closeClients('gap'),
      onNote: (entry) => cutover.onNote(entry),
      onRead: (entry) => cutover.onRead(entry),
      faults,
      clock,
      logger,
      metrics,
    });
    reading = { reader, consumer, consuming: consumer.run().catch(coreFailed) };
  };
  faults.guard('core', () => cutover.learn());
  const runs = run();

  return {
    listen: ingress.address,
    admin: admin.address,
    ready: opened.promise.then(({ address }) => address),
    failed: runs.then(() => new Promise<never>(() => {})),
    percent: () => cutover.percent,
    coreFailed,
    async stop() {
      draining = true;
      await ingress.drain(callsDrainMs);
      await lanes.drain();
      if (reading !== undefined) await untilDelivered(log, clock);
      await edge?.close();
      await reading?.reader.close();
      await reading?.consuming;
      cutover.close();
      await log.close();
      await bridge?.close();
      bridgeHealth?.close();
      addresses?.close();
      admin.close();
    },
  };
}

/** Error: CONFIG_INVALID where a bridge is this replica itself, which would go on calling itself. */
async function addressesOf(config: Config, clock: Clock): Promise<BridgeAddresses | undefined> {
  if (config.bridges.length === 0) return undefined;
  const addresses = await BridgeAddresses.open([...config.bridges], { clock });
  for (const own of ['listen', 'edge', 'admin'] as const) {
    const found = addresses.all.find((address) => isAt(address, config[own]));
    if (found === undefined) continue;
    const detail = `${nameOf('bridges')}: ${found.origin} is crossfade's own ${nameOf(own)}`;
    throw new CrossfadeError('CONFIG_INVALID', detail);
  }
  return addresses;
}

/** With a bridge a replica does not wait for its log: calls go to the bridge until it is there. */
async function logOf(
  config: Config,
  {
    clock,
    logger,
    metrics,
    onInstanceLost,
  }: Pick<LogOptions, 'clock' | 'logger' | 'onInstanceLost'> & { metrics: Metrics },
): Promise<Log> {
  const open = () =>
    openLog({
      redisUrl: config.redis,
      dataDir: config.dataDir,
      group: config.consumerGroup,
      instance: config.instance,
      publishTimeoutMs: config.publishTimeout,
      version,
      clock,
      logger,
      onOverBytes: () => metrics.overBudget.inc({ budget: 'log_bytes' }),
      onInstanceLost,
    });
  return config.bridges.length === 0 ? open() : new LateLog(open, clock, logger);
}

function metricsOf(config: Config, contract: Contract): Metrics {
  const metrics = createMetrics();
  presetLabels(metrics, {
    transports: config.bridges.length === 0 ? ['redis_streams'] : ['http', 'redis_streams'],
    eventTypes: contract.eventTypes,
    coalescedTypes: contract.coalescedTypes,
    streams: [...contract.streams.keys()],
  });
  metrics.buildInfo.set({ version, node: process.versions.node, contract: contract.fingerprint }, 1);
  return metrics;
}

function contractOf(config: Config): Contract {
  const { contract: file, streamMaxLength } = config;
  if (file !== undefined) return loadContract(readContract(file), file, streamMaxLength);
  return loadContract(assetText('support-center.yaml'), 'support-center.yaml', streamMaxLength);
}

/** What was published last shall still be shown before the clients are closed. */
async function untilDelivered(log: Log, clock: Clock): Promise<void> {
  const givesUpAt = clock.monotonic() + deliveryDrainMs;
  while (clock.monotonic() < givesUpAt) {
    const lags = await log.streamStates().then(
      (states) => states.map(({ lag }) => lag),
      () => [],
    );
    if (lags.every((lag) => lag === 0)) return;
    await new Promise<void>((resolve) => setTimeout(resolve, 10));
  }
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
