// What the other replicas have written into the roster. In come the names of counters; out come the counters and facts of every live
// replica but this one. A replica whose hash has expired is not live.
// Promises: however many counters there are, no command holds Redis or this process up; what others wrote is read as far as it is
// understood.

import type { Redis } from 'ioredis';
import type { LiveReplica, LogOptions } from '../log.ts';
import { ask, isReady, isServerError, unavailable, withoutArguments } from './connections.ts';
import { keys, run } from './scripts.ts';

/** What a replica says of itself, as JSON; it also keeps the hash of one without counters alive. No counter has an empty name. */
export const factsField = '';
const answerMs = 2_000;
const unreadable = 'the roster could not be read';
/** Fields that one command brings. */
const chunkSize = 1_000;

export class OtherReplicas {
  readonly #redis: Redis;
  readonly #options: LogOptions;

  constructor(redis: Redis, options: LogOptions) {
    this.#redis = redis;
    this.#options = options;
  }

  /** All counters of each. Error: LOG_UNAVAILABLE. */
  async counters(): Promise<Map<string, number>[]> {
    const found = await this.#readEach((hash) => this.#readCountersOf(hash));
    return [...found.values()];
  }

  /** What each says of itself, with these counters. Error: LOG_UNAVAILABLE. */
  async facts(names: string[]): Promise<LiveReplica[]> {
    const found = await this.#readEach(async (hash) => {
      const [told, ...values] = (await this.#ask(() => this.#redis.hmget(hash, factsField, ...names))) ?? [];
      if (typeof told !== 'string') return undefined;
      const pairs = names.map((name, i) => [name, values[i]] as const);
      return { facts: readFacts(told), counters: readCounters(pairs) };
    });
    return Array.from(found, ([instance, replica]) => ({ instance, ...replica }));
  }

  /** @returns what `read` finds in each replica's hash, in the order of their names */
  async #readEach<T>(read: (hash: string) => Promise<T | undefined>): Promise<Map<string, T>> {
    if (!isReady(this.#redis)) throw unavailable(unreadable, 'connection_lost');
    const instances = (await this.#ask(() => this.#redis.smembers(keys.replicas))) ?? [];
    const found = new Map<string, T>();
    const readOne = async (instance: string) => {
      const hash = keys.rosterPrefix + instance;
      const replica = await read(hash);
      if (replica !== undefined) found.set(instance, replica);
      // A replica that was killed has not taken itself out, and a name that is never used again would stay.
      else await this.#ask(() => run(this.#redis, 'forgetReplica', [keys.replicas, hash], [instance]));
    };
    await Promise.all(instances.filter((each) => each !== this.#options.instance).map(readOne));
    return new Map([...found].sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  /** A part at a time: Redis and this process do other things in between. */
  async #readCountersOf(hash: string): Promise<Map<string, number> | undefined> {
    const all = new Map<string, number>();
    let isLive = false;
    let cursor = '0';
    do {
      const from = cursor;
      const [next, fields] = (await this.#ask(() => this.#redis.hscan(hash, from, 'COUNT', chunkSize))) ?? ['0', []];
      const pairs = fields.flatMap((name, i) => (i % 2 === 0 ? [[name, fields[i + 1]] as const] : []));
      isLive ||= pairs.some(([name]) => name === factsField);
      for (const [name, value] of readCounters(pairs)) all.set(name, value);
      cursor = next;
    } while (cursor !== '0');
    all.delete(factsField);
    return isLive ? all : undefined;
  }

  /** @returns undefined also where another program keeps something else under the key. Error: LOG_UNAVAILABLE. */
  #ask<T>(question: () => Promise<T>): Promise<T | undefined> {
    return ask(this.#options.clock, answerMs, unreadable, () => question().catch(passWrongType));
  }
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
