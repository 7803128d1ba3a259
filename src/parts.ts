// What one replica is made of before its stages: in comes the Config, out go the contract, the metrics, the log, the bridge, and
// what several stages share (what was read, which ids were accepted). Nothing here listens, or knows a stage.

import { assetText } from './assets.ts';
import { BridgeAddresses, isAt } from './bridge/addresses.ts';
import { BridgeHealth } from './bridge/health.ts';
import { BridgeLane } from './bridge/lane.ts';
import { type Config, nameOf, withoutBridge } from './config.ts';
import { ReadMemory } from './consumer/read-memory.ts';
import type { Contract } from './contract/contract.ts';
import { readContract } from './contract/file.ts';
import { loadContract } from './contract/load.ts';
import { CrossfadeError } from './errors.ts';
import { Idempotency } from './ingress/idempotency.ts';
import type { Log, LogOptions } from './log/log.ts';
import { createLog } from './log/open.ts';
import { unknownStateMs } from './rooms/room-lanes.ts';
import { type CutoverState, readState } from './rooms/state.ts';
import { type Clock, pause, systemClock } from './telemetry/clock.ts';
import { Faults } from './telemetry/faults.ts';
import type { Logger } from './telemetry/logger.ts';
import { createMetrics, type Metrics, presetLabels } from './telemetry/metrics.ts';
import { version } from './version.ts';

export type Parts = Awaited<ReturnType<typeof makeParts>>;

/** Between two tries to read the state. */
const askAgainMs = 25;
const forGood = 'the cutover is complete; take it out of the flags and variables';

/** Errors: CONFIG_INVALID, CONTRACT_INVALID; without a bridge LOG_UNAVAILABLE. @param onLost see replica.ts */
export async function makeParts(given: Config, logger: Logger, onLost: (why: string) => void) {
  const contract = contractOf(given);
  const metrics = metricsOf(given, contract);
  const faults = new Faults(logger, metrics);
  const clock = faults.clock(systemClock);
  const onInstanceLost = () => onLost('the instance name was lost');
  const log = logOf(given, { clock, logger, metrics, onInstanceLost });
  // Without a bridge nothing can be done before the log is open; with one, calls go there until it is (see clients-side.ts).
  if (given.bridges.length === 0) await log.open();
  const completed = (await mayAnswer(log, given)) ? await completedIn(log, clock) : undefined;
  if (completed !== undefined && given.bridges.length > 0)
    logger.warn({ since: completed.history.at(-1)?.when }, `${nameOf('bridges')} is not used any more: ${forGood}`);
  const config = completed === undefined ? given : withoutBridge(given);
  const addresses = await addressesOf(config, clock);
  const bridgeHealth = addresses && new BridgeHealth({ addresses, clock, logger });
  return {
    /** As it holds here. */
    config,
    /** The state by which the bridge was left for good; undefined: it was not, or there never was one. */
    completed,
    contract,
    metrics,
    faults,
    clock,
    logger,
    log,
    addresses,
    bridge: addresses && new BridgeLane({ addresses, calls: config.bridgeCalls }),
    bridgeHealth,
    /** Whether any proxied client may be reached: their connections end with their bridge. Without a bridge all are native. */
    hasAudience: () => bridgeHealth === undefined || bridgeHealth.reachable,
    reads: new ReadMemory(clock),
    idempotency: new Idempotency(clock, log.roster),
  };
}

/** Nobody connects to the bridge, or asks for its address, from then on. */
export async function leaveBridge({ addresses, bridge, bridgeHealth }: Parts): Promise<void> {
  bridgeHealth?.close();
  addresses?.close();
  await bridge?.close();
}

/** Error: CONFIG_INVALID where a bridge is this replica itself, which would go on calling itself. */
async function addressesOf(config: Config, clock: Clock): Promise<BridgeAddresses | undefined> {
  if (config.bridges.length === 0) return undefined;
  const addresses = await BridgeAddresses.open([...config.bridges], { clock });
  for (const own of ['listen', 'edge', 'admin', 'health'] as const) {
    const port = config[own];
    const found = port && addresses.all.find((address) => isAt(address, port));
    if (found === undefined) continue;
    const detail = `${nameOf('bridges')}: ${found.origin} is crossfade's own ${nameOf(own)}`;
    throw new CrossfadeError('CONFIG_INVALID', detail);
  }
  return addresses;
}

/** Redis may come; the embedded log is here, or will say later what is wrong with it. */
async function mayAnswer(log: Log, { redis }: Config): Promise<boolean> {
  if (redis !== undefined) return true;
  return log.open().then(
    () => true,
    () => false,
  );
}

/**
 * Whether the bridge was left for good, asked before anything connects to one. A log that is away is not waited for longer than calls
 * wait for the state.
 */
async function completedIn(log: Log, clock: Clock): Promise<CutoverState | undefined> {
  const givesUpAt = clock.monotonic() + unknownStateMs;
  while (clock.monotonic() < givesUpAt) {
    const asked = log.readState().then((stored) => ({ state: stored && readState(stored.value) }));
    const answer = await Promise.race([asked.catch(() => undefined), pause(clock, givesUpAt - clock.monotonic())]);
    if (answer) return answer.state?.completed ? answer.state : undefined;
    await pause(clock, askAgainMs);
  }
  return undefined;
}

function logOf(
  config: Config,
  given: Pick<LogOptions, 'clock' | 'logger' | 'onInstanceLost'> & { metrics: Metrics },
): Log {
  return createLog({
    ...given,
    redisUrl: config.redis,
    dataDir: config.dataDir,
    group: config.consumerGroup,
    instance: config.instance,
    publishTimeoutMs: config.publishTimeout,
    version,
    onOverBytes: () => given.metrics.overBudget.inc({ budget: 'log_bytes' }),
  });
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

/** Error: CONTRACT_INVALID. */
export function contractOf(config: Config): Contract {
  const { contract: file, streamMaxLength } = config;
  if (file !== undefined) return loadContract(readContract(file), file, streamMaxLength);
  return loadContract(assetText('support-center.yaml'), 'support-center.yaml', streamMaxLength);
}
