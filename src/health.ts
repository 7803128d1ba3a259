// What a replica says of itself: in come its stages, out go the gauges of /metrics that are read at a scrape, and the checks
// of /readyz.

import type { Check } from './admin/admin.ts';
import type { BridgeState } from './bridge/health.ts';
import type { BridgeLane } from './bridge/lane.ts';
import type { Config } from './config.ts';
import type { Contract } from './contract/contract.ts';
import type { Edge } from './edge/edge.ts';
import type { Lanes } from './lanes/lanes.ts';
import type { Log } from './log/log.ts';
import type { Metrics } from './telemetry/metrics.ts';

export async function measure(parts: {
  config: Config;
  contract: Contract;
  log: Log;
  lanes: Lanes;
  bridge: BridgeLane | undefined;
  bridgeStates: BridgeState[];
  metrics: Metrics;
}): Promise<void> {
  const { config, contract, log, lanes, bridge, bridgeStates, metrics } = parts;
  metrics.coalescingWindows.set(lanes.openWindows);
  metrics.bridgeQueue.set(bridge?.inFlight ?? 0);
  metrics.dualWriteStatus.set(lanes.isMirroring ? 1 : 0);
  metrics.bridgeReachable.reset();
  for (const each of bridgeStates) metrics.bridgeReachable.set({ bridge: each.bridge }, each.reachable ? 1 : 0);
  metrics.logReachable.set(log.reachable ? 1 : 0);
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

export function readiness(parts: {
  config: Config;
  log: Log;
  bridgeStates: BridgeState[];
  edge: Edge | undefined;
  hasAudience: boolean;
  isCutOff: boolean;
  draining: boolean;
}): Record<string, Check> {
  const { config, log, bridgeStates, edge, hasAudience, isCutOff, draining } = parts;
  const canFallBack = bridgeStates.length > 0 && config.fallback;
  return {
    log: logCheck(log, canFallBack),
    reader: readerCheck(log, isCutOff),
    edge: edge?.listening ? { ok: true, detail: 'listening' } : { ok: false, detail: 'not open' },
    audience: hasAudience
      ? { ok: true, detail: 'reachable' }
      : { ok: false, detail: 'no bridge answers, so there is no client behind one' },
    // Proxied connections end with their bridge (see audience); native ones go on without it.
    ...(bridgeStates.length > 0 && {
      bridge: {
        ok: hasAudience,
        detail: bridgeStates.map(({ bridge, detail }) => `${bridge}: ${detail}`).join('; '),
      },
    }),
    draining: { ok: !draining, detail: draining ? 'yes: no new calls' : 'no' },
  };
}

function readerCheck({ reachable }: Log, isCutOff: boolean): Check {
  if (isCutOff) return { ok: false, detail: 'others read the log, not this replica: its clients miss the stream lane' };
  return { ok: true, detail: reachable ? 'reads the log' : 'the log is away for all that can be asked' };
}

/** A log that answers and takes nothing keeps no event either. */
function logCheck({ reachable, refusal }: Log, canFallBack: boolean): Check {
  if (reachable && refusal === undefined) return { ok: true, detail: 'reachable' };
  const fault = reachable ? `refuses every event (${refusal})` : 'not reachable';
  return { ok: canFallBack, detail: canFallBack ? `${fault}: calls go to the bridge` : fault };
}
