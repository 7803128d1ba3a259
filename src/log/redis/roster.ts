// This replica's counters, facts and presence in Redis. In come single counters and what it says of itself; out goes the same
// of all live replicas. Memory is the truth: what Redis lost is written whole again. A replica whose hash has expired is not live.
// Promises: however many counters there are, no command holds Redis or this process up; what others wrote is read as far as it is
// understood.

import type { Redis } from 'ioredis';
import { Seldom } from '../../telemetry/seldom.ts';
import { type LogOptions, presenceTtlMs, type Replica, type Roster } from '../log.ts';
import { ask, isReady, isServerError, runAll, unavailable, withoutArguments } from './connections.ts';
import { keys, run } from './scripts.ts';

const rosterTtlMs = 30_000;
const presenceRenewMs = presenceTtlMs / 3;
const writeBehindMs = 10;
const answerMs = 2_000;
const sayEveryMs = 5_000;
const unreadable = 'the roster could not be read';
/** Fields of one command: a few hundred thousand arguments are more than a call of JavaScript takes. */
const chunkSize = 1_000;
/** What a replica says of itself, as JSON; it also keeps the hash of one without counters alive. No counter has an empty name. */
const factsField = '';

export interface RedisRoster extends Roster {
  /** Writes the roster anew, and from then on what changes in it; before that nothing is written. Rejects as the connection does. */
  begin(): Promise<void>;
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
  let releasing: Promise<void> | undefined;
  let scheduled = false;
  /** From begin() to stop(). */
  let isOurs = false;

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
    if (unwritten.size === 0 || !isOurs || !isReady(redis)) return;
    const changed = [...unwritten];
    unwritten.clear();
    try {
      await write(changed);
    } catch (error) {
      for (const field of changed) unwritten.add(field);
      throw error;
    }
  }

  /** All of it is sent before anything that is asked of Redis later. */
  async function write(changed: string[]): Promise<void> {
    const names = changed.filter((name) => name !== factsField);
    const pipelines = [redis.pipeline().sadd(keys.replicas, instance).hset(key, factsField, JSON.stringify(facts))];
    for (let start = 0; start < names.length; start += chunkSize) {
      const chunk = names.slice(start, start + chunkSize);
      const gone = chunk.filter((counter) => !counters.has(counter));
      const values = chunk.flatMap((counter) =>
        counters.has(counter) ? [counter, String(counters.get(counter))] : [],
      );
      const pipeline = redis.pipeline();
      if (values.length > 0) pipeline.hset(key, values);
      if (gone.length > 0) pipeline.hdel(key, ...gone);
      pipelines.push(pipeline);
    }
    pipelines.push(redis.pipeline().pexpire(key, rosterTtlMs));
    await Promise.all(pipelines.map(runAll));
  }

  /** One after the other, however many leave at once. */
  function releaseUsers(): Promise<void> {
    releasing ??= releaseAll().finally(() => {
      releasing = undefined;
    });
    return releasing;
  }

  async function releaseAll(): Promise<void> {
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

  /** @returns undefined also where something else stands under its key. Error: LOG_UNAVAILABLE. */
  function askRoster<T>(question: () => Promise<T>): Promise<T | undefined> {
    return ask(clock, answerMs, unreadable, () => question().catch(passWrongType));
  }

  async function eachOther<T>(read: (hash: string) => Promise<T | undefined>): Promise<Map<string, T>> {
    if (!isReady(redis)) throw unavailable(unreadable, 'connection_lost');
    const instances = (await askRoster(() => redis.smembers(keys.replicas))) ?? [];
    const found = new Map<string, T>();
    const readOne = async (other: string) => {
      const hash = keys.rosterPrefix + other;
      const replica = await read(hash);
      if (replica !== undefined) found.set(other, replica);
      // One that is killed takes no leave, and a name of its own is never used again.
      else await askRoster(() => run(redis, 'forgetReplica', [keys.replicas, hash], [other]));
    };
    await Promise.all(instances.filter((each) => each !== instance).map(readOne));
    return new Map([...found].sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  async function readReplicas(names: string[] = []): Promise<Replica[]> {
    const asked = [factsField, ...names];
    const others = await eachOther(async (hash) => {
      const [told, ...values] = (await askRoster(() => redis.hmget(hash, ...asked))) ?? [];
      if (typeof told !== 'string') return undefined;
      const pairs = names.map((name, i) => [name, values[i]] as const);
      return { facts: readFacts(told), counters: readCounters(pairs) };
    });
    const own = names.flatMap((name) => (counters.has(name) ? [[name, counters.get(name)!] as const] : []));
    const self = { instance, facts: { ...facts }, counters: new Map(own) };
    return [self, ...[...others].map(([each, replica]) => ({ instance: each, ...replica }))];
  }

  /** A part at a time: Redis and this process do other things in between. */
  async function readCountersOf(hash: string): Promise<Map<string, number> | undefined> {
    const all = new Map<string, number>();
    let isLive = false;
    let cursor = '0';
    do {
      const from = cursor;
      const [next, fields] = (await askRoster(() => redis.hscan(hash, from, 'COUNT', chunkSize))) ?? ['0', []];
      const pairs = fields.flatMap((name, i) => (i % 2 === 0 ? [[name, fields[i + 1]] as const] : []));
      isLive ||= pairs.some(([name]) => name === factsField);
      for (const [name, value] of readCounters(pairs)) all.set(name, value);
      cursor = next;
    } while (cursor !== '0');
    all.delete(factsField);
    return isLive ? all : undefined;
  }

  const saysFailure = new Seldom(clock, sayEveryMs);
  const failed = (what: string) => (error: unknown) => {
    if (saysFailure.isDue()) logger.warn({ reason: withoutArguments(error).message }, what);
  };
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
      const others = await eachOther(readCountersOf);
      return [new Map(counters), ...others.values()];
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

    async begin() {
      await redis.del(key);
      unwritten.clear();
      await write([...counters.keys()]);
      isOurs = true;
      await writeChanges();
    },

    async renew() {
      const isAlive = (await redis.pexpire(key, rosterTtlMs)) === 1;
      if (isAlive) await writeChanges();
      else await write([...counters.keys()]);
      await releaseUsers();
    },

    stop() {
      isOurs = false;
      stopPresence();
      redis.off('ready', onReady);
    },

    async giveBack() {
      await runAll(redis.pipeline().srem(keys.replicas, instance).del(key));
      await releaseUsers();
    },
  };
}

function passWrongType(error: unknown): undefined {
  if (!isServerError(error) || !withoutArguments(error).message.startsWith('WRONGTYPE')) throw error;
}

/** What is no number counts nothing. */
function readCounters(pairs: (readonly [string, string | null | undefined])[]): Map<string, number> {
  const values = pairs.map(([name, value]) => [name, Number(value ?? Number.NaN)] as const);
  return new Map(values.filter(([, value]) => Number.isFinite(value)));
}

/** An older release writes `1` there and says nothing of itself; what is no text is no fact. */
function readFacts(told: string): Record<string, string> {
  try {
    const value: unknown = JSON.parse(told);
    const entries = typeof value === 'object' && value !== null ? Object.entries(value) : [];
    return Object.fromEntries(entries.filter(([, value]) => typeof value === 'string'));
  } catch {
    return {};
  }
}
