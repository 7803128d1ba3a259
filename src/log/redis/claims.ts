// Claims: the ids of events that go by the bridge lane, remembered in Redis so that every replica knows a repeat.
// A claim is open for 15 s at most, and for 4 s after its process has died: a repeat must be decided before its caller gives
// up. Settled as kept it answers `duplicate` for 5 minutes, settled as not kept it is forgotten.
// Ids that the bridge accepted while none were remembered come in many at a time.

import type { Redis } from 'ioredis';
import { LogThrottle } from '../../telemetry/log-throttle.ts';
import {
  type AcceptedId,
  type ClaimResult,
  claimTtlMs,
  type EventIds,
  idempotencyTtlMs,
  type LogOptions,
} from '../log.ts';
import { ask, isReady, noAnswer, within, withoutArguments } from './connections.ts';
import { keys, run } from './scripts.ts';

/** What a settled claim holds in place of the token of an append. */
const keptByBridge = 'kept:bridge';
/** An open claim is renewed by its process, so that it ends soon after that. */
const openMs = 4_000;
const renewEveryMs = 1_000;
/** Ids remembered by one script, which holds up Redis for less than a millisecond. */
const chunkSize = 250;
const chunkAnswerMs = 2_000;
/** Of each kind of line: a slow Redis would write one for every call. */
const sayEveryMs = 5_000;

export class Claims implements EventIds {
  readonly #redis: Redis;
  readonly #options: LogOptions;
  /** What Redis holds while a claim of this replica is open. */
  readonly #open: string;
  /** This replica's open claims, oldest first, and when each was opened (ms monotonic). */
  readonly #opened = new Map<string, number>();
  readonly #saysLate: LogThrottle;
  readonly #saysFailed: LogThrottle;
  readonly #stopRenewing: () => void;

  constructor(redis: Redis, options: LogOptions) {
    this.#redis = redis;
    this.#options = options;
    this.#open = `open:${options.instance}`;
    this.#saysLate = new LogThrottle(options.clock, sayEveryMs);
    this.#saysFailed = new LogThrottle(options.clock, sayEveryMs);
    this.#stopRenewing = options.clock.every(renewEveryMs, () => this.#renew());
  }

  async claim(eventId: string, epoch?: number): Promise<ClaimResult> {
    const { clock, publishTimeoutMs } = this.#options;
    const names = [keys.id(eventId), keys.cutover];
    const question = () => run(this.#redis, 'claim', names, [this.#open, openMs, epoch ?? '']);
    const result = (await ask(clock, publishTimeoutMs, 'the event id could not be claimed', question)) as ClaimResult;
    if (result === 'claimed') this.#opened.set(eventId, clock.monotonic());
    return result;
  }

  /** Never rejects: a claim that could not be settled lapses, and a repeat is then delivered again rather than lost. */
  async settle(eventId: string, kept: boolean): Promise<void> {
    const { clock, publishTimeoutMs, logger } = this.#options;
    this.#opened.delete(eventId);
    const settled = kept
      ? this.#redis.set(keys.id(eventId), keptByBridge, 'PX', idempotencyTtlMs)
      : run(this.#redis, 'deleteIfOwn', [keys.id(eventId)], [this.#open]);
    try {
      const answer = await within<unknown>(clock, publishTimeoutMs, settled);
      if (answer === noAnswer && this.#saysLate.isDue()) {
        logger.warn('claims were settled, but Redis did not answer in time');
      }
    } catch (error) {
      this.#sayFailed(error);
    }
  }

  async rememberIds(ids: AcceptedId[]): Promise<void> {
    const wanted = ids.filter(({ eventId, ttlMs }) => eventId !== '' && ttlMs >= 1);
    for (let start = 0; start < wanted.length; start += chunkSize) {
      const chunk = wanted.slice(start, start + chunkSize);
      const names = chunk.map(({ eventId }) => keys.id(eventId));
      const ttls = chunk.map(({ ttlMs }) => Math.ceil(ttlMs));
      const question = () => run(this.#redis, 'remember', names, [keptByBridge, ...ttls]);
      await ask(this.#options.clock, chunkAnswerMs, 'ids could not be remembered', question);
    }
  }

  /** Ends the renewals: what is open lapses. */
  close(): void {
    this.#stopRenewing();
  }

  /** Most claims are settled before they are due for a renewal. */
  async #renew(): Promise<void> {
    const now = this.#options.clock.monotonic();
    for (const [eventId, at] of this.#opened) if (now - at >= claimTtlMs) this.#opened.delete(eventId);
    const slow = [...this.#opened].filter(([, at]) => now - at >= renewEveryMs).map(([eventId]) => keys.id(eventId));
    for (let start = 0; isReady(this.#redis) && start < slow.length; start += chunkSize) {
      const chunk = slow.slice(start, start + chunkSize);
      await run(this.#redis, 'renewClaims', chunk, [this.#open, openMs]).catch((error) => this.#sayFailed(error));
    }
  }

  #sayFailed(error: unknown): void {
    if (!this.#saysFailed.isDue()) return;
    this.#options.logger.warn({ reason: withoutArguments(error).message }, 'claims could not be kept or ended');
  }
}
