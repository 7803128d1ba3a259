// Where this replica stands in one stream. In come Redis' replies, out go decoded entries, each once, and the count of
// those that were trimmed unread. Knows no connection, so that every way a log can fail is a plain test.

import { decodeEntry } from '../entry.ts';
import { comparePositions, countsMissed, type Entry, type Malformed, type Position } from '../log.ts';
import type { StreamInfo } from './groups.ts';

export type Item = Entry | Malformed;

/** An entry as Redis replies it: position and flat fields; no fields where it was trimmed while it was pending. */
export type RawEntry = [position: Position, fields: string[] | null];

export class Cursor {
  readonly stream: string;
  /** The last position that was read of this stream; what stands at or before it is never handed out again. */
  readTo: Position;
  /** Read and not handed out yet, ascending. */
  held: Item[] = [];
  /** Whether the stream had nothing more at the moment of the last read. */
  complete = true;
  /** Handed out, and not acknowledged by the consumer. */
  readonly #delivering = new Set<Position>();
  /** How many of the entries that were ever added stand at or before `readTo`. */
  #count: number;
  /** Set while a log is read that stands in another one's place: what was published before this (ms since 1970) had its effect there. */
  #historyUntilMs: number | undefined;

  constructor(stream: string, tail: StreamInfo) {
    this.stream = stream;
    this.readTo = tail.lastId;
    this.#count = tail.added;
  }

  /**
   * Takes what a read brought, also of the group's pending entries.
   * @returns `again`: known entries that only wait for their acknowledgement; `missed`: trimmed before they were read
   */
  take(raw: RawEntry[]): { again: Position[]; missed: number } {
    const again: Position[] = [];
    let missed = 0;
    const waiting = new Set(this.held.map((item) => item.position));
    for (const [position, fields] of raw) {
      if (comparePositions(position, this.readTo) <= 0) {
        if (!waiting.has(position) && !this.#delivering.has(position)) again.push(position);
        continue;
      }
      this.readTo = position;
      this.#count += 1;
      if (fields === null) {
        missed += this.#countsMissed ? 1 : 0;
        again.push(position);
      } else this.held.push(this.#decode(position, fields));
    }
    return { again, missed };
  }

  #decode(position: Position, fields: string[]): Item {
    const item = decodeEntry(this.stream, position, fields);
    const until = this.#historyUntilMs;
    return until !== undefined && 'eventId' in item && item.publishedAtMs < until ? { ...item, isHistory: true } : item;
  }

  /**
   * Compares Redis' count of the stream with our own. Exact at the tail; before it, at least what is gone for certain.
   * @returns entries that were trimmed since, unread
   */
  countMissed(info: StreamInfo): number {
    const passed = this.isAtTail(info) ? info.added : info.added - info.length;
    const missed = Math.max(0, passed - this.#count);
    this.#count = this.isAtTail(info) ? info.added : this.#count + missed;
    return this.#countsMissed ? missed : 0;
  }

  get #countsMissed(): boolean {
    return countsMissed(this.stream);
  }

  /** Whether nothing is left to read. Not by the last id that was given: its entry may have been deleted. */
  isAtTail(info: StreamInfo): boolean {
    return comparePositions(info.topId || '0-0', this.readTo) <= 0;
  }

  /** Whether another, or an older, log stands there now: its last id is below what we have read. */
  isReplaced(info: StreamInfo): boolean {
    return comparePositions(info.lastId || '0-0', this.readTo) < 0;
  }

  /**
   * Goes back to the start of a replaced stream.
   * @param sinceMs what was published before it is history there
   * @returns what was held of the old one: its positions say nothing in the new one
   */
  restart(sinceMs: number): Item[] {
    const { held } = this;
    this.held = [];
    this.readTo = '0-0';
    this.#count = 0;
    this.complete = false;
    this.#delivering.clear();
    this.#historyUntilMs = Math.min(this.#historyUntilMs ?? Number.POSITIVE_INFINITY, sinceMs);
    return held;
  }

  /** A replaced log is read to its end: what comes from now on is no history. */
  caughtUp(): void {
    this.#historyUntilMs = undefined;
  }

  handOut(items: Item[]): void {
    for (const item of items) this.#delivering.add(item.position);
  }

  acknowledged(positions: Position[]): void {
    for (const position of positions) this.#delivering.delete(position);
  }

  /** Entries that this replica has not acknowledged. */
  lag(info: StreamInfo): number {
    const unread = Math.min(Math.max(0, info.added - this.#count), info.length);
    return unread + this.held.length + this.#delivering.size;
  }
}
