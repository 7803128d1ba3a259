// One append to Redis with its outcome. In comes an entry; out goes what the log itself says of it: appended, duplicate,
// undecided or stale. An append without an answer is looked up by the first of its ids, or by a mark of its own.

import { randomBytes } from 'node:crypto';
import type { Redis } from 'ioredis';
import { encodeEntry, originOf } from '../entry.ts';
import { type AppendResult, idempotencyTtlMs, maxStreamBytes, type NewEntry } from '../log.ts';
import { attempt, type Finding, refused, type WriteParts } from './attempt.ts';
import { keys, run } from './scripts.ts';

/** An append without ids leaves its mark this much longer than its look-up may take. */
const markSlackMs = 10_000;

export function createAppend(parts: WriteParts): (entry: NewEntry) => Promise<AppendResult> {
  const { commands, options } = parts;
  const { clock, publishTimeoutMs: withinMs } = options;
  const tokenPrefix = randomBytes(6).toString('base64url');
  let count = 0;

  return async function append(entry) {
    count += 1;
    const token = `${tokenPrefix}${count.toString(36)}`;
    const value = `kept:${token}`;
    const comparesIds = entry.eventIds.length > 0 && !entry.idsSettled;
    const marks = comparesIds ? entry.eventIds.map(keys.id) : [keys.mark(token)];

    const send = (deadline: number) =>
      run(
        commands,
        'append',
        [entry.stream, keys.clock, keys.cutover, ...marks],
        [
          deadline,
          value,
          comparesIds ? idempotencyTtlMs : 2 * withinMs + markSlackMs,
          comparesIds ? 1 : 0,
          entry.epoch ?? '',
          entry.maxLength,
          options.maxStreamBytes ?? maxStreamBytes,
          ...encodeEntry(entry, originOf(entry, clock.now(), options)),
        ],
      );
    const lookUp = (redis: Redis) => lookUpMark(redis, marks[0]!, value);
    const answer = await attempt<AppendResult>(parts, { withinMs, send, lookUp });
    if (Array.isArray(answer)) options.onOverBytes(entry.stream);
    if (answer === 'late') throw refused('timeout', `Redis executed it after ${withinMs} ms`);
    return answer === 'duplicate' || answer === 'undecided' || answer === 'stale' ? answer : 'appended';
  };
}

async function lookUpMark(redis: Redis, key: string, value: string): Promise<Finding<AppendResult>> {
  const [mark, nowMs] = (await run(redis, 'lookUp', [key])) as [string, string];
  return { outcome: outcomeOf(mark, value), isOurs: mark === value, nowMs: Number(nowMs) };
}

function outcomeOf(mark: string, ours: string): AppendResult | undefined {
  if (mark === ours) return 'appended';
  if (mark === '') return undefined;
  return mark.startsWith('kept:') ? 'duplicate' : 'undecided';
}
