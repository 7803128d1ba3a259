// Whether a Redis is one that the log's promises can rest on: in comes its address, out go findings (it answers, its version, the
// rights of the user, what it keeps on disk, whether it evicts, its clock), over a connection of its own. Promises: nothing is
// written, whatever the rights are; it ends within seconds.

import type { Redis } from 'ioredis';
import { bad, type CheckFinding, doubtful, good } from '../../findings.ts';
import { parseRedisUrl } from '../../redis-url.ts';
import type { Clock } from '../../telemetry/clock.ts';
import { silentLogger } from '../../telemetry/logger.ts';
import { controlStream, typingStream } from '../log.ts';
import { connect, isReady, isServerError, noAnswer, untilReady, within, withoutArguments } from './connections.ts';
import { keys } from './scripts.ts';

const connectMs = 3_000;
const answerMs = 2_000;
const leastMajor = 7;
/** Another program's clock may be off by so much before something goes wrong (see docs/guarantees.md, "Nothing is replayed"). */
const clockFailMs = 10_000;
const clockWarnMs = 1_000;

/** @param url as of `--redis` @param streams the contract's */
export async function checkRedis(url: string, streams: string[], clock: Clock): Promise<CheckFinding[]> {
  const address = parseRedisUrl(url);
  const place = `${address.host}:${address.port}`;
  const redis = connect(address, 'check', { clock, logger: silentLogger });
  let lastError: Error | undefined;
  redis.on('error', (error: Error) => {
    lastError = error;
  });
  try {
    const givesUpAt = clock.monotonic() + connectMs;
    await untilReady(redis, clock, () => clock.monotonic() < givesUpAt);
    if (!isReady(redis)) {
      const why = lastError?.message ?? 'no answer';
      return [
        bad(
          'redis',
          `does not answer at ${place}: ${why}`,
          'check --redis (REDIS_URL), its password, and that it runs',
        ),
      ];
    }
    const asked = within(clock, answerMs, findingsOf(redis, place, streams, clock));
    const found = await asked;
    return found === noAnswer
      ? [bad('redis', `answers too slowly at ${place}: more than ${answerMs / 1_000} s`, 'look at its load')]
      : found;
  } finally {
    redis.disconnect();
  }
}

async function findingsOf(redis: Redis, place: string, streams: string[], clock: Clock): Promise<CheckFinding[]> {
  const info = await redis.info().catch(() => '');
  const field = (name: string) => new RegExp(`^${name}:(\\S+)`, 'm').exec(info)?.[1];
  return [
    versionFinding(field('redis_version'), place),
    ...(field('role') === 'slave'
      ? [bad('redis', 'it is a read-only replica of another Redis', 'name the one that takes writes')]
      : []),
    await rightsFinding(redis, streams),
    await diskFinding(redis, field('aof_enabled'), field('aof_last_write_status')),
    evictionFinding(field('maxmemory_policy'), Number(field('maxmemory') ?? 0)),
    await clockFinding(redis, clock),
  ];
}

function versionFinding(version: string | undefined, place: string): CheckFinding {
  if (version === undefined)
    return doubtful('redis', `answers at ${place}; INFO is not allowed, so its version is not known`, 'allow INFO');
  if (Number.parseInt(version, 10) >= leastMajor) return good('redis', `${version} answers at ${place}`);
  return bad('redis', `${version} at ${place} is too old`, `use Redis ${leastMajor}.0 or newer`);
}

/**
 * Redis judges a command's rights when it is queued: each one is queued in a transaction that is then thrown away.
 * https://redis.io/docs/latest/commands/multi/
 */
async function rightsFinding(redis: Redis, streams: string[]): Promise<CheckFinding> {
  const wanted = commandsOf(streams);
  try {
    await redis.call('MULTI');
  } catch (error) {
    const why = withoutArguments(error).message;
    return doubtful(
      'rights',
      `cannot be looked at (${why})`,
      'allow MULTI and DISCARD to this user, at least for the check',
    );
  }
  /** Command -> the keys that it was refused for. */
  const refused = new Map<string, string[]>();
  for (const [name, ...args] of wanted) {
    await redis.call(name!, ...args).catch((error) => {
      if (!isServerError(error)) throw error;
      refused.set(name!, [...(refused.get(name!) ?? []), args[0] ?? '']);
    });
  }
  await redis.call('DISCARD').catch(() => {});
  if (refused.size === 0) return good('rights', 'all commands on the streams, crossfade:* and presence:*');
  const words = [...refused].map(([name, [first, ...more]]) =>
    `${name} ${first}${more.length === 0 ? '' : ` (and ${more.length} more)`}`.trim(),
  );
  return bad('rights', `refused: ${words.join(', ')}`, `ACL SETUSER <user> ${rightsFor(streams)}`);
}

/** The rights of a user of Redis for crossfade, as ACL SETUSER takes them. https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/ */
export function rightsFor(streams: string[]): string {
  const patterns = [...streams, 'crossfade:*', 'presence:*'].map((key) => `~${key}`);
  return [...patterns, '+@read', '+@write', '+@scripting', '+@connection', '+@transaction', '+info', '+time'].join(' ');
}

