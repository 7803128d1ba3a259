// Whether this replica has lost the log that others still read: then it keeps all rooms at the bridge, or, without fallback, its clients
// miss the stream lane; new clients had better come to another one. In come what the reader knows and what the other replicas say, out
// goes a yes or no.

import type { ReadMemory } from '../consumer/read-memory.ts';
import type { Log } from '../log/log.ts';
import { type Peers, peerPaths } from '../peers/peers.ts';
import type { RoomLanes } from '../rooms/room-lanes.ts';
import type { Clock } from '../telemetry/clock.ts';
import type { Logger } from '../telemetry/logger.ts';

export interface ReaderWatchParts {
  roomLanes: Pick<RoomLanes, 'usesStream'>;
  reads: Pick<ReadMemory, 'stalenessMs'>;
  log: Pick<Log, 'reachable'>;
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
    return this.#parts.reads.stalenessMs < liveMs;
  }

  /** Where the log is away for all, no replica is better than this one. */
  get isCutOff(): boolean {
    const { roomLanes, log, clock } = this.#parts;
    if (!roomLanes.usesStream || this.reads || clock.monotonic() - this.#readAt < patienceMs) return false;
    return log.reachable || this.#othersRead;
  }

  close(): void {
    this.#stop();
  }

  async #look(): Promise<void> {
    const { roomLanes, log, peers, clock } = this.#parts;
    if (this.reads) this.#readAt = clock.monotonic();
    const mustAsk = roomLanes.usesStream && !this.reads && !log.reachable;
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
