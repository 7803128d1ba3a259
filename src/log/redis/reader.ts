// One replica's reader: one blocking XREADGROUP over all streams, turn after turn. Out go batches in log order.
// Promises to go on where it was after any outage (recovery.ts), to return an entry once, and to count what was trimmed unread.

import type { Redis } from 'ioredis';
import { pause } from '../../telemetry/clock.ts';
import { LogThrottle } from '../../telemetry/log-throttle.ts';
import type { Batch, LogOptions, Position, Reader, StreamState } from '../log.ts';
import { isReady, untilReady, withoutArguments } from './connections.ts';
import { Cursors } from './cursors.ts';
import { type GroupConnections, GroupReads } from './group-reads.ts';
import { inspect, makeGroup } from './groups.ts';
import { Recovery } from './recovery.ts';

/** A reader is silent for twice this at most: an entry may end a wait just before its end. See `stalenessMs`. */
const blockMs = 100;
/** The wait where something else is to be done as well; 0 would be forever. */
const glanceMs = 1;
/** A longer pause between two turns may have let Redis trim what was not read yet. */
const stallMs = 250;
/** After a pause this long another process may have taken our name, and our groups with it. */
const longStallMs = 5_000;
/** A pause after an error of Redis. */
const pauseMs = 100;
const sayEveryMs = 5_000;

export interface ReaderParts extends GroupConnections {
  options: LogOptions;
  /** See lease.ts. */
  token: string;
  /** Whether the instance name is still ours, by Redis' own word. If it is not, the reader is closed. */
  ownsName(): Promise<boolean>;
}

export class RedisReader implements Reader {
  readonly #parts: ReaderParts;
  readonly #cursors: Cursors;
  readonly #reads: GroupReads;
  readonly #recovery: Recovery;
  readonly #saysFailure: LogThrottle;
  #isClosed = false;
  /** Entries may have been trimmed unread; holds until a look finds the reader at the tail. */
  #mustCount = false;
  /** When Redis last replied: on the wall, for the start of an outage, and monotonic, for stalls. */
  #repliedAtMs: number;
  #repliedAt: number;
  /** What stood in the log at this time (monotonic) is handed out; and it is delivered. */
  #handedOutAt = Number.NEGATIVE_INFINITY;
  #deliveredAt = Number.NEGATIVE_INFINITY;

  private constructor(parts: ReaderParts, cursors: Cursors) {
    const { options, ownsName } = parts;
    this.#parts = parts;
    this.#cursors = cursors;
    this.#reads = new GroupReads(parts, options, cursors);
    this.#recovery = new Recovery(this.#reads, cursors, ownsName, options.logger);
    this.#saysFailure = new LogThrottle(options.clock, sayEveryMs);
    this.#repliedAtMs = options.clock.now();
    this.#repliedAt = options.clock.monotonic();
  }

  /** Makes the replica's groups at the tail; an old process' groups of the same name go first. Rejects as Redis does. */
  static async open(parts: ReaderParts, streams: string[]): Promise<RedisReader> {
    const { commands, options } = parts;
    const tails = await Promise.all(streams.map((stream) => makeGroup(commands, stream, options, '$')));
    return new RedisReader(parts, new Cursors(streams, tails));
  }

  get position(): Position {
    return this.#cursors.position;
  }

  get stalenessMs(): number {
    const { blocking, options } = this.#parts;
    return isReady(blocking) ? options.clock.monotonic() - this.#deliveredAt : Number.POSITIVE_INFINITY;
  }

  async read(): Promise<Batch | undefined> {
    while (!this.#isClosed) {
      this.#deliveredAt = this.#handedOutAt;
      try {
        if (this.#sinceReplyMs > longStallMs) this.#reads.mustRecover = true;
        if (this.#reads.mustRecover) await this.#recover();
        if (this.#isClosed) break;
        const repliedFor = await this.#turn();
        const batch = this.#cursors.takeBatch();
        if (this.#cursors.isDrained) this.#handedOutAt = repliedFor;
        if (batch !== undefined) return batch;
      } catch (error) {
        if (!this.#isClosed) await this.#afterFailure(error);
      }
    }
    return undefined;
  }

  acknowledge(batch: Batch): void {
    this.#reads.acknowledge(batch);
  }

  /** @param redis a connection that no blocking read holds up */
  async streamStates(redis: Redis): Promise<StreamState[]> {
    return this.#cursors.states(await inspect(redis, this.#cursors.streams, this.#parts.options));
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#reads.close(this.#parts.token);
  }

  get #sinceReplyMs(): number {
    return this.#parts.options.clock.monotonic() - this.#repliedAt;
  }

  async #recover(): Promise<void> {
    this.#mustCount = true;
    await this.#recovery.run(this.#repliedAtMs);
  }

  /**
   * One XREADGROUP; where entries may be missing, a look at the streams goes out with it.
   * @returns the time (monotonic) for which the reply holds, at the least: it may have lain unread while we stood still
   */
  async #turn(): Promise<number> {
    if (this.#sinceReplyMs > stallMs) this.#mustCount = true;
    const counts = this.#mustCount;
    const asked = this.#reads.count;
    const wanted = this.#cursors.all.filter((cursor) => cursor.held.length < asked);
    const waits = !counts && this.#cursors.all.every((cursor) => cursor.held.length === 0);
    const waitMs = waits ? blockMs : glanceMs;

    const askedAt = this.#parts.options.clock.monotonic();
    const [replies, infos] = await Promise.all([
      this.#reads.readNew(wanted, waitMs),
      counts ? this.#reads.inspect() : undefined,
    ]);
    this.#noteReply();
    if (this.#repliedAt - askedAt > blockMs + stallMs) this.#mustCount = true;

    this.#reads.take(replies);
    const isFull = this.#cursors.noteRead(wanted, asked, replies);
    if (isFull) this.#mustCount = true;
    if (infos !== undefined) this.#mustCount = !this.#cursors.countMissed(infos);
    return replies.length > 0 ? askedAt : Math.min(this.#repliedAt, askedAt + waitMs);
  }

  #noteReply(): void {
    const { clock } = this.#parts.options;
    this.#repliedAtMs = clock.now();
    this.#repliedAt = clock.monotonic();
  }

  async #afterFailure(error: unknown): Promise<void> {
    const { blocking, options } = this.#parts;
    this.#reads.mustRecover = true;
    if (isReady(blocking)) {
      const reason = withoutArguments(error).message;
      if (this.#saysFailure.isDue()) options.logger.warn({ reason }, 'reading from Redis failed; trying again');
      await pause(options.clock, pauseMs);
    }
    await untilReady(blocking, options.clock, () => !this.#isClosed);
  }
}
