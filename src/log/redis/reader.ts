// One replica's reader: one blocking XREADGROUP over all streams, on a connection of its own. Out go batches in log order.
// Promises to go on where it was after any outage, to return an entry once, and to count what was trimmed unread.

import type { Redis } from 'ioredis';
import { pause } from '../../telemetry/clock.ts';
import { Seldom } from '../../telemetry/seldom.ts';
import {
  type Batch,
  comparePositions,
  type LogOptions,
  maxReadBytes,
  type Position,
  type Reader,
  type StreamState,
} from '../log.ts';
import { isReady, untilReady, withoutArguments } from './connections.ts';
import { Cursor, type Item, type RawEntry } from './cursor.ts';
import { groupName, inspect, makeGroup, removeGroup, type StreamInfo } from './groups.ts';
import { mergeReady } from './merge.ts';

/** A reader is silent for twice this at most: an entry may end a wait just before its end. See `silentMs`. */
const blockMs = 100;
/** The wait where something else is to be done as well; 0 would be forever. */
const glanceMs = 1;
/** Of each stream in one read; fewer where they are large. */
const maxCount = 256;
const firstCount = 32;
/** A longer pause between two turns may have let Redis trim what was not read yet. */
const stallMs = 250;
/** After a pause this long another process may have taken our name, and our groups with it. */
const longStallMs = 5_000;
/** A pause after an error of Redis. */
const pauseMs = 100;
const sayEveryMs = 5_000;
/** A publisher's clock may be this far behind ours: what it published within is not history. */
const historySlackMs = 10_000;

export interface RedisReader extends Reader {
  streamStates(redis: Redis): Promise<StreamState[]>;
}

export interface ReaderParts {
  /** For blocking reads alone. */
  blocking: Redis;
  commands: Redis;
  options: LogOptions;
  /** See lease.ts. */
  token: string;
  /** Whether the instance name is still ours, by Redis' own word. If it is not, the reader is closed. */
  ownsName(): Promise<boolean>;
}

/** Makes the replica's groups at the tail; an old process' groups of the same name go first. Rejects as Redis does. */
export async function openReader(parts: ReaderParts, streams: string[]): Promise<RedisReader> {
  const { commands, options } = parts;
  const tails = await Promise.all(streams.map((stream) => makeGroup(commands, stream, options, '$')));
  return createReader(
    parts,
    streams.map((stream, index) => new Cursor(stream, tails[index]!)),
  );
}

