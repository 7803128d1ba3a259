// Small values that all replicas share for a while, each under its own key in Redis until its TTL ends. In comes a value; what
// Redis cannot take now is lost.

import type { Redis } from 'ioredis';
import type { Log, LogOptions } from '../log.ts';
import { ask, withoutArguments } from './connections.ts';
import { keys } from './scripts.ts';

const answerMs = 2_000;

export function createShared(commands: Redis, { clock, logger }: LogOptions): Pick<Log, 'share' | 'shared'> {
  return {
    async share(key, value, ttlMs) {
      try {
        await commands.set(keys.shared(key), value, 'PX', Math.ceil(ttlMs));
      } catch (error) {
        logger.debug({ reason: withoutArguments(error).message }, 'a value could not be shared');
      }
    },

    async shared(key) {
      const question = () => commands.get(keys.shared(key));
      return (await ask(clock, answerMs, 'a shared value could not be read', question)) ?? undefined;
    },
  };
}
