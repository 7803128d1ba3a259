// One append to Redis with its outcome. In comes an entry; out goes what the log itself says of it: appended, duplicate,
// undecided or stale. An append without an answer is looked up by the first of its ids, or by a mark of its own.

import { randomBytes } from 'node:crypto';
import type { Redis } from 'ioredis';
import { encodeEntry, originOf } from '../entry.ts';
import { type AppendResult, idempotencyTtlMs, maxStreamBytes, type NewEntry } from '../log.ts';
import { AppendBatches } from './append-batches.ts';
import { attempt, type Finding, refused, type WriteParts } from './attempt.ts';
import { keys, run } from './scripts.ts';

/** An append without ids leaves its mark this much longer than its look-up may take. */
const markSlackMs = 10_000;

/** What names one append in Redis: the keys that it leaves there, and what they hold. */
interface Marks {
  keys: string[];
  value: string;
  /** Whether the keys are those of the entry's own ids, which the append compares and keeps. */
  areIds: boolean;
}

export class Appender {
  readonly #parts: WriteParts;
  readonly #batches: AppendBatches;
  readonly #tokenPrefix = randomBytes(6).toString('base64url');
  #count = 0;

  constructor(parts: WriteParts) {
    this.#parts = parts;
    this.#batches = new AppendBatches(parts.commands, parts.options.maxStreamBytes ?? maxStreamBytes);
  }

  /** As {@link EventLog.append}. */
  async append(entry: NewEntry): Promise<AppendResult> {
    const { options } = this.#parts;
    const withinMs = options.publishTimeoutMs;
    const marks = this.#marksOf(entry);
    const answer = await attempt<AppendResult>(this.#parts, {
      withinMs,
      send: (deadline) => this.#send(entry, marks, deadline),
      lookUp: (redis) => lookUpMark(redis, marks),
    });
    if (Array.isArray(answer)) options.onOverBytes(entry.stream);
    if (answer === 'late') throw refused('timeout', `Redis executed it after ${withinMs} ms`);
    return answer === 'duplicate' || answer === 'undecided' || answer === 'stale' ? answer : 'appended';
  }

  #marksOf(entry: NewEntry): Marks {
    this.#count += 1;
    const token = `${this.#tokenPrefix}${this.#count.toString(36)}`;
    const areIds = entry.eventIds.length > 0 && !entry.idsSettled;
    return { keys: areIds ? entry.eventIds.map(keys.id) : [keys.mark(token)], value: `kept:${token}`, areIds };
  }

  #send(entry: NewEntry, marks: Marks, deadline: number): Promise<unknown> {
    const { options } = this.#parts;
    const fields = encodeEntry(entry, originOf(entry, options.clock.now(), options));
    return this.#batches.send({
      stream: entry.stream,
      keys: marks.keys,
      args: [
        deadline,
        marks.keys.length,
        marks.value,
        marks.areIds ? idempotencyTtlMs : 2 * options.publishTimeoutMs + markSlackMs,
        marks.areIds ? 1 : 0,
        entry.epoch ?? '',
        entry.maxLength,
        fields.length,
        ...fields,
      ],
      chars: entry.payload.length,
    });
  }
}

async function lookUpMark(redis: Redis, marks: Marks): Promise<Finding<AppendResult>> {
  const [mark, nowMs] = (await run(redis, 'lookUp', [marks.keys[0]!])) as [string, string];
  return { outcome: outcomeOf(mark, marks.value), isOurs: mark === marks.value, nowMs: Number(nowMs) };
}

function outcomeOf(mark: string, ours: string): AppendResult | undefined {
  if (mark === ours) return 'appended';
  if (mark === '') return undefined;
  return mark.startsWith('kept:') ? 'duplicate' : 'undecided';
}
