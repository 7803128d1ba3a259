// Claims: the ids of events that go by the bridge lane, remembered in Redis so that every replica knows a repeat.
// A claim is open for 15 s; settled as kept it answers `duplicate` for 5 minutes, settled as not kept it is forgotten.
// Ids that the bridge accepted while none were remembered come in many at a time.

import type { Redis } from 'ioredis';
import { Seldom } from '../../telemetry/seldom.ts';
import { type AcceptedId, type ClaimResult, claimTtlMs, idempotencyTtlMs, type LogOptions } from '../log.ts';
import { ask, noAnswer, within, withoutArguments } from './connections.ts';
import { keys, run } from './scripts.ts';

/** What a settled claim holds in place of the token of an append. */
const keptByBridge = 'kept:bridge';
/** Ids remembered by one script, which holds up Redis for less than a millisecond. */
const chunkSize = 250;
const chunkAnswerMs = 2_000;
/** Of each kind of line: a slow Redis would write one for every call. */
const sayEveryMs = 5_000;

export function createClaims(commands: Redis, options: LogOptions) {
  const { clock, publishTimeoutMs, logger } = options;
  const open = `open:${options.instance}`;
  const saysLate = new Seldom(clock, sayEveryMs);
  const saysFailed = new Seldom(clock, sayEveryMs);

  /** Error: LOG_UNAVAILABLE. */
  async function claim(eventId: string, epoch?: number): Promise<ClaimResult> {
    const question = () => run(commands, 'claim', [keys.id(eventId), keys.cutover], [open, claimTtlMs, epoch ?? '']);
    return (await ask(clock, publishTimeoutMs, 'the event id could not be claimed', question)) as ClaimResult;
  }

  /** Never rejects: without it the claim lapses, and a repeat is then delivered again rather than lost. */
  async function settle(eventId: string, kept: boolean): Promise<void> {
    const settled = kept
      ? commands.set(keys.id(eventId), keptByBridge, 'PX', idempotencyTtlMs)
      : run(commands, 'deleteIfOwn', [keys.id(eventId)], [open]);
    try {
      const answer = await within<unknown>(clock, publishTimeoutMs, settled);
      if (answer === noAnswer && saysLate.isDue()) logger.warn('claims were settled, but Redis did not answer in time');
    } catch (error) {
      if (saysFailed.isDue()) logger.warn({ reason: withoutArguments(error).message }, 'claims could not be settled');
    }
  }

  /** Error: LOG_UNAVAILABLE. */
  async function rememberIds(ids: AcceptedId[]): Promise<void> {
    const wanted = ids.filter(({ eventId, ttlMs }) => eventId !== '' && ttlMs >= 1);
    for (let start = 0; start < wanted.length; start += chunkSize) {
      const chunk = wanted.slice(start, start + chunkSize);
      const names = chunk.map(({ eventId }) => keys.id(eventId));
      const ttls = chunk.map(({ ttlMs }) => Math.ceil(ttlMs));
      const question = () => run(commands, 'remember', names, [keptByBridge, ...ttls]);
      await ask(clock, chunkAnswerMs, 'ids could not be remembered', question);
    }
  }

  return { claim, settle, rememberIds };
}
