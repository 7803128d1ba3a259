// The log without a server: events come in, are kept in one SQLite file of this replica, and go out to its one reader.
// Promises: group commit (what one turn of the event loop asks for is one transaction and one fsync), every promise
// resolves after its commit, and a kill -9 loses nothing that was acknowledged.

import { CrossfadeError, type ErrorCode, type FailureReason } from '../../errors.ts';
import { encodeEntry, originOf } from '../entry.ts';
import {
  type AcceptedId,
  type AppendResult,
  type ClaimResult,
  type CommitOptions,
  type CommitResult,
  claimTtlMs,
  type ForeignReader,
  idempotencyTtlMs,
  type Log,
  type LogOptions,
  maxStreamBytes,
  type NewEntry,
  type Reader,
  type Roster,
  type StoredState,
  type StreamState,
  type Tail,
} from '../log.ts';
import { EmbeddedReader } from './reader.ts';
import { EmbeddedRoster } from './roster.ts';
import { EmbeddedShared } from './shared.ts';
import { Store } from './store.ts';
import { EmbeddedTail } from './tail.ts';

/** ms between two removals of expired ids; it is also how soon a log that failed is found to work again. */
const tidyMs = 5_000;
/** Ids remembered by one transaction, which holds up this process for a few milliseconds. */
const chunkSize = 1_000;

export type EmbeddedLogOptions = LogOptions & {
  /** The folder of `log.sqlite`; made where it is missing. */
  dataDir: string;
};

/** A change that waits for the commit of its turn. `run` is called within the transaction. */
interface PendingChange {
  run(): void;
  committed(): void;
  failed(reason: FailureReason, cause: unknown): void;
}

export class EmbeddedLog implements Log {
  readonly roster: Roster;
  /** A file that cannot be written counts as not reachable. */
  readonly refusal = undefined;
  readonly #options: EmbeddedLogOptions;
  readonly #shared: EmbeddedShared;
  readonly #stopTidying: () => void;
  #opened: Store | undefined;
  #waiting: PendingChange[] = [];
  #reader: EmbeddedReader | undefined;
  readonly #tails = new Set<EmbeddedTail>();
  #reachable = true;
  #closed = false;

  constructor(options: EmbeddedLogOptions) {
    this.#options = options;
    this.#shared = new EmbeddedShared(options.clock);
    this.roster = new EmbeddedRoster(options.instance);
    this.#stopTidying = options.clock.every(tidyMs, () => this.#tidy());
  }

  get reachable(): boolean {
    return this.#opened !== undefined && this.#reachable && !this.#closed && this.#reader?.fails !== true;
  }

  async open(): Promise<void> {
    if (this.#closed) throw new CrossfadeError('LOG_UNAVAILABLE', 'the embedded log is closed');
    this.#opened ??= Store.open(this.#options.dataDir);
  }

  append(entry: NewEntry): Promise<AppendResult> {
    return this.#change('LOG_APPEND_REFUSED', (nowMs) => this.#keepOnce(entry, nowMs));
  }

  claim(eventId: string, epoch?: number): Promise<ClaimResult> {
    return this.#change('LOG_UNAVAILABLE', (nowMs) => {
      if (this.#isStale(epoch)) return 'stale';
      const known = this.#known([eventId], nowMs);
      if (known !== undefined) return known;
      this.#store.rememberId(eventId, 'open', nowMs + claimTtlMs);
      return 'claimed';
    });
  }

  /** Of its one replica; the place of an entry does not count by it. */
  async time(): Promise<number> {
    return this.#options.clock.monotonic();
  }

