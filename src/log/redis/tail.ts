// A tail of streams in Redis, over a connection of its own: in come the streams, out go the entries behind the moment at which it was
// opened, as Redis gets them. Promise: one read stays within a bound of bytes, as far as the entries seen last foretell it.

import type { Redis } from 'ioredis';
import type { Clock } from '../../telemetry/clock.ts';
import { decodeEntry } from '../entry.ts';
import { type Entry, maxReadBytes, type Position, type Tail } from '../log.ts';
import { ask } from './connections.ts';
import type { RawEntry } from './cursor.ts';
import type { StreamReply } from './group-reads.ts';

/** Of each stream in one read; fewer where they are large. */
const maxCount = 256;
const blockMs = 200;
const answerMs = 2_000;

export class RedisTail implements Tail {
  readonly #redis: Redis;
  readonly #clock: Clock;
  readonly #positions: Map<string, Position>;
  #count = maxCount;

  /** Error: LOG_UNAVAILABLE. @param redis becomes its own */
  static async open(redis: Redis, streams: string[], clock: Clock): Promise<RedisTail> {
    const ends = () => Promise.all(streams.map((stream) => redis.xrevrange(stream, '+', '-', 'COUNT', 1)));
    const found = await ask(clock, answerMs, 'the ends of the streams could not be read', ends);
    return new RedisTail(redis, new Map(streams.map((stream, i) => [stream, found[i]?.[0]?.[0] ?? '0-0'])), clock);
  }

  private constructor(redis: Redis, positions: Map<string, Position>, clock: Clock) {
    this.#redis = redis;
    this.#positions = positions;
    this.#clock = clock;
  }

  async read(): Promise<Entry[]> {
    const [names, from] = [[...this.#positions.keys()], [...this.#positions.values()]];
    const question = () =>
      this.#redis.xread('COUNT', this.#count, 'BLOCK', blockMs, 'STREAMS', ...names, ...from) as Promise<
        StreamReply[] | null
      >;
    const replies = (await ask(this.#clock, answerMs, 'the streams could not be read', question)) ?? [];
    this.#adaptCount(replies.flatMap(([, entries]) => entries));
    return replies.flatMap(([stream, entries]) => {
      this.#positions.set(stream, entries.at(-1)?.[0] ?? this.#positions.get(stream)!);
      return entries.flatMap(([position, fields]) => {
        const entry = decodeEntry(stream, position, fields ?? []);
        return 'reason' in entry ? [] : [entry];
      });
    });
  }

  close(): void {
    this.#redis.disconnect();
  }

  /** XREAD knows no bound in bytes. */
  #adaptCount(entries: RawEntry[]): void {
    const bytes = entries.flatMap(([, fields]) => fields ?? []).reduce((sum, field) => sum + field.length, 0);
    if (bytes > maxReadBytes) this.#count = Math.max(1, Math.floor(this.#count / 4));
    else if (bytes < maxReadBytes / 4) this.#count = Math.min(maxCount, 2 * this.#count);
  }
}
