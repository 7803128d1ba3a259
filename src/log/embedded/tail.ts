// A tail of streams of the embedded log: in come the streams, out go the entries behind the moment at which it was opened.

import { CrossfadeError } from '../../errors.ts';
import { type Clock, pause } from '../../telemetry/clock.ts';
import { decodeEntry } from '../entry.ts';
import { type Entry, maxReadBytes, type Position, type Tail } from '../log.ts';
import type { Row, Store } from './store.ts';

const maxRows = 500;
const waitMs = 200;

export class EmbeddedTail implements Tail {
  readonly #store: Store;
  readonly #streams: ReadonlySet<string>;
  readonly #clock: Clock;
  readonly #onClose: (tail: EmbeddedTail) => void;
  #position: Position;
  #wake = () => {};

  constructor(store: Store, streams: string[], clock: Clock, onClose: (tail: EmbeddedTail) => void) {
    this.#store = store;
    this.#streams = new Set(streams);
    this.#clock = clock;
    this.#onClose = onClose;
    this.#position = store.tail;
  }

  async read(): Promise<Entry[]> {
    const rows = this.#next();
    if (rows.length > 0) return entriesOf(rows, this.#streams);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    await Promise.race([promise, pause(this.#clock, waitMs)]);
    return entriesOf(this.#next(), this.#streams);
  }

  /** Called after each commit. */
  wake(): void {
    this.#wake();
  }

  close(): void {
    this.#onClose(this);
  }

  #next(): Row[] {
    try {
      const rows = this.#store.after(this.#position, maxRows, maxReadBytes);
      this.#position = rows.at(-1)?.position ?? this.#position;
      return rows;
    } catch (cause) {
      throw new CrossfadeError('LOG_UNAVAILABLE', 'the embedded log cannot be read', { cause });
    }
  }
}

function entriesOf(rows: Row[], streams: ReadonlySet<string>): Entry[] {
  return rows
    .filter(({ stream }) => streams.has(stream))
    .flatMap(({ stream, position, fields }) => {
      const entry = decodeEntry(stream, position, fields);
      return 'reason' in entry ? [] : [entry];
    });
}