/** What the log does, once for each kind of key. Each stands with the arguments that it needs to be queued. */
function commandsOf(streams: string[]): string[][] {
  const ofStream = (stream: string) => [
    ['XADD', stream, '*', 'a', 'b'],
    ['XTRIM', stream, 'MINID', '0'],
    ['XREADGROUP', 'GROUP', 'g', 'c', 'COUNT', '1', 'STREAMS', stream, '>'],
    ['XACK', stream, 'g', '0-0'],
    ['XGROUP', 'CREATE', stream, 'g', '$', 'MKSTREAM'],
    ['XGROUP', 'DESTROY', stream, 'g'],
    ['XINFO', 'STREAM', stream],
    ['XINFO', 'GROUPS', stream],
    ['XINFO', 'CONSUMERS', stream, 'g'],
  ];
  const [id, user] = [keys.id('check'), keys.presenceUser('check')];
  return [
    ...[...streams, ...streams.map((each) => `crossfade:shadow:${each}`), controlStream, typingStream].flatMap(
      ofStream,
    ),
    ['GET', id],
    ['SET', id, 'x', 'PX', '1'],
    ['DEL', id],
    ['EXISTS', id],
    ['PTTL', id],
    ['HGET', keys.clock, 'ms'],
    ['HMGET', keys.clock, 'ms'],
    ['HSET', keys.clock, 'ms', '1'],
    ['HDEL', keys.clock, 'ms'],
    ['HSCAN', `${keys.rosterPrefix}check`, '0'],
    ['PEXPIRE', `${keys.rosterPrefix}check`, '1'],
    ['SMEMBERS', keys.replicas],
    ['SISMEMBER', keys.groups, 'x'],
    ['SADD', user, 'x'],
    ['SREM', user, 'x'],
    ['SET', `${keys.presenceDesktopPrefix}check`, 'x'],
    ['EVAL', 'return 1', '0'],
    ['EVALSHA', '0000000000000000000000000000000000000000', '0'],
    ['TIME'],
    ['CLIENT', 'LIST'],
  ];
}

async function diskFinding(
  redis: Redis,
  aof: string | undefined,
  lastWrite: string | undefined,
): Promise<CheckFinding> {
  const hint = 'set appendonly yes and appendfsync always';
  if (aof === undefined) return doubtful('on disk', 'INFO is not allowed, so it is not known', 'allow INFO');
  if (aof !== '1') return doubtful('on disk', 'appendonly no: a restart of Redis loses what was not read yet', hint);
  if (lastWrite === 'err') return bad('on disk', 'the append-only file cannot be written', 'look at the disk of Redis');
  const answer = (await redis.config('GET', 'appendfsync').catch(() => [])) as string[];
  const fsync = answer[1];
  if (fsync === 'always') return good('on disk', 'appendonly yes, appendfsync always');
  if (fsync === undefined) return good('on disk', 'appendonly yes (CONFIG is not allowed: appendfsync is not known)');
  return doubtful('on disk', `appendonly yes, appendfsync ${fsync}: a crash of Redis loses its last moments`, hint);
}

function evictionFinding(policy: string | undefined, maxMemory: number): CheckFinding {
  if (policy === undefined)
    return doubtful('eviction', 'INFO is not allowed, so the policy is not known', 'allow INFO');
  if (policy === 'noeviction') return good('eviction', 'noeviction');
  if (maxMemory === 0) return good('eviction', `${policy}, without a maxmemory: nothing is evicted`);
  const detail = `${policy} at ${maxMemory} bytes: streams and remembered event ids may vanish`;
  return bad('eviction', detail, 'set maxmemory-policy noeviction');
}

async function clockFinding(redis: Redis, clock: Clock): Promise<CheckFinding> {
  const [before, startedAt] = [clock.now(), clock.monotonic()];
  const time = await redis.time().catch(() => undefined);
  if (time === undefined) return bad('clock', 'TIME is not allowed', 'allow TIME: every append has its deadline by it');
  const onTheWayMs = (clock.monotonic() - startedAt) / 2;
  const offsetMs = Math.round(Number(time[0]) * 1_000 + Number(time[1]) / 1_000 - before - onTheWayMs);
  return offsetFinding('clock', 'Redis', offsetMs);
}

/** @param offsetMs how much that clock is ahead of this one */
export function offsetFinding(name: string, whose: string, offsetMs: number): CheckFinding {
  const detail = `${whose} is ${Math.abs(offsetMs)} ms ${offsetMs < 0 ? 'behind' : 'ahead of'} this replica's clock`;
  const hint = 'let both hosts keep their time by NTP';
  if (Math.abs(offsetMs) >= clockFailMs) return bad(name, detail, hint);
  return Math.abs(offsetMs) >= clockWarnMs ? doubtful(name, detail, hint) : good(name, detail);
}
