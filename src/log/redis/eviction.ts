// A Redis that evicts: in comes a connection, out goes a warning where Redis may throw away what the log's promises rest on.

import type { Redis } from 'ioredis';
import type { Logger } from '../../telemetry/logger.ts';

/** Asks once and does not hold the start up; a Redis that does not let us look is none to warn of. */
export function warnOfEviction(redis: Redis, logger: Logger): void {
  redis.info('memory').then(
    (info) => {
      const policy = /^maxmemory_policy:(\S+)/m.exec(info)?.[1] ?? 'noeviction';
      const limit = Number(/^maxmemory:(\d+)/m.exec(info)?.[1] ?? 0);
      if (policy === 'noeviction' || limit === 0) return;
      logger.warn(
        { policy, maxmemory: limit },
        'Redis evicts keys when it is full: streams and remembered event ids may vanish; set maxmemory-policy noeviction',
      );
    },
    () => {},
  );
}
