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
import { LateLog } from '../log/late.ts';
import type { Log, Reader } from '../log/log.ts';
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
  readonly admin: HostPort;
  /** The client side's address, once the log is open and its reader stands at the tail. Errors: LOG_*, CONFIG_INVALID. */
  readonly ready: Promise<HostPort>;
  /** Ends it as SIGTERM does, ready or not. */
  stop(): Promise<void>;
}

/** Runs until SIGTERM or SIGINT. Errors: LOG_UNAVAILABLE (without a bridge), LOG_INSTANCE_TAKEN, CONTRACT_INVALID. */
export async function serve(config: Config): Promise<void> {
  const logger = createLogger('serve');
  const stopping = Promise.withResolvers<string>();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stopping.resolve(signal));
  const replica = await startReplica(config, logger, () => {
    process.exitCode = 1;
    stopping.resolve('the instance name was lost');
  });
  const [listen, admin] = [addressText(replica.listen), addressText(replica.admin)];
  logger.info({ listen, admin }, 'the backend side is open');
  const running = replica.ready.then((edge) => {
    logger.info({ listen, edge: addressText(edge), admin, percent: config.percent }, 'ready');
    return stopping.promise;
  });
  const reason = await Promise.race([running, stopping.promise]);
  logger.info({ reason }, 'draining');
  setTimeout(() => {
    logger.error('the drain took too long; what was still under way is cut off');
    process.exit(1);
  }, drainLimitMs).unref();
  await replica.stop();
  logger.info('stopped');
  process.exit();
}

/**
 * Starts one replica: the backend's side at once, the clients' side when the log is open.
 * @param onInstanceLost called if another process takes its name
 */
export async function startReplica(config: Config, logger: Logger, onInstanceLost: () => void): Promise<Replica> {
  const contract = contractOf(config);
  const metrics = createMetrics();
  const log = await logOf(config, logger, onInstanceLost);
  const cutover = new Cutover(config);
  const bridge = config.bridge === undefined ? undefined : new BridgeLane({ url: config.bridge });
  let clients: ClientSide | undefined;
  const lanes = new Lanes({
    log,
    bridge,
    fallback: config.fallback,
    mirror: cutover.mirror,
    remembersIds: cutover.remembersIds,
    coalesceWindowMs: config.coalesce ? config.coalesceWindow : undefined,
    position: () => clients?.reader.position ?? '0-0',
    clock,
    logger,
    metrics,
  });
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
    readiness: () => readiness({ config, log, edge: clients?.edge, draining }),
  });
  warnOfLimits(config, logger);
  const opening = openClientSide({ config, contract, log, lanes, logger, metrics });

  return {
    listen: ingress.address,
    admin: admin.address,
    ready: opening.then((opened) => {
      clients = opened;
      return opened.edge.address;
    }),
    async stop() {
      draining = true;
      await ingress.drain(callsDrainMs);
      await lanes.drain();
      if (clients !== undefined) await closeClientSide(clients, log);
      await log.close();
      await bridge?.close();
      admin.close();
    },
  };
}

/** With a bridge a replica does not wait for its log: calls go to the bridge until it is there. */
async function logOf(config: Config, logger: Logger, onInstanceLost: () => void): Promise<Log> {
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
      onInstanceLost,
    });
  return config.bridge === undefined ? open() : new LateLog(open, clock, logger);
}

/** What delivers to the clients: the reader, the loop that it drives, and the edge. */
interface ClientSide {
  reader: Reader;
  edge: Edge;
  consuming: Promise<void>;
}

/** The edge opens when the reader stands at the tail, so that no client misses what comes after its join. */
async function openClientSide(parts: {
  config: Config;
  contract: Contract;
  log: Log;
  lanes: Lanes;
  logger: Logger;
  metrics: Metrics;
}): Promise<ClientSide> {
  const { config, contract, log, lanes, logger, metrics } = parts;
  const reader = await log.openReader([...contract.streams.keys()]);
  const edge = await Edge.listen({
    listen: config.edge,
    hubs: 'native',
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
  return { reader, edge, consuming: consumer.run() };
}

async function closeClientSide({ reader, edge, consuming }: ClientSide, log: Log): Promise<void> {
  await untilDelivered(log);
  await edge.close();
  await reader.close();
  await consuming;
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

function readiness(parts: {
  config: Config;
  log: Log;
  edge: Edge | undefined;
  draining: boolean;
}): Record<string, Check> {
  const { config, log, edge, draining } = parts;
  const canFallBack = config.bridge !== undefined && (config.fallback || config.percent === 0);
  return {
    log: {
      ok: log.reachable || canFallBack,
      detail: log.reachable ? 'reachable' : canFallBack ? 'not reachable: calls go to the bridge' : 'not reachable',
    },
    edge: edge?.listening ? { ok: true, detail: 'listening' } : { ok: false, detail: 'not open' },
    draining: { ok: !draining, detail: draining ? 'yes: no new calls' : 'no' },
  };
}

function addressText({ host, port }: HostPort): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
