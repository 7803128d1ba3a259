// The lease on an instance name: in comes the name, out goes the proof that no other live process has it. Renewed every
// 3 s, gone 10 s after its holder, given back at close. Taken over by another while we run, it says so.
// Promises: a process that was killed is followed by the next of its name within a second, for its connection to Redis has
// gone with it; a holder whose connection still stands is alive, or its host is lost, and then its lease ends by its time.

import { randomBytes } from 'node:crypto';
import type { Redis } from 'ioredis';
import { CrossfadeError } from '../../errors.ts';
import { pause } from '../../telemetry/clock.ts';
import type { LogOptions } from '../log.ts';
import { ask } from './connections.ts';
import { keys, run } from './scripts.ts';

const leaseTtlMs = 10_000;
/** Roster and lease are renewed together, see instance-name.ts. */
export const renewEveryMs = 3_000;
/** A live holder renews within 3 s; a lost one's lease is gone after 10. */
const watchMs = 11_000;
const watchStepMs = 100;
/**
 * A holder without a connection for so long is dead. A live one whose connection was broken connects again within this time,
 * and renews its lease then.
 */
const deadMs = 400;
const answerMs = 2_000;

const tokenPrefix = 'holder:';

/** What a process puts into the lease of its name. */
export function newToken(): string {
  return tokenPrefix + randomBytes(12).toString('base64url');
}

/** The name of the holder's connection: others see in CLIENT LIST whether it is there. */
export function connectionOf(token: string): string {
  return `crossfade:${token}`;
}

export class Lease {
  readonly #redis: Redis;
  /** What Redis holds while the name is ours. */
  readonly #token: string;
  readonly #options: LogOptions;
  readonly #key: string;

  private constructor(redis: Redis, token: string, options: LogOptions) {
    this.#redis = redis;
    this.#token = token;
    this.#options = options;
    this.#key = keys.lease(options.group, options.instance);
  }

  /**
   * Waits for a dead holder's lease to end. Errors: LOG_INSTANCE_TAKEN, LOG_UNAVAILABLE.
   * @param redis the connection that is named by {@link connectionOf}
   */
  static async take(redis: Redis, token: string, options: LogOptions): Promise<Lease> {
    const lease = new Lease(redis, token, options);
    if ((await lease.#take()) || (await lease.#outlastHolder())) return lease;
    throw new CrossfadeError('LOG_INSTANCE_TAKEN', `another live process has the instance name ${options.instance}`);
  }

  /**
   * Takes it again where Redis lost it. Rejects as the connection does.
   * @returns false if another process has the name now
   */
  async renew(): Promise<boolean> {
    const { logger, instance } = this.#options;
    const answer = await this.#write();
    if (answer === 'taken') logger.warn({ instance }, 'the lease on the instance name was gone; taken again');
    return answer !== 'lost';
  }

  async giveBack(): Promise<void> {
    await run(this.#redis, 'deleteIfOwn', [this.#key], [this.#token]);
  }

  #write(): Promise<unknown> {
    return run(this.#redis, 'renewLease', [this.#key], [this.#token, leaseTtlMs]);
  }

  /** The name may be ours already: this process asked before, and did not hear the answer. */
  async #take(): Promise<boolean> {
    return (await this.#ask(() => this.#write())) !== 'lost';
  }

  async #takeFrom(holder: string): Promise<boolean> {
    const args = [holder, this.#token, leaseTtlMs];
    return (await this.#ask(() => run(this.#redis, 'replaceLease', [this.#key], args))) === 1;
  }

  /** @returns whether the name is ours now; false where its holder has renewed, and so is alive */
  async #outlastHolder(): Promise<boolean> {
    const { clock, logger, instance } = this.#options;
    logger.info({ instance }, 'another process holds this instance name; looking whether it is alive');
    const giveUpAt = clock.monotonic() + watchMs;
    let before = await this.#look();
    let connectedAt = clock.monotonic();
    while (clock.monotonic() < giveUpAt) {
      await pause(clock, watchStepMs);
      const now = await this.#look();
      const { token: holder } = now;
      if (holder === null) return this.#take();
      if (holder !== before.token || now.leftMs > before.leftMs) return false;
      before = now;
      if (await this.#ask(() => mayBeConnected(this.#redis, holder, this.#token))) connectedAt = clock.monotonic();
      else if (clock.monotonic() - connectedAt >= deadMs) return this.#takeFrom(holder);
    }
    return false;
  }

  #look(): Promise<{ token: string | null; leftMs: number }> {
    return this.#ask(async () => ({
      token: await this.#redis.get(this.#key),
      leftMs: await this.#redis.pttl(this.#key),
    }));
  }

  #ask<T>(question: () => Promise<T>): Promise<T> {
    return ask(this.#options.clock, answerMs, 'the instance name could not be leased', question);
  }
}

/**
 * Whether a lease's holder may be there. A user without the right to CLIENT LIST cannot tell, nor where no connection can be
 * named, ours neither, nor does an older release name its connection: then the lease must end by its time.
 */
async function mayBeConnected(redis: Redis, holder: string, ours: string): Promise<boolean> {
  if (!holder.startsWith(tokenPrefix)) return true;
  let list: string;
  try {
    list = (await redis.client('LIST')) as string;
  } catch {
    return true;
  }
  const isNamed = (token: string) => list.includes(` name=${connectionOf(token)} `);
  return isNamed(holder) || !isNamed(ours);
}
