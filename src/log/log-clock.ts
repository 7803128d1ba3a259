// The log's time as this process can tell it: in come answers of the log to the question for its time, out goes how far that is from this
// process' own clock, and how exactly that is known. Promise: what two replicas say by it can be put in order, however far their clocks
// are apart.

import type { Clock } from '../telemetry/clock.ts';
import type { ClockOffset, Log } from './log.ts';

/** Of the last questions the one that was answered soonest counts. */
const maxOffsets = 8;

export class LogClock {
  readonly #log: Pick<Log, 'time'>;
  readonly #clock: Clock;
  readonly #offsets: ClockOffset[] = [];

  constructor(log: Pick<Log, 'time'>, clock: Clock) {
    this.#log = log;
    this.#clock = clock;
  }

  /** To be called every few seconds: clocks drift apart. Never rejects. */
  async measure(): Promise<void> {
    const askedAt = this.#clock.monotonic();
    const time = await this.#log.time().catch(() => undefined);
    if (time === undefined) return;
    const withinMs = (this.#clock.monotonic() - askedAt) / 2;
    this.#offsets.push({ toLogMs: time - askedAt - withinMs, withinMs });
    if (this.#offsets.length > maxOffsets) this.#offsets.shift();
  }

  /** undefined: it is not known. */
  get offset(): ClockOffset | undefined {
    return this.#offsets.toSorted((a, b) => a.withinMs - b.withinMs)[0];
  }
}
