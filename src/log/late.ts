// A log that may not be there yet, so that a sidecar in front of a bridge can start while Redis is down: in comes a way to
// open the log, out goes a Log at once. Until it is open every append is refused (and so falls back), then it is that log.

import { CrossfadeError, type ErrorCode, hasCode } from '../errors.ts';
import type { Clock } from '../telemetry/clock.ts';
import type { Logger } from '../telemetry/logger.ts';
import { Seldom } from '../telemetry/seldom.ts';
import type {
  AcceptedId,
  AppendResult,
  ClaimResult,
  CommitResult,
  ForeignReader,
  Log,
  NewEntry,
  Reader,
  Replica,
  Roster,
  SharedState,
  StreamState,
} from './log.ts';

/** Between attempts, beside the time that an attempt itself waits. */
const retryMs = 1_000;
const sayEveryMs = 10_000;

export class LateLog implements Log {
  readonly #roster = new LateRoster();
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #says: Seldom;
  readonly #opened: Promise<Log | undefined>;
  #log: Log | undefined;
  #endWaiting = () => {};
  #closed = false;

  constructor(open: () => Promise<Log>, clock: Clock, logger: Logger) {
    this.#clock = clock;
    this.#logger = logger;
    this.#says = new Seldom(clock, sayEveryMs);
    this.#opened = this.#openUntilItIs(open);
    // Whoever opens the reader gets the error; until then it is nobody's.
    this.#opened.catch(() => {});
  }

  get roster(): Roster {
    return this.#roster;
  }

  get reachable(): boolean {
    return this.#log?.reachable ?? false;
  }

  get refusal(): string | undefined {
    return this.#log?.refusal;
  }

  async append(entry: NewEntry): Promise<AppendResult> {
    if (this.#log !== undefined) return this.#log.append(entry);
    throw notOpen('LOG_APPEND_REFUSED');
  }

  claim(eventId: string, epoch?: number): Promise<ClaimResult> {
    return this.#ask((log) => log.claim(eventId, epoch));
  }

  async settle(eventId: string, kept: boolean): Promise<void> {
    await this.#log?.settle(eventId, kept);
  }

  rememberIds(ids: AcceptedId[]): Promise<void> {
    return this.#ask((log) => log.rememberIds(ids));
  }

  time(): Promise<number> {
    return this.#ask((log) => log.time());
  }

  readState(): Promise<SharedState | undefined> {
    return this.#ask((log) => log.readState());
  }

  async commitState(...commit: Parameters<Log['commitState']>): Promise<CommitResult> {
    if (this.#log !== undefined) return this.#log.commitState(...commit);
    throw notOpen('LOG_APPEND_REFUSED');
  }

  foreignReaders(streams: string[], withinMs: number): Promise<ForeignReader[]> {
    return this.#ask((log) => log.foreignReaders(streams, withinMs));
  }

  async share(key: string, value: string, ttlMs: number): Promise<void> {
    await this.#log?.share(key, value, ttlMs);
  }

  shared(key: string): Promise<string | undefined> {
    return this.#ask((log) => log.shared(key));
  }

  /** Waits until the log is open and answers. Errors: LOG_INSTANCE_TAKEN, CONFIG_INVALID; LOG_UNAVAILABLE once it was closed. */
  async openReader(streams: string[]): Promise<Reader> {
    const log = await this.#opened;
    while (log !== undefined && !this.#closed) {
      try {
        return await log.openReader(streams);
      } catch (error) {
        // It may have gone away again just now.
        if (!hasCode(error, 'LOG_UNAVAILABLE')) throw error;
        this.#say(error);
      }
      await this.#pause();
    }
    throw notOpen();
  }

  streamStates(): Promise<StreamState[]> {
    return this.#ask((log) => log.streamStates());
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#endWaiting();
    await this.#log?.close();
  }

  async #openUntilItIs(open: () => Promise<Log>): Promise<Log | undefined> {
    while (!this.#closed) {
      try {
        const log = await open();
        if (this.#closed) await log.close();
        else this.#use(log);
      } catch (error) {
        if (!hasCode(error, 'LOG_UNAVAILABLE')) throw error;
        this.#say(error);
      }
      if (this.#log !== undefined || this.#closed) return this.#log;
      await this.#pause();
    }
    return undefined;
  }

  #say(error: CrossfadeError): void {
    if (!this.#says.isDue()) return;
    this.#logger.warn({ code: error.code }, `${error.message}; every call goes to the bridge until it does`);
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      this.#endWaiting = resolve;
      this.#clock.after(retryMs, resolve);
    });
  }

  #use(log: Log): void {
    this.#roster.open(log.roster);
    this.#log = log;
  }

  async #ask<Answer>(question: (log: Log) => Promise<Answer>): Promise<Answer> {
    if (this.#log === undefined) throw notOpen();
    return question(this.#log);
  }
}

/** Remembers what this replica says of itself: proxied hubs serve their clients before the log is open. */
class LateRoster implements Roster {
  readonly #counters = new Map<string, number>();
  #facts: Record<string, string> | undefined;
  #roster: Roster | undefined;

  open(roster: Roster): void {
    for (const [counter, value] of this.#counters) roster.set(counter, value);
    if (this.#facts !== undefined) roster.describe(this.#facts);
    this.#counters.clear();
    this.#roster = roster;
  }

  set(counter: string, value: number): void {
    if (this.#roster !== undefined) this.#roster.set(counter, value);
    else if (value === 0) this.#counters.delete(counter);
    else this.#counters.set(counter, value);
  }

  describe(facts: Record<string, string>): void {
    this.#facts = facts;
    this.#roster?.describe(facts);
  }

  async read(): Promise<Map<string, number>[]> {
    if (this.#roster === undefined) throw notOpen();
    return this.#roster.read();
  }

  async replicas(counters?: string[]): Promise<Replica[]> {
    if (this.#roster === undefined) throw notOpen();
    return this.#roster.replicas(counters);
  }

  holdPresence(user: string, session: string): void {
    this.#roster?.holdPresence(user, session);
  }

  releasePresence(user: string, counter: string): void {
    this.#roster?.releasePresence(user, counter);
  }
}

function notOpen(code: ErrorCode = 'LOG_UNAVAILABLE'): CrossfadeError {
  return new CrossfadeError(code, 'the log is not open yet', { reason: 'connection_lost' });
}
