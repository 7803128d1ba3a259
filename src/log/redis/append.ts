// One append to Redis with its outcome. In comes an entry; out goes what the log itself says of it: appended, duplicate or
// undecided. A missing answer is looked up over another connection. What is refused can never be written later, because
// Redis compares its own time with the append's deadline.

import { randomBytes } from 'node:crypto';
import type { Redis } from 'ioredis';
import { CrossfadeError, type FailureReason } from '../../errors.ts';
import { encodeEntry, eventIdOf } from '../entry.ts';
import { type AppendResult, idempotencyTtlMs, type LogOptions, type NewEntry } from '../log.ts';
import { isReady, isServerError, noAnswer, sleep, wasNeverSent, within, withoutArguments } from './connections.ts';
import { keys, run } from './scripts.ts';
import type { ServerClock } from './server-clock.ts';

export interface AppendParts {
  /** Pipelined automatically. */
  commands: Redis;
  /** Separate, so that a look-up never waits behind the append that has no answer. */
  lookUps: Redis;
  serverClock: ServerClock;
  options: LogOptions;
}

/** How an append without an answer can be found again. */
interface Sent {
  /** The key that the append would have set, and its value. */
  key: string;
  mark: string;
  /** Redis' time in ms after which Redis refuses the append. */
  deadline: number;
}

/** An append without ids leaves its mark this much longer than its look-up may take. */
const markSlackMs = 10_000;

export function createAppend(parts: AppendParts): (entry: NewEntry) => Promise<AppendResult> {
  const { commands, serverClock, options } = parts;
  const { clock, publishTimeoutMs } = options;
  const tokenPrefix = randomBytes(6).toString('base64url');
  let count = 0;

  return async function append(entry) {
    const deadline = serverClock.deadline(publishTimeoutMs);
    if (deadline === undefined) throw refused('connection_lost', 'there is no connection to Redis');

    count += 1;
    const token = `${tokenPrefix}${count.toString(36)}`;
    const comparesIds = entry.eventIds.length > 0 && !entry.idsSettled;
    const marks = comparesIds ? entry.eventIds.map(keys.id) : [keys.mark(token)];
    const sent: Sent = { key: marks[0]!, mark: `kept:${token}`, deadline };

    let answer: unknown;
    let reason: FailureReason = 'timeout';
    try {
      answer = await within(
        clock,
        publishTimeoutMs,
        run(
          commands,
          'append',
          [entry.stream, keys.clock, ...marks],
          [
            deadline,
            sent.mark,
            comparesIds ? idempotencyTtlMs : 2 * publishTimeoutMs + markSlackMs,
            comparesIds ? 1 : 0,
            entry.maxLength,
            ...encodeEntry(entry, {
              eventId: eventIdOf(entry),
              timestamp: new Date(clock.now()).toISOString(),
              instance: options.instance,
              version: options.version,
            }),
          ],
        ),
      );
    } catch (error) {
      if (isServerError(error)) throw refused('redis_error', withoutArguments(error).message, error);
      if (wasNeverSent(error)) throw refused('connection_lost', 'there is no connection to Redis', error);
      answer = noAnswer;
      reason = 'connection_lost';
    }
    if (answer === noAnswer) return lookUp(parts, sent, reason);
    if (answer === 'late') throw refused('timeout', `Redis executed it after ${publishTimeoutMs} ms`);
    return answer === 'duplicate' || answer === 'undecided' ? answer : 'appended';
  };
}

/** Asks until Redis says either that the entry is there or that it is too late for it, for one publish timeout at most. */
async function lookUp(parts: AppendParts, sent: Sent, reason: FailureReason): Promise<AppendResult> {
  const { clock, publishTimeoutMs } = parts.options;
  const giveUpAt = clock.monotonic() + publishTimeoutMs;
  for (;;) {
    const leftMs = giveUpAt - clock.monotonic();
    const found = await lookUpOnce(parts, sent, leftMs);
    if (found === 'absent') throw refused(reason, 'Redis did not answer in time and did not keep it');
    if (found === 'too early' || found === 'no connection') {
      const pauseMs = found === 'too early' ? leftMs / 8 : 10;
      if (leftMs > pauseMs) {
        await sleep(clock, pauseMs);
        continue;
      }
    } else if (found !== 'unknown') return found;
    throw new CrossfadeError('LOG_APPEND_UNKNOWN', 'Redis did not answer, and the entry could not be looked up', {
      reason,
    });
  }
}

type Found = AppendResult | 'absent' | 'too early' | 'no connection' | 'unknown';

async function lookUpOnce({ lookUps, options }: AppendParts, sent: Sent, ms: number): Promise<Found> {
  if (!isReady(lookUps)) return 'no connection';
  let answer: unknown;
  try {
    answer = await within(options.clock, ms, run(lookUps, 'lookUp', [sent.key]));
  } catch {
    return 'unknown';
  }
  if (answer === noAnswer) return 'unknown';

  const [mark, nowMs] = answer as [string, string];
  if (mark === sent.mark) return 'appended';
  if (mark.startsWith('kept:')) return 'duplicate';
  if (Number(nowMs) <= sent.deadline) return 'too early';
  return mark === '' ? 'absent' : 'undecided';
}

function refused(reason: FailureReason, why: string, cause?: unknown): CrossfadeError {
  return new CrossfadeError('LOG_APPEND_REFUSED', `the log did not keep the event: ${why}`, {
    reason,
    ...(cause !== undefined && { cause: withoutArguments(cause) }),
  });
}
