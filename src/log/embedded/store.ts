// The embedded log's file, `<dataDir>/log.sqlite`: in come encoded entries, event ids and the cutover state, out come rows in
// log order.
// Promises: one owner (an exclusive lock, which a kill -9 gives back), what transact() returns is on the disk (WAL,
// fsync at each commit) or nothing of it is, and positions that only rise, also over restarts and a clock that steps back.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { CrossfadeError } from '../../errors.ts';
import { comparePositions, type Position, type SharedState } from '../log.ts';

/**
 * `nth` numbers a stream's entries from 1 without holes, so a reader sees by it how many were trimmed before it came.
 * `fields` is the entry as encodeEntry() made it, as a JSON array. `ids.kept` is 0 while a claim is open.
 * `cutover` holds one row at most.
 */
const schema = `
  PRAGMA locking_mode = EXCLUSIVE;
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = FULL;
  CREATE TABLE IF NOT EXISTS entries (
    ms INTEGER, seq INTEGER, stream TEXT NOT NULL, nth INTEGER NOT NULL, fields TEXT NOT NULL,
    PRIMARY KEY (ms, seq), UNIQUE (stream, nth)
  );
  CREATE TABLE IF NOT EXISTS ids (id TEXT PRIMARY KEY, kept INTEGER NOT NULL, expires INTEGER NOT NULL) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS ids_by_expiry ON ids (expires);
  CREATE TABLE IF NOT EXISTS cutover (one INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, value TEXT NOT NULL);
  BEGIN IMMEDIATE; COMMIT;`;

/** A stream is trimmed when it is this much longer than it may be: one DELETE for many appends. */
const trimSlack = 1.1;
const sqliteBusy = 5;

/** The numbers of a stream's oldest and newest entry; first is last + 1 where it has none. */
interface Extent {
  first: number;
  last: number;
}

export interface Row {
  stream: string;
  position: Position;
  nth: number;
  fields: string[];
}

export class Store {
  readonly #database: DatabaseSync;
  readonly #insert: StatementSync;
  readonly #trim: StatementSync;
  readonly #after: StatementSync;
  readonly #idState: StatementSync;
  readonly #setId: StatementSync;
  readonly #acceptId: StatementSync;
  readonly #endClaim: StatementSync;
  readonly #expireIds: StatementSync;
  readonly #state: StatementSync;
  readonly #setState: StatementSync;
  readonly #extents = new Map<string, Extent>();
  #tail: Position = '0-0';

