// Who is connected to the bridge directly: in come the guard's readings, out goes a gauge (at any percent, so that one sees the
// old connections go before anything is raised), and an alert, to whoever runs a plan too, when it has lasted 30 s while rooms are on the
// stream lane.

import type { Log } from '../log/log.ts';
import type { RoomLanes } from '../rooms/room-lanes.ts';
import type { Clock } from '../telemetry/clock.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Guard } from './guard.ts';

const everyMs = 5_000;
/** While nobody can miss anything every second look is enough. */
const calmEvery = 2;
const alertMs = 30_000;

/** @returns ends it */
export function watchSurplus(parts: {
  roomLanes: RoomLanes;
  guard: Guard;
  log: Pick<Log, 'reachable'>;
  clock: Clock;
  logger: Logger;
  metrics: Metrics;
  onLasting(surplus: number): void;
}): () => void {
  const { roomLanes, guard, log, clock, logger, metrics, onLasting } = parts;
  let since: number | undefined;
  let looks = 0;
  metrics.guardSurplus.remove();

  async function look(): Promise<void> {
    const { usesStream } = roomLanes;
    if (!usesStream && looks++ % calmEvery !== 0) return;
    const surplus = log.reachable ? (await guard.read()).surplus : undefined;
    // What cannot be counted now is not said: the last value would look like good health.
    if (surplus === undefined) metrics.guardSurplus.remove();
    else metrics.guardSurplus.set(Math.max(0, surplus));
    if (surplus === undefined || surplus <= 0 || !usesStream) {
      since = undefined;
      return;
    }
    const now = clock.monotonic();
    since ??= now;
    if (now - since < alertMs) return;
    logger.error({ code: 'CUTOVER_GUARD', surplus }, 'clients of the bridge miss the stream lane');
    since = now;
    onLasting(surplus);
  }

  return clock.every(everyMs, look);
}
