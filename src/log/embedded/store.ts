// The embedded log's file, `<dataDir>/log.sqlite`: in come encoded entries, event ids, the cutover state and shared values, out come rows in
// log order.
// Promises: one owner (an exclusive lock, which a kill -9 gives back), what transact() returns is on the disk (WAL,
// fsync at each commit) or nothing of it is, and positions that only rise, also over restarts and a clock that steps back;
// nobody but this user may read it (it holds the latest messages); a file that is damaged is said to be, in one line.

import { chmodSync, closeSync, existsSync, mkdirSync, openSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { CrossfadeError } from '../../errors.ts';
import { comparePositions, type Position, type StoredState } from '../log.ts';

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
  CREATE TABLE IF NOT EXISTS swapped (key TEXT PRIMARY KEY, value TEXT NOT NULL, expires INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS cutover (one INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, value TEXT NOT NULL);
  BEGIN IMMEDIATE; COMMIT;`;

/** A stream is trimmed when it is this much longer than it may be: one DELETE for many appends. */
const trimSlack = 1.1;
/** Of the bytes, how much goes at once. */
const bytePortion = 1 / 32;
const sqliteBusy = 5;
/** Ids that are forgotten in one transaction: some ms. */
const idPortion = 500;

/** The numbers of a stream's oldest and newest entry; first is last + 1 where it has none. `bytes`: what all of them take. */
interface Extent {
  first: number;
  last: number;
  bytes: number;
}

/** What a stream may hold. */
export interface Bounds {
  entries: number;
  bytes: number;
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
  readonly #sizes: StatementSync;
  readonly #after: StatementSync;
  readonly #idState: StatementSync;
  readonly #setId: StatementSync;
  readonly #acceptId: StatementSync;
  readonly #endClaim: StatementSync;
  readonly #expireIds: StatementSync;
  readonly #swapped: StatementSync;
  readonly #setSwapped: StatementSync;
  readonly #expireSwapped: StatementSync;
  readonly #state: StatementSync;
  readonly #setState: StatementSync;
  readonly #extents = new Map<string, Extent>();
  #tail: Position = '0-0';

  /** Errors: LOG_INSTANCE_TAKEN (another process, or another log of this one, has the file), LOG_UNAVAILABLE. */
  static open(dataDir: string): Store {
    const path = join(dataDir, 'log.sqlite');
    let database: DatabaseSync | undefined;
    try {
      makeFolder(dataDir);
      keepPrivate(path);
      database = new DatabaseSync(path);
      database.exec(schema);
      return new Store(database);
    } catch (cause) {
      database?.close();
      if ((cause as { errcode?: number }).errcode === sqliteBusy) {
        throw new CrossfadeError('LOG_INSTANCE_TAKEN', `another process has ${path} open`, { cause });
      }
      throw new CrossfadeError('LOG_UNAVAILABLE', `${path} cannot be opened: ${(cause as Error).message}`, { cause });
    }
  }

  private constructor(database: DatabaseSync) {
    this.#database = database;
    const prepare = (sql: string) => this.#database.prepare(sql);
    this.#insert = prepare('INSERT INTO entries (ms, seq, stream, nth, fields) VALUES (?, ?, ?, ?, ?)');
    this.#trim = prepare('DELETE FROM entries WHERE stream = ? AND nth < ?');
    this.#sizes = prepare('SELECT octet_length(fields) AS size FROM entries WHERE stream = ? ORDER BY nth');
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
    this.#expireIds = prepare(`DELETE FROM ids WHERE id IN (SELECT id FROM ids WHERE expires <= ? LIMIT ${idPortion})`);
    this.#swapped = prepare('SELECT value FROM swapped WHERE key = ? AND expires > ?');
    this.#setSwapped = prepare('INSERT OR REPLACE INTO swapped (key, value, expires) VALUES (?, ?, ?)');
    this.#expireSwapped = prepare('DELETE FROM swapped WHERE expires <= ?');
    this.#state = prepare('SELECT epoch, value FROM cutover');
    this.#setState = prepare('INSERT OR REPLACE INTO cutover (one, epoch, value) VALUES (1, ?, ?)');
    // Whoever had opened a claim is gone: the file has one owner at a time.
    database.exec('DELETE FROM ids WHERE kept = 0');
    this.#recall();
  }

  /** The position of the newest entry. */
  get tail(): Position {
    return this.#tail;
  }

  extent(stream: string): Extent {
    return this.#extents.get(stream) ?? { first: 1, last: 0, bytes: 0 };
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

  /** @returns whether older entries had to go for the bytes of all */
  keep(stream: string, fields: string[], nowMs: number, bounds: Bounds): boolean {
    const { first, last, bytes } = this.extent(stream);
    const position = nextPosition(this.#tail, nowMs);
    const text = JSON.stringify(fields);
    const extent = { first, last: last + 1, bytes: bytes + Buffer.byteLength(text) };
    this.#insert.run(...split(position), stream, extent.last, text);
    this.#tail = position;
    const isOverBytes = extent.bytes > bounds.bytes;
    const isOver = isOverBytes || extent.last - first + 1 > Math.ceil(bounds.entries * trimSlack);
    this.#extents.set(stream, isOver ? this.#trimmed(stream, extent, bounds) : extent);
    return isOverBytes;
  }

  /** Removes the oldest entries until the others are within both bounds, and a portion more of the bytes: the next append needs no trim. */
  #trimmed(stream: string, extent: Extent, bounds: Bounds): Extent {
    let { first, bytes } = extent;
    const maxBytes = extent.bytes > bounds.bytes ? bounds.bytes * (1 - bytePortion) : bounds.bytes;
    for (const { size } of this.#sizes.iterate(stream)) {
      if (extent.last - first + 1 <= bounds.entries && bytes <= maxBytes) break;
      // What was kept last stays, however large it is.
      if (first === extent.last) break;
      first++;
      bytes -= size as number;
    }
    this.#trim.run(stream, first);
    return { first, last: extent.last, bytes };
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

  /** Ids and shared values. @returns whether more ids are over: so many at once would hold the event loop up */
  forgetExpired(nowMs: number): boolean {
    this.#expireSwapped.run(nowMs);
    return Number(this.#expireIds.run(nowMs).changes) === idPortion;
  }

  /** A shared value that outlives the process. */
  swapped(key: string, nowMs: number): string | undefined {
    return this.#swapped.get(key, nowMs)?.value as string | undefined;
  }

  setSwapped(key: string, value: string, expiresMs: number): void {
    this.#setSwapped.run(key, value, Math.ceil(expiresMs));
  }

  get state(): StoredState | undefined {
    const row = this.#state.get();
    return row && { epoch: row.epoch as number, value: row.value as string };
  }

  setState({ epoch, value }: StoredState): void {
    this.#setState.run(epoch, value);
  }

  /** Entries behind `position` in log order, over all streams: at most `maxRows`, and a row more than `maxChars`. */
  after(position: Position, maxRows: number, maxChars: number): Row[] {
    const rows: Row[] = [];
    let chars = 0;
    for (const row of this.#after.iterate(...split(position), maxRows)) {
      const { ms, seq, stream, nth, fields } = row as Record<string, number> & { stream: string; fields: string };
      rows.push({ stream, position: `${ms}-${seq}`, nth: nth!, fields: readFields(fields) });
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
    const extents = `SELECT stream, min(nth) AS first, max(nth) AS last, sum(octet_length(fields)) AS bytes
      FROM entries GROUP BY stream`;
    for (const { stream, ...extent } of this.#database.prepare(extents).iterate()) {
      this.#extents.set(stream as string, { ...extent } as unknown as Extent);
    }
  }
}

/** Node's own recursive mkdir tries for ever, deaf to signals, where a parent is there and takes no folder (below /proc). */
function makeFolder(path: string): void {
  if (existsSync(path)) return;
  makeFolder(dirname(path));
  mkdirSync(path, { mode: 0o700 });
}

/** SQLite gives the files that it makes beside this one the same mode. */
function keepPrivate(path: string): void {
  closeSync(openSync(path, 'a', 0o600));
  for (const file of [path, `${path}-wal`]) if (existsSync(file)) chmodSync(file, 0o600);
}

/** What is damaged there has no fields: it is set aside as malformed, and what stands behind it is read. */
function readFields(text: string): string[] {
  try {
    const fields = JSON.parse(text);
    return Array.isArray(fields) && fields.every((field) => typeof field === 'string') ? fields : [];
  } catch {
    return [];
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