function createReader({ blocking, commands, options, token, ownsName }: ReaderParts, cursors: Cursor[]): RedisReader {
  const { clock, logger, instance } = options;
  const group = groupName(options);
  const streams = cursors.map(({ stream }) => stream);
  const byStream = new Map(cursors.map((cursor) => [cursor.stream, cursor]));

  let position = cursors.map((cursor) => cursor.readTo).reduce(later, '0-0');
  let closed = false;
  /** Pending entries are to be read again before new ones. */
  let mustRecover = false;
  /** Entries may have been trimmed unread; holds until a look finds us at the tail. */
  let mustCount = false;
  let missed = 0;
  /** XREADGROUP knows no bound in bytes: what the entries seen last took says how many may come at once. */
  let count = firstCount;
  let replacedSinceMs: number | undefined;
  /** When Redis last replied to us: on the wall, for the start of an outage, and monotonic, for stalls. */
  let repliedAtMs = clock.now();
  let repliedAt = clock.monotonic();
  /** What stood in the log at this time (monotonic) is handed out; and it is delivered. */
  let handedOutAt = Number.NEGATIVE_INFINITY;
  let deliveredAt = Number.NEGATIVE_INFINITY;

  const saysFailure = new Seldom(clock, sayEveryMs);
  const onClose = () => {
    mustRecover = true;
  };
  blocking.on('close', onClose);

  async function read(): Promise<Batch | undefined> {
    while (!closed) {
      deliveredAt = handedOutAt;
      try {
        if (clock.monotonic() - repliedAt > longStallMs) mustRecover = true;
        if (mustRecover) await recover();
        if (closed) break;
        const repliedFor = await turn();
        const batch = takeBatch();
        if (isDrained()) handedOutAt = repliedFor;
        if (batch !== undefined) return batch;
      } catch (error) {
        if (!closed) await afterFailure(error);
      }
    }
    return undefined;
  }

  /**
   * One XREADGROUP; where entries may be missing, a look at the streams goes out with it.
   * @returns the time (monotonic) for which the reply holds, at the least: it may have lain unread while we stood still
   */
  async function turn(): Promise<number> {
    if (clock.monotonic() - repliedAt > stallMs) mustCount = true;
    const asked = count;
    const wanted = cursors.filter((cursor) => cursor.held.length < asked);
    const waits = !mustCount && cursors.every((cursor) => cursor.held.length === 0);
    const waitMs = waits ? blockMs : glanceMs;
    const counts = mustCount;

    const askedAt = clock.monotonic();
    const [replies, infos] = await Promise.all([
      readNew(wanted, waitMs),
      counts ? inspect(blocking, streams, options) : undefined,
    ]);
    noteReply();
    if (repliedAt - askedAt > blockMs + stallMs) mustCount = true;

    for (const cursor of cursors) cursor.complete = wanted.includes(cursor);
    for (const [stream, entries] of replies) {
      const cursor = byStream.get(stream)!;
      take(cursor, entries);
      cursor.complete = entries.length < asked;
      if (!cursor.complete) mustCount = true;
    }
    adaptCount(replies.map(([, entries]) => entries));
    if (infos !== undefined) countMissed(infos);
    return replies.length > 0 ? askedAt : Math.min(repliedAt, askedAt + waitMs);
  }

  async function readNew(wanted: Cursor[], waitMs: number): Promise<[string, RawEntry[]][]> {
    const names = wanted.map((cursor) => cursor.stream);
    const from = names.map(() => '>');
    const reply = await blocking.xreadgroup(
      'GROUP',
      group,
      instance,
      'COUNT',
      count,
      'BLOCK',
      waitMs,
      'STREAMS',
      ...names,
      ...from,
    );
    return (reply ?? []) as [string, RawEntry[]][];
  }

  /** Half the bound is aimed at, as the next entries may be larger; a read that could have brought more lets the count grow. */
  function adaptCount(read: RawEntry[][]): void {
    const most = Math.max(0, ...read.map((entries) => entries.length));
    const bytes = read.flat().reduce((sum, [, fields]) => sum + sizeOf(fields), 0);
    if (bytes > maxReadBytes) count = Math.max(1, Math.floor((count * maxReadBytes) / (2 * bytes)));
    else if (most >= count && bytes < maxReadBytes / 4) count = Math.min(maxCount, 2 * count);
  }

  function take(cursor: Cursor, entries: RawEntry[]): void {
    const taken = cursor.take(entries);
    missed += taken.missed;
    if (taken.again.length > 0) xack(cursor.stream, taken.again);
  }

  function countMissed(infos: StreamInfo[]): void {
    for (const [index, cursor] of cursors.entries()) missed += cursor.countMissed(infos[index]!);
    mustCount = !cursors.every((cursor, index) => cursor.isAtTail(infos[index]!));
  }

  function noteReply(): void {
    repliedAtMs = clock.now();
    repliedAt = clock.monotonic();
  }

  /** After an outage: makes sure of the groups, then reads what the old connection may not have brought. */
  async function recover(): Promise<void> {
    mustRecover = false;
    mustCount = true;
    try {
      if (!(await ownsName())) return;
      const infos = await inspect(blocking, streams, options);
      for (const [index, cursor] of cursors.entries()) await resume(cursor, infos[index]!);
      for (const cursor of cursors) await readPending(cursor);
    } catch (error) {
      mustRecover = true;
      throw error;
    }
  }

  async function resume(cursor: Cursor, info: StreamInfo): Promise<void> {
    if (cursor.isReplaced(info)) {
      logger.warn({ stream: cursor.stream }, 'the log was replaced; reading the new one from its start');
      replacedSinceMs = Math.min(replacedSinceMs ?? Number.POSITIVE_INFINITY, repliedAtMs - historySlackMs);
      await makeGroup(blocking, cursor.stream, options, '0');
      cursor.restart();
    } else if (!info.hasGroup) {
      logger.warn({ stream: cursor.stream }, "this replica's consumer group was gone; made again where it stood");
      await makeGroup(blocking, cursor.stream, options, cursor.readTo);
    }
  }

  async function readPending(cursor: Cursor): Promise<void> {
    let from: Position = '0';
    for (;;) {
      const asked = count;
      const reply = await blocking.xreadgroup('GROUP', group, instance, 'COUNT', asked, 'STREAMS', cursor.stream, from);
      const entries = ((reply ?? []) as [string, RawEntry[]][])[0]?.[1] ?? [];
      take(cursor, entries);
      adaptCount([entries]);
      if (entries.length < asked) return;
      from = entries.at(-1)![0];
    }
  }

  function takeBatch(): Batch | undefined {
    const { ready, rest } = mergeReady<Item>(cursors);
    if (ready.length === 0 && missed === 0) {
      endReplay();
      return undefined;
    }
    for (const [index, cursor] of cursors.entries()) {
      cursor.handOut(cursor.held.slice(0, cursor.held.length - rest[index]!.length));
      cursor.held = rest[index]!;
    }
    const batch: Batch = {
      entries: [],
      malformed: [],
      missed,
      ...(replacedSinceMs !== undefined && { replacedSinceMs }),
    };
    for (const item of ready) {
      if ('reason' in item) batch.malformed.push(item);
      else batch.entries.push(item);
    }
    const last = ready.at(-1)?.position ?? position;
    position = replacedSinceMs === undefined ? later(position, last) : last;
    missed = 0;
    endReplay();
    return batch;
  }

  function endReplay(): void {
    if (isDrained()) replacedSinceMs = undefined;
  }

  function isDrained(): boolean {
    return cursors.every((cursor) => cursor.complete && cursor.held.length === 0);
  }

  function acknowledge(batch: Batch): void {
    for (const cursor of cursors) {
      const inStream = (item: Item) => item.stream === cursor.stream;
      const positions = [...batch.entries, ...batch.malformed].filter(inStream).map((item) => item.position);
      if (positions.length === 0) continue;
      cursor.acknowledged(positions);
      xack(cursor.stream, positions);
    }
  }

  /** Not awaited: what Redis did not hear is found again among the pending entries, and acknowledged then. */
  function xack(stream: string, positions: Position[]): void {
    commands.xack(stream, group, ...positions).catch(() => {
      mustRecover = true;
    });
  }

  async function afterFailure(error: unknown): Promise<void> {
    mustRecover = true;
    if (isReady(blocking)) {
      const reason = withoutArguments(error).message;
      if (saysFailure.isDue()) logger.warn({ reason }, 'reading from Redis failed; trying again');
      await pause(clock, pauseMs);
    }
    await untilReady(blocking, clock, () => !closed);
  }

  return {
    read,
    acknowledge,
    get position() {
      return position;
    },
    get silentMs() {
      return isReady(blocking) ? clock.monotonic() - deliveredAt : Number.POSITIVE_INFINITY;
    },
    async streamStates(redis) {
      const infos = await inspect(redis, streams, options);
      return cursors.map((cursor, index) => ({
        stream: cursor.stream,
        depth: infos[index]!.length,
        lag: cursor.lag(infos[index]!),
      }));
    },
    async close() {
      if (closed) return;
      closed = true;
      blocking.off('close', onClose);
      blocking.disconnect();
      for (const { stream } of cursors) await removeGroup(commands, stream, options, token);
    },
  };
}

function sizeOf(fields: string[] | null): number {
  return fields?.reduce((sum, field) => sum + field.length, 0) ?? 0;
}

function later(a: Position, b: Position): Position {
  return comparePositions(a, b) >= 0 ? a : b;
}
