// What a replica says of itself: in come its stages, out go the gauges of /metrics that are read at a scrape, and the checks
// of /readyz.

import type { Check, Drained } from './admin/admin.ts';
import type { BridgeHealth, BridgeState } from './bridge/health.ts';
import type { BridgeLane } from './bridge/lane.ts';
import type { Config } from './config.ts';
import type { Probe } from './consumer/probe.ts';
import type { Contract } from './contract/contract.ts';
import type { Edge } from './edge/edge.ts';
import type { Lanes } from './lanes/lanes.ts';
import type { LogHealth } from './log/log.ts';
import type { Metrics } from './telemetry/metrics.ts';

export async function measure(parts: {
  config: Config;
  contract: Contract;
  log: LogHealth;
  lanes: Lanes;
  bridge: BridgeLane | undefined;
  bridgeStates: BridgeState[];
  drained: Drained;
  probe: Pick<Probe, 'ageMs'>;
  metrics: Metrics;
}): Promise<void> {
  const { config, contract, log, lanes, bridge, bridgeStates, drained, probe, metrics } = parts;
  metrics.coalescingWindows.set(lanes.openWindows);
  metrics.bridgeQueue.set(bridge?.inFlight ?? 0);
  metrics.dualWriteStatus.set(lanes.isMirroring ? 1 : 0);
  metrics.bridgeReachable.reset();
  for (const each of bridgeStates) metrics.bridgeReachable.set({ bridge: each.bridge }, each.reachable ? 1 : 0);
  metrics.logReachable.set(log.reachable ? 1 : 0);
  metrics.probeAge.set(probe.ageMs / 1_000);
  metrics.drainRemaining.set(drained.remaining);
  const states = await log.streamStates().catch(() => []);
  // What the log does not say now is not said: the last value would look like good health.
  for (const gauge of [metrics.queueDepth, metrics.consumerLag, metrics.controlDepth, metrics.controlLag])
    gauge.reset();
  for (const { stream, depth, lag } of states) {
    if (contract.streams.has(stream)) {
      metrics.queueDepth.set({ stream }, depth);
      metrics.consumerLag.set({ stream, consumer_group: `${config.consumerGroup}:${config.instance}` }, lag);
    } else {
      metrics.controlDepth.set({ stream }, depth);
      metrics.controlLag.set({ stream }, lag);
    }
  }
}

export interface ReadinessParts {
  config: Config;
  log: LogHealth;
  /** undefined: there is no bridge. */
  bridges: Pick<BridgeHealth, 'states' | 'reachable'> | undefined;
  edge: Pick<Edge, 'listening'>;
  hasAudience: boolean;
  /** Whether any hub's clients end here. */
  hasNativeHubs: boolean;
  isCutOff: boolean;
  probe: Pick<Probe, 'ageMs' | 'hasArrived' | 'isKept'>;
  /** Whether any room may be on the stream lane. */
  usesStream: boolean;
  draining: boolean;
}

const maxProbeAgeMs = 5_000;

/** Ready is who can do its own job; an ingress alone shares its pod with the backend, which nothing but its own end may take away. */
export function readiness(parts: ReadinessParts): Record<string, Check> {
  const { config, draining } = parts;
  return {
    ...(config.edge === undefined ? { calls: callsCheck(parts) } : {}),
    ...(config.edge !== undefined && config.listen !== undefined ? { log: logCheck(parts) } : {}),
    ...(config.edge === undefined ? {} : edgeChecks(parts)),
    draining: { ok: !draining, detail: draining ? 'yes: it takes no new clients' : 'no' },
  };
}

/** One way is enough: by which one a room's calls go is not the business of who sends clients or pods here. */
function callsCheck({ log, bridges, hasNativeHubs }: ReadinessParts): Check {
  const fault = faultOf(log);
  const words = bridges === undefined ? 'there is no bridge' : bridgesInWords(bridges);
  return {
    ok: (bridges?.reachable && !hasNativeHubs) || fault === undefined,
    detail: `${words}; the log: ${fault ?? 'takes events'}`,
  };
}

function edgeChecks(parts: ReadinessParts): Record<string, Check> {
  const { log, bridges, edge, hasAudience, isCutOff } = parts;
  return {
    probe: probeCheck(parts),
    reader: readerCheck(log, isCutOff),
    edge: edge.listening ? { ok: true, detail: 'listening' } : { ok: false, detail: 'not open' },
    audience: hasAudience
      ? { ok: true, detail: 'reachable' }
      : { ok: false, detail: 'no bridge answers, so there is no client behind one' },
    // Proxied connections end with their bridge (see audience); native ones go on without it.
    ...(bridges !== undefined && { bridge: { ok: hasAudience, detail: bridgesInWords(bridges) } }),
  };
}

/** Where clients depend on it, what the log keeps must arrive here; behind a bridge a log that keeps nothing is a fault of no replica. */
function probeCheck({ probe, usesStream, hasNativeHubs }: ReadinessParts): Check {
  const seconds = (probe.ageMs / 1_000).toFixed(1);
  if (probe.hasArrived && probe.ageMs <= maxProbeAgeMs)
    return { ok: true, detail: `one that was sent ${seconds} s ago has arrived` };
  const fault = `none has arrived for ${seconds} s`;
  if (!usesStream) return { ok: true, detail: `${fault}; no room is on the stream lane` };
  if (!hasNativeHubs && !probe.isKept) return { ok: true, detail: `${fault}, as the log keeps none` };
  return { ok: false, detail: `${fault}: clients here get nothing by stream` };
}

function bridgesInWords({ states }: Pick<BridgeHealth, 'states'>): string {
  return states.map(({ bridge, detail }) => `${bridge}: ${detail}`).join('; ');
}

function readerCheck({ reachable }: LogHealth, isCutOff: boolean): Check {
  if (isCutOff) return { ok: false, detail: 'others read the log, this replica does not' };
  return { ok: true, detail: reachable ? 'reads the log' : 'the log is away for all that can be asked' };
}

function logCheck({ config, log, bridges, hasNativeHubs }: ReadinessParts): Check {
  const fault = faultOf(log);
  if (fault === undefined) return { ok: true, detail: 'reachable' };
  const canFallBack = bridges !== undefined && config.fallback && !hasNativeHubs;
  return { ok: canFallBack, detail: canFallBack ? `${fault}: calls go to the bridge` : fault };
}

/** A log that answers and takes nothing keeps no event either. */
function faultOf({ reachable, refusal }: LogHealth): string | undefined {
  if (!reachable) return 'not reachable';
  return refusal && `refuses every event (${refusal})`;
}
