// Claims: the ids of events that go by the bridge lane, remembered in Redis so that every replica knows a repeat.
// A claim is open for 15 s at most, and for 4 s after its process has died: a repeat must be decided before its caller gives
// up. Settled as kept it answers `duplicate` for 5 minutes, settled as not kept it is forgotten.
// Ids that the bridge accepted while none were remembered come in many at a time.

import type { Redis } from 'ioredis';
import { Seldom } from '../../telemetry/seldom.ts';
import { type AcceptedId, type ClaimResult, claimTtlMs, idempotencyTtlMs, type LogOptions } from '../log.ts';
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

export function createClaims(commands: Redis, options: LogOptions) {
  const { clock, publishTimeoutMs, logger } = options;
  const open = `open:${options.instance}`;
  const saysLate = new Seldom(clock, sayEveryMs);
  const saysFailed = new Seldom(clock, sayEveryMs);

  /** Our open claims, oldest first, and when each was opened (ms monotonic). */
  const opened = new Map<string, number>();
  const stop = clock.every(renewEveryMs, () => renew());

  /** Error: LOG_UNAVAILABLE. */
  async function claim(eventId: string, epoch?: number): Promise<ClaimResult> {
    const question = () => run(commands, 'claim', [keys.id(eventId), keys.cutover], [open, openMs, epoch ?? '']);
    const result = (await ask(clock, publishTimeoutMs, 'the event id could not be claimed', question)) as ClaimResult;
    if (result === 'claimed') opened.set(eventId, clock.monotonic());
    return result;
  }

  /** Most claims are settled before it is their turn. */
  async function renew(): Promise<void> {
    const now = clock.monotonic();
    for (const [eventId, at] of opened) if (now - at >= claimTtlMs) opened.delete(eventId);
    const slow = [...opened].filter(([, at]) => now - at >= renewEveryMs).map(([eventId]) => keys.id(eventId));
    for (let start = 0; isReady(commands) && start < slow.length; start += chunkSize) {
      await run(commands, 'renewClaims', slow.slice(start, start + chunkSize), [open, openMs]).catch(sayFailed);
    }
  }

  function sayFailed(error: unknown): void {
    if (saysFailed.isDue())
      logger.warn({ reason: withoutArguments(error).message }, 'claims could not be kept or ended');
  }

  /** Never rejects: without it the claim lapses, and a repeat is then delivered again rather than lost. */
  async function settle(eventId: string, kept: boolean): Promise<void> {
    opened.delete(eventId);
    const settled = kept
      ? commands.set(keys.id(eventId), keptByBridge, 'PX', idempotencyTtlMs)
      : run(commands, 'deleteIfOwn', [keys.id(eventId)], [open]);
    try {
      const answer = await within<unknown>(clock, publishTimeoutMs, settled);
      if (answer === noAnswer && saysLate.isDue()) logger.warn('claims were settled, but Redis did not answer in time');
    } catch (error) {
      sayFailed(error);
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

  return { claim, settle, rememberIds, stop };
}
