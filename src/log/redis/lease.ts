// The lease on an instance name: in comes the name, out goes the proof that no other live process has it. Renewed every
// 3 s, gone 10 s after its holder, given back at close. Taken over by another while we run, it says so.

import { randomBytes } from 'node:crypto';
import type { Redis } from 'ioredis';
import { CrossfadeError } from '../../errors.ts';
import { pause } from '../../telemetry/clock.ts';
import type { LogOptions } from '../log.ts';
import { ask } from './connections.ts';
import { keys, run } from './scripts.ts';

const leaseTtlMs = 10_000;
/** Roster and lease are renewed together, see redis-log.ts. */
export const renewEveryMs = 3_000;
/** A live holder renews within 3 s; a dead one's lease is gone after 10. */
const watchMs = 11_000;
const watchStepMs = 500;
const answerMs = 2_000;

export interface Lease {
  /** What Redis holds while the name is ours. */
  readonly token: string;
  /**
   * Takes it again where Redis lost it. Rejects as the connection does.
   * @returns false if another process has the name now
   */
  renew(): Promise<boolean>;
  giveBack(): Promise<void>;
}

/** Waits for a dead holder's lease to end. Errors: LOG_INSTANCE_TAKEN, LOG_UNAVAILABLE. */
export async function takeLease(redis: Redis, options: LogOptions): Promise<Lease> {
  const { clock, logger, instance, group } = options;
  const key = keys.lease(group, instance);
  const token = randomBytes(12).toString('base64url');

  const question = <T>(run: () => Promise<T>) => ask(clock, answerMs, 'the instance name could not be leased', run);
  const take = () => question(() => redis.set(key, token, 'PX', leaseTtlMs, 'NX'));
  if ((await take()) === null) await outlast();

  async function outlast(): Promise<void> {
    logger.info({ instance }, 'another process holds this instance name; waiting whether it is alive');
    const giveUpAt = clock.monotonic() + watchMs;
    let leftMs = await question(() => redis.pttl(key));
    while (clock.monotonic() < giveUpAt) {
      await pause(clock, watchStepMs);
      if ((await take()) !== null) return;
      const nowLeftMs = await question(() => redis.pttl(key));
      if (nowLeftMs > leftMs) break;
      leftMs = nowLeftMs;
    }
    throw new CrossfadeError('LOG_INSTANCE_TAKEN', `another live process has the instance name ${instance}`);
  }

  return {
    token,
    async renew() {
      const answer = await run(redis, 'renewLease', [key], [token, leaseTtlMs]);
      if (answer === 'taken') logger.warn({ instance }, 'the lease on the instance name was gone; taken again');
      return answer !== 'lost';
    },
    async giveBack() {
      await run(redis, 'deleteIfOwn', [key], [token]);
    },
  };
}
