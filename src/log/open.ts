// Chooses the engine: Redis Streams where a URL is given, else the embedded log in this replica's data directory.

import { openEmbeddedLog } from './embedded/embedded-log.ts';
import type { Log, LogOptions } from './log.ts';
import { openRedisLog } from './redis/redis-log.ts';

/** Errors: LOG_UNAVAILABLE, LOG_INSTANCE_TAKEN. */
export function openLog({
  redisUrl,
  dataDir,
  ...options
}: LogOptions & { redisUrl: string | undefined; dataDir: string }): Promise<Log> {
  return redisUrl === undefined
    ? openEmbeddedLog({ ...options, dataDir })
    : openRedisLog({ ...options, url: redisUrl });
}
