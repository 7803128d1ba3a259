// Whether this replica has lost the log that others still read: then it keeps all rooms at the bridge, or, without fallback, its clients
// miss the stream lane; new clients had better come to another one. In come what the reader knows and what the other replicas say, out
// goes a yes or no.

import { type Peers, peerPaths } from '../peers/peers.ts';
import type { Clock } from '../telemetry/clock.ts';
import type { Logger } from '../telemetry/logger.ts';

export interface ReaderWatchParts {
  /** Whether rooms may be on the stream lane, as far as is known. */
  usesStream(): boolean;
  /** ms since the reader last had everything. */
  stalenessMs(): number;
  /** Whether the log answers this replica. */
  logAnswers(): boolean;
  peers: Pick<Peers, 'ask'>;
  clock: Clock;
  logger: Logger;
}

const everyMs = 1_000;
/** A live reader stays below this. */
const liveMs = 1_000;
/** ms without it after which clients should come to another replica. */
const patienceMs = 5_000;
const peerMs = 1_000;

export class ReaderWatch {
  readonly #parts: ReaderWatchParts;
  readonly #stop: () => void;
  /** ms, monotonic */
  #readAt: number;
  #othersRead = false;
  #asking = false;
  #wasCutOff = false;

  constructor(parts: ReaderWatchParts) {
    this.#parts = parts;
    this.#readAt = parts.clock.monotonic();
    this.#stop = parts.clock.every(everyMs, () => this.#look());
  }

  /** Whether this replica reads the log at this moment. */
  get reads(): boolean {
    return this.#parts.stalenessMs() < liveMs;
  }

  /** Whether the log answers this replica. */
  get logAnswers(): boolean {
    return this.#parts.logAnswers();
  }

  /** Where the log is away for all, no replica is better than this one. */
  get isCutOff(): boolean {
    const { usesStream, logAnswers, clock } = this.#parts;
    if (!usesStream() || this.reads || clock.monotonic() - this.#readAt < patienceMs) return false;
    return logAnswers() || this.#othersRead;
  }

  close(): void {
    this.#stop();
  }

  async #look(): Promise<void> {
    const { usesStream, logAnswers, peers, clock } = this.#parts;
    if (this.reads) this.#readAt = clock.monotonic();
    const mustAsk = usesStream() && !this.reads && !logAnswers();
    if (!mustAsk) this.#othersRead = false;
    else if (!this.#asking) {
      this.#asking = true;
      const { answers } = await peers.ask(peerPaths.reading, {}, peerMs).finally(() => {
        this.#asking = false;
      });
      this.#othersRead = answers.some((answer) => (answer as { reads?: unknown } | null)?.reads === true);
    }
    this.#tell();
  }

  #tell(): void {
    const { logger } = this.#parts;
    const { isCutOff } = this;
    if (isCutOff === this.#wasCutOff) return;
    this.#wasCutOff = isCutOff;
    if (isCutOff) logger.error({ code: 'LOG_UNAVAILABLE' }, 'others read the log, this replica does not');
    else logger.info('the log is read again, or its rooms are at the bridge');
  }
}
