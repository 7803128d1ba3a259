// The probe: each second an entry of this replica's own goes the way of every event, into the log, out of it by the consumer and
// through the fan-out, to a member that is no client. In come the log and the edge, out goes how old the newest one is that has
// arrived: sockets that are up while nothing is delivered show by it. Promise: no client and no other program sees any of it.

import { randomBytes } from 'node:crypto';
import type { Member } from '../edge/audience.ts';
import type { Prepared } from '../edge/prepared.ts';
import { type Log, type NewEntry, probeStream } from '../log/log.ts';
import type { Clock } from '../telemetry/clock.ts';

export interface ProbeOptions {
  log: Pick<Log, 'append'>;
  clock: Clock;
}

const everyMs = 1_000;
/** A log that has kept none for so long keeps none now. */
const keptMs = 2_500;
/** Of the stream, for all replicas: a reader that is behind by more learns nothing from older ones. */
const maxProbes = 100;

export class Probe implements Member {
  readonly id = 'probe';
  readonly #options: ProbeOptions;
  /** Tells its own from those of a process before it. */
  readonly #run = randomBytes(9).toString('base64url');
  readonly #startedAt: number;
  /** ms, monotonic: when the newest was sent that has arrived. */
  #arrivedFrom: number | undefined;
  #keptAt = Number.NEGATIVE_INFINITY;
  #isSending = false;
  #stop = () => {};

  constructor(options: ProbeOptions) {
    this.#options = options;
    this.#startedAt = options.clock.monotonic();
  }

  start(): void {
    this.#stop = this.#options.clock.every(everyMs, () => this.send());
  }

  stop(): void {
    this.#stop();
  }

  /** Sends one at once, unless one is still on its way into the log. */
  async send(): Promise<void> {
    if (this.#isSending) return;
    const { log, clock } = this.#options;
    this.#isSending = true;
    try {
      await log.append(this.#next());
      this.#keptAt = clock.monotonic();
    } catch {
      // Whoever needs the log says what is wrong with it.
    } finally {
      this.#isSending = false;
    }
  }

  /** How long ago (ms) the newest was sent that has arrived; since the start of this replica where none has. */
  get ageMs(): number {
    return this.#options.clock.monotonic() - (this.#arrivedFrom ?? this.#startedAt);
  }

  get hasArrived(): boolean {
    return this.#arrivedFrom !== undefined;
  }

  /** Whether the log keeps them now, so that they must arrive. */
  get isKept(): boolean {
    return this.#options.clock.monotonic() - this.#keptAt < keptMs;
  }

  // As a member.

  write({ records }: Prepared): void {
    for (const { payload } of records) {
      const { run, sentAt } = (JSON.parse(payload) ?? {}) as { run?: unknown; sentAt?: unknown };
      if (run === this.#run && typeof sentAt === 'number')
        this.#arrivedFrom = Math.max(sentAt, this.#arrivedFrom ?? sentAt);
    }
  }

  terminate(): void {}

  #next(): NewEntry {
    return {
      eventIds: [],
      eventType: 'probe',
      stream: probeStream,
      maxLength: maxProbes,
      room: '',
      payload: JSON.stringify({ run: this.#run, sentAt: this.#options.clock.monotonic() }),
      deliveries: [],
    };
  }
}