  async settle(eventId: string, kept: boolean): Promise<void> {
    try {
      await this.#change('LOG_UNAVAILABLE', (nowMs) => {
        if (kept) this.#store.rememberId(eventId, 'kept', nowMs + idempotencyTtlMs);
        else this.#store.endClaim(eventId);
      });
    } catch (error) {
      this.#options.logger.warn({ err: error, eventId }, 'a claim could not be settled; it ends by its time');
    }
  }

  async rememberIds(ids: AcceptedId[]): Promise<void> {
    const wanted = ids.filter(({ eventId, ttlMs }) => eventId !== '' && ttlMs >= 1);
    for (let start = 0; start < wanted.length; start += chunkSize) {
      const chunk = wanted.slice(start, start + chunkSize);
      await this.#change('LOG_UNAVAILABLE', (nowMs) => {
        for (const { eventId, ttlMs } of chunk) this.#store.acceptId(eventId, nowMs + Math.ceil(ttlMs));
      });
    }
  }

  readState(): Promise<StoredState | undefined> {
    return this.#change('LOG_UNAVAILABLE', () => this.#store.state);
  }

  commitState(next: StoredState, { over, note, withinMs }: CommitOptions): Promise<CommitResult> {
    const { clock } = this.#options;
    const deadline = clock.monotonic() + withinMs;
    return this.#change('LOG_APPEND_REFUSED', (nowMs) => {
      if (clock.monotonic() > deadline) return 'late';
      const stored = this.#epoch;
      if (stored > over || stored >= next.epoch) return 'conflict';
      this.#keep(note, nowMs);
      this.#store.setState(next);
      return 'committed';
    });
  }

  /** Nobody else reads this log. */
  async foreignReaders(): Promise<ForeignReader[]> {
    return [];
  }

  async share(key: string, value: string, ttlMs: number): Promise<void> {
    this.#shared.set(key, value, ttlMs);
  }

  async shared(key: string): Promise<string | undefined> {
    return this.#shared.get(key) ?? this.#opened?.swapped(key, this.#options.clock.now());
  }

  swap(key: string, from: string | undefined, to: string, ttlMs: number): Promise<boolean> {
    return this.#change('LOG_UNAVAILABLE', (nowMs) => {
      if (this.#store.swapped(key, nowMs) !== from) return false;
      this.#store.setSwapped(key, to, nowMs + ttlMs);
      return true;
    });
  }

  async openReader(streams: string[]): Promise<Reader> {
    await this.open();
    await this.#reader?.close();
    this.#reader = new EmbeddedReader(this.#store, streams, this.#options.clock, this.#options.logger);
    return this.#reader;
  }

  async openTail(streams: string[]): Promise<Tail> {
    if (!this.reachable) throw new CrossfadeError('LOG_UNAVAILABLE', 'the embedded log is not open');
    const tail = new EmbeddedTail(this.#store, streams, this.#options.clock, (each) => this.#tails.delete(each));
    this.#tails.add(tail);
    return tail;
  }

  async streamStates(): Promise<StreamState[]> {
    return (this.#reader?.streams ?? []).map((stream) => {
      const { first, last } = this.#store.extent(stream);
      return { stream, depth: last - first + 1, lag: this.#reader!.lag(stream) };
    });
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#commit();
    this.#closed = true;
    this.#stopTidying();
    await this.#reader?.close();
    this.#opened?.close();
  }

  #keepOnce(entry: NewEntry, nowMs: number): AppendResult {
    if (this.#isStale(entry.epoch)) return 'stale';
    const ids = entry.idsSettled ? [] : entry.eventIds;
    const known = this.#known(ids, nowMs);
    if (known !== undefined) return known;
    this.#keep(entry, nowMs);
    for (const id of ids) this.#store.rememberId(id, 'kept', nowMs + idempotencyTtlMs);
    return 'appended';
  }

  #keep(entry: NewEntry, nowMs: number): void {
    const fields = encodeEntry(entry, originOf(entry, nowMs, this.#options));
    const bytes = this.#options.maxStreamBytes ?? maxStreamBytes;
    const isOver = this.#store.keep(entry.stream, fields, nowMs, { entries: entry.maxLength, bytes });
    if (isOver) this.#options.onOverBytes(entry.stream);
  }

  /** Whoever gets here has seen that it is open. */
  get #store(): Store {
    return this.#opened!;
  }

  get #epoch(): number {
    return this.#store.state?.epoch ?? 0;
  }

  #isStale(epoch: number | undefined): boolean {
    return epoch !== undefined && epoch < this.#epoch;
  }

  #known(ids: string[], nowMs: number): 'duplicate' | 'undecided' | undefined {
    const states = ids.filter((id) => id !== '').map((id) => this.#store.idState(id, nowMs));
    if (states.includes('kept')) return 'duplicate';
    return states.includes('open') ? 'undecided' : undefined;
  }

  /** Runs `run` in the transaction that ends this turn of the event loop; resolves when it is committed. */
  #change<T>(errorCode: ErrorCode, run: (nowMs: number) => T): Promise<T> {
    return new Promise((resolve, reject) => {
      const failed = (reason: FailureReason, cause?: unknown) =>
        reject(new CrossfadeError(errorCode, 'the embedded log could not write', { reason, cause }));
      if (this.#closed || this.#opened === undefined) return failed('connection_lost');
      let result: T;
      const runNow = () => {
        result = run(this.#options.clock.now());
      };
      if (this.#waiting.push({ run: runNow, committed: () => resolve(result), failed }) === 1) {
        setImmediate(() => this.#commit());
      }
    });
  }

  #commit(): void {
    const changes = this.#waiting;
    this.#waiting = [];
    if (changes.length === 0) return;
    try {
      this.#store.transact(() => {
        for (const { run } of changes) run();
      });
      if (!this.#reachable) this.#options.logger.info('the embedded log can write again');
      this.#reachable = true;
      for (const { committed } of changes) committed();
      this.#reader?.wake();
      for (const tail of this.#tails) tail.wake();
    } catch (error) {
      const reason = (error as Error).message;
      if (this.#reachable)
        this.#options.logger.error({ code: 'LOG_UNAVAILABLE', reason }, 'the embedded log cannot write');
      this.#reachable = false;
      for (const { failed } of changes) failed('redis_error', error);
    }
  }

  #tidy(): void {
    this.#shared.forgetExpired();
    this.#forgetIds().catch(() => undefined);
  }

  /** A portion in a turn, until none is over. */
  async #forgetIds(): Promise<void> {
    while (await this.#change('LOG_UNAVAILABLE', (nowMs) => this.#store.forgetExpired(nowMs)));
  }
}
