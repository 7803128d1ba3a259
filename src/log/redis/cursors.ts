// Where this replica stands in all streams together: one cursor a stream (cursor.ts), one order over all of them (merge.ts). In come
// Redis' replies, out go batches in log order, and what was trimmed unread. Knows no connection.

import { type Batch, comparePositions, type Entry, type Malformed, type Position, type StreamState } from '../log.ts';
import { Cursor, type Item, type RawEntry } from './cursor.ts';
import type { StreamInfo } from './groups.ts';
import { mergeReady } from './merge.ts';

/** Entries of one stream. */
export interface StreamPositions {
  stream: string;
  positions: Position[];
}

export class Cursors {
  readonly all: readonly Cursor[];
  readonly streams: string[];
  readonly #byStream: Map<string, Cursor>;
  #position: Position;
  #missed = 0;
  /** Held of streams whose log was replaced: handed out before anything of the new one. */
  #ofOldLog: Item[] = [];
  /** A replaced log is read from its start: the position is not the highest that was read. */
  #wentBack = false;

  /** @param tails what Redis says of each stream where the reader begins, at its end */
  constructor(streams: string[], tails: StreamInfo[]) {
    this.streams = streams;
    this.all = streams.map((stream, index) => new Cursor(stream, tails[index]!));
    this.#byStream = new Map(this.all.map((cursor) => [cursor.stream, cursor]));
    this.#position = this.all.map((cursor) => cursor.readTo).reduce(later, '0-0');
  }

  /** As {@link Reader.position}. */
  get position(): Position {
    return this.#position;
  }

  /** Whether every stream was read to its end, and all of it was handed out. */
  get isDrained(): boolean {
    return this.all.every((cursor) => cursor.complete && cursor.held.length === 0);
  }

  /** Takes what a read brought of one stream. @returns known entries that only wait for their acknowledgement */
  take(stream: string, entries: RawEntry[]): Position[] {
    const { missed, again } = this.#byStream.get(stream)!.take(entries);
    this.#missed += missed;
    return again;
  }

  /**
   * Of `wanted` at most `count` entries each were asked for.
   * @returns whether any stream came back full, and so may have more
   */
  noteRead(wanted: Cursor[], count: number, replies: [stream: string, entries: RawEntry[]][]): boolean {
    const full = replies.filter(([, entries]) => entries.length >= count).map(([stream]) => stream);
    for (const cursor of this.all) cursor.complete = wanted.includes(cursor) && !full.includes(cursor.stream);
    return full.length > 0;
  }

  /** Counts what was trimmed unread. @returns whether nothing is left to read, so that the count is exact */
  countMissed(infos: StreamInfo[]): boolean {
    for (const [index, cursor] of this.all.entries()) this.#missed += cursor.countMissed(infos[index]!);
    return this.all.every((cursor, index) => cursor.isAtTail(infos[index]!));
  }

  /** Another log stands in this stream's place: what was published before `sinceMs` is history in it. */
  restart(cursor: Cursor, sinceMs: number): void {
    this.#wentBack = true;
    this.#ofOldLog.push(...cursor.restart(sinceMs));
  }

  /** What nothing unread can precede any more; undefined where there is nothing, and nothing was missed. */
  takeBatch(): Batch | undefined {
    const { ready, rest } = mergeReady<Item>([...this.all]);
    const old = this.#ofOldLog.splice(0).sort((a, b) => comparePositions(a.position, b.position));
    const items = [...old, ...ready];
    const batch = items.length > 0 || this.#missed > 0 ? this.#toBatch(items) : undefined;
    for (const [index, cursor] of this.all.entries()) {
      cursor.handOut(cursor.held.slice(0, cursor.held.length - rest[index]!.length));
      cursor.held = rest[index]!;
    }
    if (this.isDrained) this.#caughtUp();
    return batch;
  }

  #caughtUp(): void {
    this.#wentBack = false;
    for (const cursor of this.all) cursor.caughtUp();
  }

  /** @returns by stream what is to be acknowledged */
  acknowledge({ entries, malformed }: Batch): StreamPositions[] {
    return this.all.flatMap((cursor) => {
      const inStream = ({ stream }: Item) => stream === cursor.stream;
      const positions = [...entries, ...malformed].filter(inStream).map((item) => item.position);
      cursor.acknowledged(positions);
      return positions.length === 0 ? [] : [{ stream: cursor.stream, positions }];
    });
  }

  states(infos: StreamInfo[]): StreamState[] {
    return this.all.map((cursor, index) => {
      const info = infos[index]!;
      return { stream: cursor.stream, depth: info.length, lag: cursor.lag(info) };
    });
  }

  #toBatch(items: Item[]): Batch {
    const entries: Entry[] = [];
    const malformed: Malformed[] = [];
    for (const item of items) {
      if ('reason' in item) malformed.push(item);
      else entries.push(item);
    }
    const missed = this.#missed;
    const last = items.at(-1)?.position ?? this.#position;
    this.#position = this.#wentBack ? last : later(this.#position, last);
    this.#missed = 0;
    return { entries, malformed, missed };
  }
}

function later(a: Position, b: Position): Position {
  return comparePositions(a, b) >= 0 ? a : b;
}
