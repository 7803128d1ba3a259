// Chooses the engine: Redis Streams where a URL is given, else the embedded log in this replica's data directory. The log that comes
// out is not open yet, see {@link Log.open}.

import { EmbeddedLog } from './embedded/embedded-log.ts';
import type { Log, LogOptions } from './log.ts';
import { RedisLog } from './redis/redis-log.ts';

/** Error: CONFIG_INVALID (the address cannot be read). */
export function createLog({
  redisUrl,
  dataDir,
  ...options
}: LogOptions & { redisUrl: string | undefined; dataDir: string }): Log {
  return redisUrl === undefined
    ? new EmbeddedLog({ ...options, dataDir })
    : new RedisLog({ ...options, url: redisUrl });
}
