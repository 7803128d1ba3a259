// Small values that all replicas share for a while, each under its own key in Redis until its TTL ends. In comes a value; what
// Redis cannot take now is lost, or, where it is swapped for another one, said not to be there.

import type { Redis } from 'ioredis';
import type { LogOptions, SharedValues } from '../log.ts';
import { ask, withoutArguments } from './connections.ts';
import { keys, run } from './scripts.ts';

const answerMs = 2_000;

export class RedisShared implements SharedValues {
  readonly #redis: Redis;
  readonly #options: LogOptions;

  constructor(redis: Redis, options: LogOptions) {
    this.#redis = redis;
    this.#options = options;
  }

  async share(key: string, value: string, ttlMs: number): Promise<void> {
    try {
      await this.#redis.set(keys.shared(key), value, 'PX', Math.ceil(ttlMs));
    } catch (error) {
      this.#options.logger.debug({ reason: withoutArguments(error).message }, 'a value could not be shared');
    }
  }

  async swap(key: string, from: string | undefined, to: string, ttlMs: number): Promise<boolean> {
    const args = [from === undefined ? 0 : 1, from ?? '', to, Math.ceil(ttlMs)];
    const question = () => run(this.#redis, 'swapShared', [keys.shared(key)], args);
    return (await ask(this.#options.clock, answerMs, 'a shared value could not be written', question)) === 1;
  }

  async shared(key: string): Promise<string | undefined> {
    const question = () => this.#redis.get(keys.shared(key));
    const { clock } = this.#options;
    return (await ask(clock, answerMs, 'a shared value could not be read', question)) ?? undefined;
  }
}
