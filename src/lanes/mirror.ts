// The mirror: events that the bridge has delivered are also written to shadow streams, to be measured and compared.
// Promises: never in the call's way, never on a stream that is shown, bounded; what is dropped is counted.

import type { Log, NewEntry } from '../log/log.ts';
import { LogClock } from '../log/log-clock.ts';
import type { Clock } from '../telemetry/clock.ts';
import { LogThrottle } from '../telemetry/log-throttle.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Unshadowed } from './call.ts';

const maxPending = 1_000;
const sayEveryMs = 10_000;
const measureEveryMs = 1_000;

export class Mirror {
  readonly #log: Log;
  readonly #logger: Logger;
  readonly #metrics: Metrics;
  readonly #pending = new Set<Promise<void>>();
  readonly #clock: Clock;
  readonly #saysFailed: LogThrottle;
  readonly #onUnshadowed: Unshadowed['onUnshadowed'];
  readonly #logClock: LogClock;
  /** ms, monotonic */
  #measuredAt = Number.NEGATIVE_INFINITY;
  #measuring = Promise.resolve();
  #isFailing = false;

  /** @param options.onUnshadowed see call.ts */
  constructor(options: { log: Log; clock: Clock; logger: Logger; metrics: Metrics } & Unshadowed) {
    this.#log = options.log;
    this.#onUnshadowed = options.onUnshadowed;
    this.#clock = options.clock;
    this.#logClock = new LogClock(options.log, options.clock);
    this.#saysFailed = new LogThrottle(options.clock, sayEveryMs);
    this.#logger = options.logger;
    this.#metrics = options.metrics;
  }

  /** Whether the last event did not reach the log. */
  get isFailing(): boolean {
    return this.#isFailing;
  }

  /** Writes the event's shadow; its id stays the bridge lane's to remember. @param sentAt when its call went to the bridge, ms monotonic */
  shadow(entry: NewEntry, sentAt: number): void {
    this.#metrics.dualWriteSuccess.inc({ transport: 'http' });
    if (this.#pending.size >= maxPending) return this.#failed('too many shadows are pending', sentAt);
    const startedAt = this.#clock.monotonic();
    const writing = this.#stamped(entry, sentAt, startedAt)
      .then((stamped) => this.#log.append(stamped))
      .then(
        () => this.#succeeded(),
        (error: Error) => this.#failed(error.message, sentAt),
      )
      .finally(() => {
        const labels = { transport: 'redis_streams', event_type: entry.eventType };
        this.#metrics.publishDuration.observe(labels, (this.#clock.monotonic() - startedAt) / 1000);
        this.#pending.delete(writing);
      });
    this.#pending.add(writing);
  }

  async drain(): Promise<void> {
    await Promise.all(this.#pending);
  }

  /** With times that can be put in order with those of other replicas: how far this clock is from the log's goes with them. */
  async #stamped(entry: NewEntry, sentAt: number, answeredAt: number): Promise<NewEntry> {
    if (answeredAt - this.#measuredAt > measureEveryMs) {
      this.#measuredAt = answeredAt;
      this.#measuring = this.#logClock.measure();
    }
    if (this.#logClock.offset === undefined) await this.#measuring;
    const { offset } = this.#logClock;
    const mirrored = offset && { sentAt, answeredAt, ...offset };
    return { ...entry, ...(mirrored && { mirrored }), stream: shadowStream(entry.stream), idsSettled: true };
  }

  #succeeded(): void {
    this.#metrics.dualWriteSuccess.inc({ transport: 'redis_streams' });
    this.#isFailing = false;
  }

  #failed(reason: string, sentAt: number): void {
    this.#onUnshadowed('mirror failed', sentAt);
    this.#metrics.dualWriteFailure.inc({ transport: 'redis_streams' });
    this.#isFailing = true;
    if (this.#saysFailed.isDue()) this.#logger.warn({ reason }, 'events are not mirrored');
  }
}

/** `events:chat` is shadowed by `crossfade:shadow:events:chat`. */
export function shadowStream(stream: string): string {
  return `crossfade:shadow:${stream}`;
}
