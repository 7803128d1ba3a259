// The alarm while rooms are on the stream lane: in come the guard's readings, out go a gauge, and an alert when clients have
// been connected to the bridge directly for 30 s, for they miss what goes by stream.

import type { Log } from '../log/log.ts';
import type { Clock } from '../telemetry/clock.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Cutover } from './cutover.ts';
import type { Guard } from './guard.ts';

const everyMs = 5_000;
const alertMs = 30_000;

/** @returns ends it */
export function watchSurplus(parts: {
  cutover: Cutover;
  guard: Guard;
  log: Pick<Log, 'reachable'>;
  clock: Clock;
  logger: Logger;
  metrics: Metrics;
}): () => void {
  const { cutover, guard, log, clock, logger, metrics } = parts;
  let since: number | undefined;

  async function look(): Promise<void> {
    const surplus = cutover.usesStream && log.reachable ? ((await guard.read()).surplus ?? 0) : 0;
    metrics.guardSurplus.set(Math.max(0, surplus));
    if (surplus <= 0) {
      since = undefined;
      return;
    }
    const now = clock.monotonic();
    since ??= now;
    if (now - since < alertMs) return;
    logger.error({ code: 'CUTOVER_GUARD', surplus }, 'clients of the bridge miss the stream lane');
    since = now;
  }

  return clock.every(everyMs, () => void look());
}
