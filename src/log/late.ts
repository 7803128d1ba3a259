// A log that may not be there yet, so that a sidecar in front of a bridge can start while Redis is down: in comes a way to
// open the log, out goes a Log at once. Until it is open every append is refused (and so falls back), then it is that log.

import { CrossfadeError, hasCode } from '../errors.ts';
import type { Clock } from '../telemetry/clock.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { AppendResult, ClaimResult, Log, NewEntry, Reader, Roster, StreamState } from './log.ts';

/** Between attempts, beside the time that an attempt itself waits. */
const retryMs = 1_000;

export class LateLog implements Log {
  readonly roster: Roster = {
    set: (counter, value) => this.#log?.roster.set(counter, value),
    read: () => this.#ask((log) => log.roster.read()),
    holdPresence: (user, session) => this.#log?.roster.holdPresence(user, session),
    releasePresence: (user, counter) => this.#log?.roster.releasePresence(user, counter),
  };
  readonly #opened: Promise<Log | undefined>;
  #log: Log | undefined;
  #endWaiting = () => {};
  #closed = false;

  constructor(open: () => Promise<Log>, clock: Clock, logger: Logger) {
    this.#opened = this.#openUntilItIs(open, clock, logger);
    // Whoever opens the reader gets the error; until then it is nobody's.
    this.#opened.catch(() => {});
  }

  get reachable(): boolean {
    return this.#log?.reachable ?? false;
  }

  async append(entry: NewEntry): Promise<AppendResult> {
    if (this.#log !== undefined) return this.#log.append(entry);
    throw new CrossfadeError('LOG_APPEND_REFUSED', 'the log is not open yet', { reason: 'connection_lost' });
  }

  claim(eventId: string): Promise<ClaimResult> {
    return this.#ask((log) => log.claim(eventId));
  }

  async settle(eventId: string, kept: boolean): Promise<void> {
    await this.#log?.settle(eventId, kept);
  }

  /** Waits until the log is open. Errors: LOG_INSTANCE_TAKEN, CONFIG_INVALID; LOG_UNAVAILABLE once it was closed. */
  async openReader(streams: string[]): Promise<Reader> {
    const log = await this.#opened;
    if (log === undefined) throw notOpen();
    return log.openReader(streams);
  }

  streamStates(): Promise<StreamState[]> {
    return this.#ask((log) => log.streamStates());
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#endWaiting();
    await this.#log?.close();
  }

  async #openUntilItIs(open: () => Promise<Log>, clock: Clock, logger: Logger): Promise<Log | undefined> {
    while (!this.#closed) {
      try {
        const log = await open();
        if (this.#closed) await log.close();
        else this.#log = log;
      } catch (error) {
        if (!hasCode(error, 'LOG_UNAVAILABLE')) throw error;
        logger.warn({ code: error.code }, `${error.message}; every call goes to the bridge until it does`);
      }
      if (this.#log !== undefined) return this.#log;
      await new Promise<void>((resolve) => {
        this.#endWaiting = resolve;
        clock.after(retryMs, resolve);
      });
    }
    return undefined;
  }

  async #ask<Answer>(question: (log: Log) => Promise<Answer>): Promise<Answer> {
    if (this.#log === undefined) throw notOpen();
    return question(this.#log);
  }
}

function notOpen(): CrossfadeError {
  return new CrossfadeError('LOG_UNAVAILABLE', 'the log is not open yet', { reason: 'connection_lost' });
}