  /** Errors: LOG_INSTANCE_TAKEN (another process, or another log of this one, has the file), LOG_UNAVAILABLE. */
  constructor(dataDir: string) {
    this.#database = openDatabase(dataDir);
    const prepare = (sql: string) => this.#database.prepare(sql);
    this.#insert = prepare('INSERT INTO entries (ms, seq, stream, nth, fields) VALUES (?, ?, ?, ?, ?)');
    this.#trim = prepare('DELETE FROM entries WHERE stream = ? AND nth < ?');
    this.#after = prepare(
      'SELECT ms, seq, stream, nth, fields FROM entries WHERE (ms, seq) > (?, ?) ORDER BY ms, seq LIMIT ?',
    );
    this.#idState = prepare('SELECT kept FROM ids WHERE id = ? AND expires > ?');
    this.#setId = prepare('INSERT OR REPLACE INTO ids (id, kept, expires) VALUES (?, ?, ?)');
    this.#acceptId = prepare(
      `INSERT INTO ids (id, kept, expires) VALUES (?, 1, ?)
       ON CONFLICT (id) DO UPDATE SET kept = 1, expires = iif(kept, max(expires, excluded.expires), excluded.expires)`,
    );
    this.#endClaim = prepare('DELETE FROM ids WHERE id = ? AND kept = 0');
    this.#expireIds = prepare('DELETE FROM ids WHERE expires <= ?');
    this.#state = prepare('SELECT epoch, value FROM cutover');
    this.#setState = prepare('INSERT OR REPLACE INTO cutover (one, epoch, value) VALUES (1, ?, ?)');
    this.#recall();
  }

  /** The position of the newest entry. */
  get tail(): Position {
    return this.#tail;
  }

  extent(stream: string): Extent {
    return this.#extents.get(stream) ?? { first: 1, last: 0 };
  }

  /** Runs `change`, which may call the methods below, and commits; throws what went wrong after undoing all of it. */
  transact<T>(change: () => T): T {
    try {
      this.#database.exec('BEGIN IMMEDIATE');
      const result = change();
      this.#database.exec('COMMIT');
      return result;
    } catch (error) {
      this.#undo();
      throw error;
    }
  }

  keep(stream: string, fields: string[], nowMs: number, maxLength: number): void {
    const { first, last } = this.extent(stream);
    const position = nextPosition(this.#tail, nowMs);
    const extent = { first, last: last + 1 };
    this.#insert.run(...split(position), stream, extent.last, JSON.stringify(fields));
    this.#tail = position;
    if (extent.last - first + 1 > Math.ceil(maxLength * trimSlack)) {
      extent.first = extent.last - maxLength + 1;
      this.#trim.run(stream, extent.first);
    }
    this.#extents.set(stream, extent);
  }

  idState(id: string, nowMs: number): 'kept' | 'open' | 'unknown' {
    const row = this.#idState.get(id, nowMs);
    if (row === undefined) return 'unknown';
    return row.kept === 1 ? 'kept' : 'open';
  }

  rememberId(id: string, state: 'kept' | 'open', expiresMs: number): void {
    this.#setId.run(id, state === 'kept' ? 1 : 0, expiresMs);
  }

  /** Remembers an id as kept, never for less long than before. */
  acceptId(id: string, expiresMs: number): void {
    this.#acceptId.run(id, expiresMs);
  }

  /** Forgets an id unless it is kept. */
  endClaim(id: string): void {
    this.#endClaim.run(id);
  }

  forgetExpiredIds(nowMs: number): void {
    this.#expireIds.run(nowMs);
  }

  get state(): SharedState | undefined {
    const row = this.#state.get();
    return row && { epoch: row.epoch as number, value: row.value as string };
  }

  setState({ epoch, value }: SharedState): void {
    this.#setState.run(epoch, value);
  }

  /** Entries behind `position` in log order, over all streams: at most `maxRows`, and a row more than `maxChars`. */
  after(position: Position, maxRows: number, maxChars: number): Row[] {
    const rows: Row[] = [];
    let chars = 0;
    for (const row of this.#after.iterate(...split(position), maxRows)) {
      const { ms, seq, stream, nth, fields } = row as Record<string, number> & { stream: string; fields: string };
      rows.push({ stream, position: `${ms}-${seq}`, nth: nth!, fields: JSON.parse(fields) });
      chars += fields.length;
      if (chars > maxChars) break;
    }
    return rows;
  }

  close(): void {
    this.#database.close();
  }

  /** A transaction that SQLite itself has rolled back (a full disk) is over already. */
  #undo(): void {
    if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
    this.#recall();
  }

  /** Reads back what is kept in memory beside the file. */
  #recall(): void {
    const tail = this.#database.prepare('SELECT ms, seq FROM entries ORDER BY ms DESC, seq DESC LIMIT 1').get();
    this.#tail = tail === undefined ? '0-0' : `${tail.ms}-${tail.seq}`;
    this.#extents.clear();
    const extents = 'SELECT stream, min(nth) AS first, max(nth) AS last FROM entries GROUP BY stream';
    for (const { stream, first, last } of this.#database.prepare(extents).iterate()) {
      this.#extents.set(stream as string, { first: first as number, last: last as number });
    }
  }
}

function openDatabase(dataDir: string): DatabaseSync {
  const path = join(dataDir, 'log.sqlite');
  let database: DatabaseSync | undefined;
  try {
    mkdirSync(dataDir, { recursive: true });
    database = new DatabaseSync(path);
    database.exec(schema);
    return database;
  } catch (cause) {
    database?.close();
    if ((cause as { errcode?: number }).errcode === sqliteBusy) {
      throw new CrossfadeError('LOG_INSTANCE_TAKEN', `another process has ${path} open`, { cause });
    }
    throw new CrossfadeError('LOG_UNAVAILABLE', `${path} cannot be opened: ${(cause as Error).message}`, { cause });
  }
}

/** Later than the tail in any case: a clock that steps back stays in the tail's millisecond. */
function nextPosition(tail: Position, nowMs: number): Position {
  const now = `${Math.floor(nowMs)}-0`;
  if (comparePositions(now, tail) > 0) return now;
  const [ms, seq] = split(tail);
  return `${ms}-${seq + 1}`;
}

function split(position: Position): [ms: number, seq: number] {
  const [ms = 0, seq = 0] = position.split('-').map(Number);
  return [ms, seq];
}
