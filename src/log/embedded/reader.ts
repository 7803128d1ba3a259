// The replica's cursor over the embedded log: in come rows of the store, out go batches of decoded entries.
// Promises: log order over all streams, from the tail at which it was opened; a waiting read wakes at the commit; entries
// that were trimmed unread are counted. The cursor lives as long as the process: a new one replays nothing.

import type { Clock } from '../../telemetry/clock.ts';
import type { Logger } from '../../telemetry/logger.ts';
import { decodeEntry } from '../entry.ts';
import { type Batch, countsMissed, maxReadBytes, type Position, type Reader } from '../log.ts';
import type { Row, Store } from './store.ts';

const maxBatchRows = 500;
/** ms until a read that failed is tried again. */
const retryMs = 1_000;

export class EmbeddedReader implements Reader {
  /** The log is in this process: what is committed is known. */
  readonly stalenessMs = 0;
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #logger: Logger;
  /** Per stream the number of the last entry read, and of the last one acknowledged. */
  readonly #read = new Map<string, number>();
  readonly #acknowledged = new Map<string, number>();
  readonly #ends = new WeakMap<Batch, Map<string, number>>();
  #position: Position;
  #closed = false;
  /** Whether the file cannot be read at this moment. */
  fails = false;
  #wake = () => {};

  constructor(store: Store, streams: string[], clock: Clock, logger: Logger) {
    this.#store = store;
    this.#clock = clock;
    this.#logger = logger;
    this.#position = store.tail;
    for (const stream of streams) {
      this.#read.set(stream, store.extent(stream).last);
      this.#acknowledged.set(stream, store.extent(stream).last);
    }
  }

  get position(): Position {
    return this.#position;
  }

  get streams(): string[] {
    return [...this.#read.keys()];
  }

  /** Entries of the stream that are still kept and not acknowledged. */
  lag(stream: string): number {
    const { first, last } = this.#store.extent(stream);
    return last - Math.max(first - 1, this.#acknowledged.get(stream) ?? last);
  }

  async read(): Promise<Batch | undefined> {
    while (!this.#closed) {
      const rows = this.#nextRows();
      if (rows.length > 0) return this.#toBatch(rows);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return undefined;
  }

  acknowledge(batch: Batch): void {
    for (const [stream, nth] of this.#ends.get(batch) ?? []) this.#acknowledged.set(stream, nth);
  }

  /** Called after each commit. */
  wake(): void {
    this.#wake();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#wake();
  }

  /** Passes over the rows of streams that were not asked for. */
  #nextRows(): Row[] {
    for (;;) {
      const rows = this.#fetch();
      if (rows.length === 0) return rows;
      this.#position = rows.at(-1)!.position;
      const wanted = rows.filter(({ stream }) => this.#read.has(stream));
      if (wanted.length > 0) return wanted;
    }
  }

  #fetch(): Row[] {
    try {
      const rows = this.#store.after(this.#position, maxBatchRows, maxReadBytes);
      this.fails = false;
      return rows;
    } catch (error) {
      const reason = (error as Error).message;
      if (!this.fails) this.#logger.error({ code: 'LOG_UNAVAILABLE', reason }, 'the embedded log cannot be read');
      this.fails = true;
      this.#clock.after(retryMs, () => this.#wake());
      return [];
    }
  }

  #toBatch(rows: Row[]): Batch {
    const batch: Batch = { entries: [], malformed: [], missed: 0 };
    for (const { stream, position, nth, fields } of rows) {
      if (countsMissed(stream)) batch.missed += nth - this.#read.get(stream)! - 1;
      this.#read.set(stream, nth);
      const decoded = decodeEntry(stream, position, fields);
      if ('reason' in decoded) batch.malformed.push(decoded);
      else batch.entries.push(decoded);
    }
    this.#ends.set(batch, new Map(rows.map(({ stream, nth }) => [stream, nth])));
    return batch;
  }
}
