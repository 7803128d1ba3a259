// The replicas' consumer groups. In comes a replica's name, out go its groups, one a stream. Every group is noted in the
// set `crossfade:groups`, and only what is noted there is ever removed: other programs have groups on the same streams.

import type { Redis } from 'ioredis';
import type { LogOptions } from '../log.ts';
import { isReady, withoutArguments } from './connections.ts';
import { keys, run } from './scripts.ts';

/** A stream as Redis describes it. */
export interface StreamInfo {
  /** The last id that was ever given in it; empty where the stream does not exist. */
  lastId: string;
  /** The id of the last entry that is there; empty where there is none. */
  topId: string;
  /** Entries that were ever added. */
  added: number;
  length: number;
  hasGroup: boolean;
}

export function groupName(options: LogOptions): string {
  return `${options.group}:${options.instance}`;
}

/** Makes this replica's group anew, behind `after` (`$`: at the tail; `0`: at the start). */
export async function makeGroup(redis: Redis, stream: string, options: LogOptions, after: string): Promise<StreamInfo> {
  const noted = groupNote(stream, options.group, options.instance);
  return readInfo(await run(redis, 'makeGroup', [stream, keys.groups], [groupName(options), noted, after]));
}

/** Removes this replica's group, unless another process has taken the instance name. */
export async function removeGroup(redis: Redis, stream: string, options: LogOptions, token: string): Promise<void> {
  const { group, instance } = options;
  const names = [stream, keys.groups, keys.lease(group, instance)];
  await run(redis, 'removeGroup', names, [groupName(options), groupNote(stream, group, instance), token]);
}

export async function inspect(redis: Redis, streams: string[], options: LogOptions): Promise<StreamInfo[]> {
  const states = (await run(redis, 'inspect', streams, [groupName(options)])) as unknown[];
  return states.map(readInfo);
}

const sweepEveryMs = 60_000;
const goneMs = 10 * 60_000;

/**
 * Removes the groups of replicas that have held no lease for 10 minutes, by this replica's own watching: after an outage of Redis
 * every replica gets its whole time again.
 */
export class GroupSweeper {
  readonly #redis: Redis;
  readonly #options: LogOptions;
  /** Noted groups without a lease, and since when (ms monotonic). */
  readonly #goneSince = new Map<string, number>();
  readonly #onClose = () => this.#goneSince.clear();
  readonly #stop: () => void;

  constructor(redis: Redis, options: LogOptions) {
    this.#redis = redis;
    this.#options = options;
    redis.on('close', this.#onClose);
    this.#stop = options.clock.every(sweepEveryMs, () => this.#trySweep());
  }

  close(): void {
    this.#stop();
    this.#redis.off('close', this.#onClose);
  }

  async #trySweep(): Promise<void> {
    try {
      if (isReady(this.#redis)) await this.#sweep();
    } catch (error) {
      this.#options.logger.warn({ reason: withoutArguments(error).message }, 'groups could not be swept');
    }
  }

  async #sweep(): Promise<void> {
    const noted = await this.#redis.smembers(keys.groups);
    for (const gone of this.#goneSince.keys()) if (!noted.includes(gone)) this.#goneSince.delete(gone);
    for (const each of noted) await this.#sweepOne(each);
  }

  async #sweepOne(noted: string): Promise<void> {
    const named = readGroupNote(noted);
    if (named === undefined) return;
    const { clock, logger } = this.#options;
    const [stream, group, instance] = named;
    const lease = keys.lease(group, instance);
    const since = this.#goneSince.get(noted) ?? clock.monotonic();
    if ((await this.#redis.exists(lease)) === 1) {
      this.#goneSince.delete(noted);
      return;
    }
    this.#goneSince.set(noted, since);
    if (clock.monotonic() - since < goneMs) return;
    await run(this.#redis, 'removeGroup', [stream, keys.groups, lease], [`${group}:${instance}`, noted, '']);
    logger.info({ stream, instance }, 'removed the consumer group of a replica that is gone');
  }
}

function groupNote(stream: string, group: string, instance: string): string {
  return JSON.stringify([stream, group, instance]);
}

/** undefined where it is none: another program that can write to Redis may have added anything to the set. */
function readGroupNote(noted: string): [stream: string, group: string, instance: string] | undefined {
  try {
    const names = JSON.parse(noted);
    const isNote = Array.isArray(names) && names.length === 3 && names.every((name) => typeof name === 'string');
    return isNote ? (names as [string, string, string]) : undefined;
  } catch {
    return undefined;
  }
}

function readInfo(state: unknown): StreamInfo {
  const [lastId, topId, added, length, hasGroup] = state as [string, string, number, number, number];
  return { lastId, topId, added, length, hasGroup: hasGroup === 1 };
}
