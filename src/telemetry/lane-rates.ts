// What each lane did in the last seconds: in come the counters and histograms of /metrics, read once a second, out go differences.
// Promise: readings of several replicas can be added up, latencies included, as they travel as histograms.

import type { Clock } from './clock.ts';
import { secondsBuckets as bounds, type Metrics, type Transport } from './metrics.ts';

/** One lane within a window. */
export interface LaneReading {
  /** Events that it took, repeats included. */
  events: number;
  /** Events that it did not take. */
  failures: number;
  /** From publish to broadcast: events up to each bound of `secondsBuckets`, and all. */
  delivered: number[];
}

export interface LaneReadings {
  windowMs: number;
  bridge: LaneReading;
  stream: LaneReading;
  /** Calls that the log could not take and that went to the bridge. */
  fallbacks: number;
  /** Entries that were trimmed unread. */
  missed: number;
}

interface Totals extends Omit<LaneReadings, 'windowMs'> {
  /** ms, monotonic */
  at: number;
}

const everyMs = 1_000;
const windowReadings = 10;
const lanes: Record<'bridge' | 'stream', Transport> = { bridge: 'http', stream: 'redis_streams' };

export class LaneRates {
  readonly #metrics: Metrics;
  readonly #clock: Clock;
  readonly #stop: () => void;
  /** Oldest first. */
  readonly #totals: Totals[] = [];

  constructor({ metrics, clock }: { metrics: Metrics; clock: Clock }) {
    this.#metrics = metrics;
    this.#clock = clock;
    this.#stop = clock.every(everyMs, () => this.#keep());
  }

  /** What has happened since 10 s ago, or since the start. */
  async read(): Promise<LaneReadings> {
    const now = await this.#total();
    const then = this.#totals[0];
    const windowMs = then === undefined ? 0 : now.at - then.at;
    return {
      windowMs,
      bridge: difference(now.bridge, then?.bridge),
      stream: difference(now.stream, then?.stream),
      fallbacks: now.fallbacks - (then?.fallbacks ?? 0),
      missed: now.missed - (then?.missed ?? 0),
    };
  }

  close(): void {
    this.#stop();
  }

  async #keep(): Promise<void> {
    this.#totals.push(await this.#total());
    if (this.#totals.length > windowReadings) this.#totals.shift();
  }

  async #total(): Promise<Totals> {
    const { published, deliveryDuration, fallback, missed } = this.#metrics;
    const reads = [published.get(), deliveryDuration.get(), fallback.get(), missed.get()] as const;
    const [events, durations, fallbacks, unread] = await Promise.all(reads);
    const ofLane = (transport: Transport): LaneReading => {
      const own = events.values.filter(({ labels }) => labels.transport === transport);
      const failed = own.filter(({ labels }) => labels.status === 'failure');
      const buckets = durations.values.filter(
        ({ metricName, labels }) => metricName?.endsWith('_bucket') && labels.transport === transport,
      );
      return {
        events: totalValue(own) - totalValue(failed),
        failures: totalValue(failed),
        delivered: [...bounds, '+Inf'].map((le) =>
          totalValue(buckets.filter(({ labels }) => (labels as { le?: number | string }).le === le)),
        ),
      };
    };
    return {
      at: this.#clock.monotonic(),
      bridge: ofLane(lanes.bridge),
      stream: ofLane(lanes.stream),
      fallbacks: totalValue(fallbacks.values),
      missed: totalValue(unread.values),
    };
  }
}

/** @param readings of the same window */
export function addUp(readings: LaneReadings[]): LaneReadings {
  const ofLane = (lane: 'bridge' | 'stream'): LaneReading => ({
    events: total(readings.map((each) => each[lane].events)),
    failures: total(readings.map((each) => each[lane].failures)),
    delivered: [...bounds, 0].map((_, i) => total(readings.map((each) => each[lane].delivered[i] ?? 0))),
  });
  return {
    windowMs: Math.max(0, ...readings.map(({ windowMs }) => windowMs)),
    bridge: ofLane('bridge'),
    stream: ofLane('stream'),
    fallbacks: total(readings.map(({ fallbacks }) => fallbacks)),
    missed: total(readings.map(({ missed }) => missed)),
  };
}

/**
 * As Prometheus' histogram_quantile: within a bucket evenly spread.
 * @param share 0.95 for P95
 * @returns ms; undefined where nothing was delivered
 */
export function quantileMs({ delivered }: LaneReading, share: number): number | undefined {
  const wanted = (delivered.at(-1) ?? 0) * share;
  if (wanted === 0) return undefined;
  const i = delivered.findIndex((count) => count >= wanted);
  const [low, high] = [bounds[i - 1] ?? 0, bounds[i]];
  // Above the highest bound nothing is known but that.
  if (high === undefined) return bounds.at(-1)! * 1_000;
  const before = delivered[i - 1] ?? 0;
  return (low + ((high - low) * (wanted - before)) / (delivered[i]! - before)) * 1_000;
}

function difference(now: LaneReading, then: LaneReading | undefined): LaneReading {
  return {
    events: now.events - (then?.events ?? 0),
    failures: now.failures - (then?.failures ?? 0),
    delivered: now.delivered.map((count, i) => count - (then?.delivered[i] ?? 0)),
  };
}

function totalValue(values: { value: number }[]): number {
  return total(values.map(({ value }) => value));
}

export function total(values: number[]): number {
  return values.reduce((all, value) => all + value, 0);
}
