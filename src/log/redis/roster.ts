// This replica's counters, facts and presence in Redis. In come single counters and what it says of itself; out goes the same
// of all live replicas. Memory is the truth: what Redis lost is written whole again. A replica whose hash has expired is not live.

import type { Redis } from 'ioredis';
import { type LogOptions, presenceTtlMs, type Replica, type Roster } from '../log.ts';
import { ask, isReady, runAll, unavailable, withoutArguments } from './connections.ts';
import { keys, run } from './scripts.ts';

const rosterTtlMs = 30_000;
const presenceRenewMs = presenceTtlMs / 3;
const writeBehindMs = 10;
const answerMs = 2_000;
/** What a replica says of itself, as JSON; it also keeps the hash of one without counters alive. No counter has an empty name. */
const factsField = '';

export interface RedisRoster extends Roster {
  /** Keeps the replica's counters alive, or writes them whole where Redis lost them. Rejects as the connection does. */
  renew(): Promise<void>;
  /** Ends the renewals of what is held. */
  stop(): void;
  /** Takes this replica out of the roster. */
  giveBack(): Promise<void>;
}

export function createRoster(redis: Redis, options: LogOptions): RedisRoster {
  const { clock, instance, logger } = options;
  const key = keys.rosterPrefix + instance;
  const counters = new Map<string, number>();
  let facts: Record<string, string> = {};
  /** Fields of the hash: counters, and the facts. */
  const unwritten = new Set<string>();
  const held = new Map<string, Set<string>>();
  /** Users to release as soon as Redis answers again, with their counters. */
  const releases = new Map<string, string>();
  let scheduled = false;
  let closed = false;

  function scheduleWrite(): void {
    if (scheduled) return;
    scheduled = true;
    clock.after(writeBehindMs, () => {
      scheduled = false;
      writeChanges().catch(() => {});
    });
  }

  /** What cannot be written now is written whole by the next renewal. */
  async function writeChanges(): Promise<void> {
    if (unwritten.size === 0 || closed || !isReady(redis)) return;
    const changed = [...unwritten];
    unwritten.clear();
    try {
      await write(changed);
    } catch (error) {
      for (const field of changed) unwritten.add(field);
      throw error;
    }
  }

  async function write(changed: string[]): Promise<void> {
    const names = changed.filter((name) => name !== factsField);
    const gone = names.filter((counter) => !counters.has(counter));
    const values = names.flatMap((counter) => [counter, String(counters.get(counter) ?? 0)]);
    const pipeline = redis.pipeline().sadd(keys.replicas, instance);
    pipeline.hset(key, [factsField, JSON.stringify(facts), ...values]);
    if (gone.length > 0) pipeline.hdel(key, ...gone);
    await runAll(pipeline.pexpire(key, rosterTtlMs));
  }

  async function releaseUsers(): Promise<void> {
    for (const [user, counter] of releases) {
      await run(
        redis,
        'releasePresence',
        [keys.presenceUser(user), keys.replicas],
        [counter, keys.rosterPrefix, keys.presenceDesktopPrefix],
      );
      releases.delete(user);
    }
  }

  async function writePresence(user: string, sessions: Iterable<string>): Promise<void> {
    const pipeline = redis.pipeline();
    for (const session of sessions) {
      pipeline.set(keys.presenceDesktopPrefix + session, user, 'PX', presenceTtlMs);
      pipeline.sadd(keys.presenceUser(user), session);
    }
    await runAll(pipeline.pexpire(keys.presenceUser(user), presenceTtlMs));
  }

  async function writeAllPresence(): Promise<void> {
    if (!isReady(redis)) return;
    for (const [user, sessions] of held) await writePresence(user, sessions);
  }

  async function readReplicas(): Promise<Replica[]> {
    const what = 'the roster could not be read';
    if (!isReady(redis)) throw unavailable(what, 'connection_lost');
    const others = await ask(clock, answerMs, what, async () => {
      const instances = (await redis.smembers(keys.replicas)).filter((each) => each !== instance);
      return Promise.all(
        instances.map(async (each) => readReplica(each, await redis.hgetall(keys.rosterPrefix + each))),
      );
    });
    const self = { instance, facts: { ...facts }, counters: new Map(counters) };
    return [self, ...others.filter((replica) => replica !== undefined)];
  }

  const failed = (what: string) => (error: unknown) => logger.warn({ reason: withoutArguments(error).message }, what);
  const stopPresence = clock.every(presenceRenewMs, () => {
    writeAllPresence().catch(failed('presence could not be renewed'));
  });
  const onReady = () => {
    writeAllPresence().catch(failed('presence could not be written again'));
  };
  redis.on('ready', onReady);

  return {
    set(counter, value) {
      if (value === 0) counters.delete(counter);
      else counters.set(counter, value);
      unwritten.add(counter);
      scheduleWrite();
    },

    async read() {
      return (await readReplicas()).map((replica) => replica.counters);
    },

    describe(next) {
      facts = { ...next };
      unwritten.add(factsField);
      scheduleWrite();
    },

    replicas: readReplicas,

    holdPresence(user, session) {
      releases.delete(user);
      const sessions = held.get(user) ?? new Set();
      held.set(user, sessions.add(session));
      writePresence(user, [session]).catch(failed('presence could not be written'));
    },

    releasePresence(user, counter) {
      held.delete(user);
      releases.set(user, counter);
      // The script counts what Redis holds, so the counter that has just fallen must be there first.
      writeChanges().then(releaseUsers).catch(failed('presence could not be released yet'));
    },

    async renew() {
      const isAlive = (await redis.pexpire(key, rosterTtlMs)) === 1;
      if (isAlive) await writeChanges();
      else await write([...counters.keys()]);
      await releaseUsers();
    },

    stop() {
      closed = true;
      stopPresence();
      redis.off('ready', onReady);
    },

    async giveBack() {
      await runAll(redis.pipeline().srem(keys.replicas, instance).del(key));
      await releaseUsers();
    },
  };
}

/** undefined where the replica is not live. */
function readReplica(instance: string, fields: Record<string, string>): Replica | undefined {
  const { [factsField]: told, ...rest } = fields;
  if (told === undefined) return undefined;
  const counters = new Map(Object.entries(rest).map(([counter, value]) => [counter, Number(value)]));
  return { instance, facts: readFacts(told), counters };
}

/** An older release writes `1` there and says nothing of itself. */
function readFacts(told: string): Record<string, string> {
  return told.startsWith('{') ? JSON.parse(told) : {};
}
