// What every stage is given beside its own: how it tells the time, and where it tells what happens.

import type { Clock } from './clock.ts';
import type { Faults } from './faults.ts';
import type { Logger } from './logger.ts';
import type { Metrics } from './metrics.ts';

export interface Telemetry {
  clock: Clock;
  faults: Faults;
  logger: Logger;
  metrics: Metrics;
}
