// `crossfade serve`: wires the stages in the order in which the data flows, and ends them in that order too.
// Promises: the edge opens when the reader stands at the tail; SIGTERM loses nothing and ends within 10 s.

import { Admin, type Check } from '../admin/admin.ts';
import { assetText } from '../assets.ts';
import type { Config, HostPort } from '../config.ts';
import { Consumer } from '../consumer/consumer.ts';
import type { Contract } from '../contract/contract.ts';
import { loadContract } from '../contract/load.ts';
import { Cutover } from '../cutover/cutover.ts';
import { Edge } from '../edge/edge.ts';
import { Ingress } from '../ingress/ingress.ts';
import { BridgeLane } from '../lanes/bridge.ts';
import { Lanes } from '../lanes/lanes.ts';
import type { Log } from '../log/log.ts';
import { openLog } from '../log/open.ts';
import { systemClock as clock } from '../telemetry/clock.ts';
import { createLogger, type Logger } from '../telemetry/logger.ts';
import { createMetrics, type Metrics } from '../telemetry/metrics.ts';
import { version } from '../version.ts';
import { readContract } from './contract.ts';

/** ms after which a drain that hangs (on a bridge that does not answer, say) is given up. */
const drainLimitMs = 9_500;
/** ms of them that the calls under way may take. */
const callsDrainMs = 5_000;
/** ms that clients get to see what was published last. */
const deliveryDrainMs = 1_000;

export interface Replica {
  readonly listen: HostPort;
  readonly edge: HostPort;
  readonly admin: HostPort;
  /** Ends it as SIGTERM does. */
  stop(): Promise<void>;
}

/** Runs until SIGTERM or SIGINT. Errors: LOG_UNAVAILABLE, LOG_INSTANCE_TAKEN, CONTRACT_INVALID. */
export async function serve(config: Config): Promise<void> {
  const logger = createLogger('serve');
  const stopping = Promise.withResolvers<string>();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stopping.resolve(signal));
  const replica = await startReplica(config, logger, () => {
    process.exitCode = 1;
    stopping.resolve('the instance name was lost');
  });
  const { listen, edge, admin } = replica;
  logger.info(
    { listen: addressText(listen), edge: addressText(edge), admin: addressText(admin), percent: config.percent },
    'ready',
  );
  const reason = await stopping.promise;
  logger.info({ reason }, 'draining');
  setTimeout(() => {
    logger.error('the drain took too long; what was still under way is cut off');
    process.exit(1);
  }, drainLimitMs).unref();
  await replica.stop();
  logger.info('stopped');
  process.exit();
}

/** Starts one replica. @param onInstanceLost called if another process takes its name */
export async function startReplica(config: Config, logger: Logger, onInstanceLost: () => void): Promise<Replica> {
  const contract = contractOf(config);
  const metrics = createMetrics();
  const log = await openLog({
    redisUrl: config.redis,
    dataDir: config.dataDir,
    group: config.consumerGroup,
    instance: config.instance,
    publishTimeoutMs: config.publishTimeout,
    version,
    clock,
    logger,
    onInstanceLost,
  });
  const reader = await log.openReader([...contract.streams.keys()]);
  const cutover = new Cutover(config);
  const bridge = config.bridge === undefined ? undefined : new BridgeLane({ url: config.bridge });
  const lanes = new Lanes({
    log,
    bridge,
    fallback: config.fallback,
    mirror: cutover.mirror,
    remembersIds: cutover.remembersIds,
    coalesceWindowMs: config.coalesce ? config.coalesceWindow : undefined,
    position: () => reader.position,
    clock,
    logger,
    metrics,
  });
  const edge = await Edge.listen({
    listen: config.edge,
    contract,
    auth: { secret: config.jwtSecret, jwksUrl: config.jwksUrl },
    allowedOrigins: config.allowedOrigins,
    roster: log.roster,
    publish: (event) => lanes.publish(event),
    clock,
    logger,
    metrics,
  });
  const onGap = () => edge.closeClients('gap');
  const consumer = new Consumer({ reader, audience: edge, contract, onGap, clock, logger, metrics });
  const consuming = consumer.run();
  const ingress = await Ingress.listen({
    listen: config.listen,
    apiKey: config.apiKey,
    maxBodyBytes: config.maxBody,
    contract,
    cutover,
    lanes,
    bridge,
    log,
    clock,
    logger,
    metrics,
  });
  let draining = false;
  const admin = await Admin.listen({
    listen: config.admin,
    token: config.adminToken,
    insecure: config.insecure,
    metrics,
    beforeScrape: () => measure({ config, log, lanes, bridge, metrics }),
    readiness: () => readiness({ config, log, edge, draining }),
  });
  warnOfLimits(config, logger);

  return {
    listen: ingress.address,
    edge: edge.address,
    admin: admin.address,
    async stop() {
      draining = true;
      await ingress.drain(callsDrainMs);
      await lanes.drain();
      await untilDelivered(log);
      await edge.close();
      await reader.close();
      await consuming;
      await log.close();
      await bridge?.close();
      admin.close();
    },
  };
}

function contractOf(config: Config): Contract {
  if (config.contract === undefined) return loadContract(assetText('support-center.yaml'), 'support-center.yaml');
  return loadContract(readContract(config.contract), config.contract);
}

function warnOfLimits(config: Config, logger: Logger): void {
  if (config.insecure) logger.warn('--insecure: whoever reaches the ports may broadcast, listen and look');
  if (config.bridge !== undefined && config.percent < 100) {
    logger.warn(
      { percent: config.percent },
      'clients that connect here get the stream lane only; those of the bridge get the bridge lane only',
    );
  }
}

/** What was published last shall still be shown before the clients are closed. */
async function untilDelivered(log: Log): Promise<void> {
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

async function measure(parts: {
  config: Config;
  log: Log;
  lanes: Lanes;
  bridge: BridgeLane | undefined;
  metrics: Metrics;
}): Promise<void> {
  const { config, log, lanes, bridge, metrics } = parts;
  metrics.coalescingWindows.set(lanes.openWindows);
  metrics.bridgeQueue.set(bridge?.inFlight ?? 0);
  const states = await log.streamStates().catch(() => []);
  for (const { stream, depth, lag } of states) {
    metrics.queueDepth.set({ stream }, depth);
    metrics.consumerLag.set({ stream, consumer_group: `${config.consumerGroup}:${config.instance}` }, lag);
  }
}

function readiness(parts: { config: Config; log: Log; edge: Edge; draining: boolean }): Record<string, Check> {
  const { config, log, edge, draining } = parts;
  const canFallBack = config.bridge !== undefined && (config.fallback || config.percent === 0);
  return {
    log: {
      ok: log.reachable || canFallBack,
      detail: log.reachable ? 'reachable' : canFallBack ? 'not reachable: calls go to the bridge' : 'not reachable',
    },
    edge: { ok: edge.listening, detail: edge.listening ? 'listening' : 'closed' },
    draining: { ok: !draining, detail: draining ? 'yes: no new calls' : 'no' },
  };
}

function addressText({ host, port }: HostPort): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
