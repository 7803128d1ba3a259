// This replica's name among all: taken with its lease (lease.ts), kept by renewals together with the roster, lost to another process at
// most once. Promises: while the name is not ours, nothing that belongs to it is read, written or removed.

import type { Redis } from 'ioredis';
import { LogThrottle } from '../../telemetry/log-throttle.ts';
import type { LogOptions } from '../log.ts';
import { ask, isReady, isServerError, withoutArguments } from './connections.ts';
import { Lease, renewEveryMs } from './lease.ts';
import type { RedisRoster } from './roster.ts';
import type { WriteRefusal } from './write-refusal.ts';

const answerMs = 2_000;
const sayEveryMs = 30_000;

export interface InstanceNameParts {
  /** The connection whose name says who holds the lease, see lease.ts. */
  redis: Redis;
  /** What Redis holds while the name is ours. */
  token: string;
  roster: RedisRoster;
  refusal: WriteRefusal;
  options: LogOptions;
  /** Called once, when another process has taken the name. */
  onLost(): void;
}

export class InstanceName {
  readonly #parts: InstanceNameParts;
  readonly #saysFailure: LogThrottle;
  readonly #stopRenewing: () => void;
  readonly #onReady = () => this.#tryRenewal();
  #lease: Lease | undefined;
  #isLost = false;

  constructor(parts: InstanceNameParts) {
    const { redis, options } = parts;
    this.#parts = parts;
    this.#saysFailure = new LogThrottle(options.clock, sayEveryMs);
    redis.on('ready', this.#onReady);
    this.#stopRenewing = options.clock.every(renewEveryMs, () => this.#tryRenewal());
  }

  /**
   * Takes the name, and begins its roster anew: what a dead holder counted is gone with its connections.
   * Errors: LOG_INSTANCE_TAKEN, LOG_UNAVAILABLE.
   */
  async take(): Promise<void> {
    const { redis, token, roster, options } = this.#parts;
    this.#lease ??= await Lease.take(redis, token, options);
    await ask(options.clock, answerMs, 'the roster could not be written', () => roster.begin());
  }

  /** Whether the name is still ours, by Redis' own word. Rejects as the connection does. */
  async isOurs(): Promise<boolean> {
    if (this.#isLost || this.#lease === undefined) return false;
    if (await this.#lease.renew()) return true;
    if (this.#isLost) return false;
    this.#isLost = true;
    const { options, onLost } = this.#parts;
    options.logger.error({ instance: options.instance }, 'another process took this instance name');
    onLost();
    return false;
  }

  /** Ends the renewals. */
  stop(): void {
    this.#stopRenewing();
    this.#parts.redis.off('ready', this.#onReady);
  }

  /** Gives lease and roster back, where they are ours. */
  async giveBack(): Promise<void> {
    if (this.#isLost || this.#lease === undefined) return;
    await Promise.allSettled([this.#parts.roster.giveBack(), this.#lease.giveBack()]);
  }

  async #tryRenewal(): Promise<void> {
    try {
      await this.#renew();
    } catch (error) {
      const reason = withoutArguments(error).message;
      if (isServerError(error)) this.#parts.refusal.note(reason);
      if (this.#saysFailure.isDue()) {
        this.#parts.options.logger.warn({ reason }, 'lease and roster could not be renewed');
      }
    }
  }

  async #renew(): Promise<void> {
    const { redis, roster, refusal } = this.#parts;
    if (!isReady(redis) || !(await this.isOurs())) return;
    await roster.renew();
    refusal.noteRenewal();
  }
}
