// What a run of the load generator owes its clients, and what they were shown. In come the messages as they are sent and answered and
// each showing at a client; out go the counts and the latencies. Promises: bounded by the deliveries of the run.

import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';

/** What one client has seen of its room in this run. */
export interface Progress {
  room: number;
  /** The highest index that it was shown; -1 for none. */
  last: number;
  /** Passed over by a later one. */
  missing: Set<number>;
}

export interface Deliveries {
  /** Members times messages that were answered with success. */
  owed: number;
  /** Of these, shown once at least. */
  delivered: number;
  lost: number;
  /** Shown once more. */
  doubled: number;
  /** Shown behind one that was sent after this one had its answer. */
  outOfOrder: number;
}

/** ms; undefined where nothing was measured. */
export interface Percentiles {
  p50: number;
  p95: number;
  p99: number;
  max: number;
}

/** Of a stretch of a run; `at` in s from its beginning, the rest in ms. */
export interface Slice {
  at: number;
  p50: number;
  p99: number;
}

const microsecondsPerMs = 1_000;
const longestMs = 600_000;
const sliceCount = 60;

export class LatencyHistogram {
  readonly #histogram: RecordableHistogram;

  /** @param figures significant digits that are kept, 1 to 5 */
  constructor(figures = 3) {
    this.#histogram = createHistogram({ lowest: 1, highest: longestMs * microsecondsPerMs, figures });
  }

  get count(): number {
    return this.#histogram.count;
  }

  record(ms: number): void {
    this.#histogram.record(Math.max(1, Math.min(longestMs, ms) * microsecondsPerMs) | 0);
  }

  /** ms @param percentile 0 to 100 */
  at(percentile: number): number {
    return this.#histogram.percentile(percentile) / microsecondsPerMs;
  }

  percentiles(): Percentiles | undefined {
    if (this.count === 0) return undefined;
    return { p50: this.at(50), p95: this.at(95), p99: this.at(99), max: this.#histogram.max / microsecondsPerMs };
  }
}

export interface LedgerOptions {
  /** Messages of the run; message i goes to room i % rooms. */
  total: number;
  /** Members of each room. */
  members: number[];
  /** ms by {@link sharedNow}, and how long the sending takes. */
  startedAt: number;
  durationMs: number;
}

export class DeliveryLedger {
  readonly publish = new LatencyHistogram();
  readonly endToEnd = new LatencyHistogram();
  readonly #options: LedgerOptions;
  /** By index: from when its latency counts, when it was handed to a connection, when it was answered with success, how many saw it. */
  readonly #from: Float64Array;
  readonly #sentAt: Float64Array;
  readonly #acceptedAt: Float64Array;
  readonly #shown: Uint32Array;
  readonly #slices: LatencyHistogram[];
  /** When messages were shown of which nobody has told yet that they were sent, by index. */
  readonly #early = new Map<number, number[]>();
  /** Messages that were shown behind a later one, each with that one. */
  readonly #late: { index: number; behind: number }[] = [];
  #owed = 0;
  #delivered = 0;
  #doubled = 0;

  constructor(options: LedgerOptions) {
    const { total } = options;
    this.#options = options;
    this.#from = new Float64Array(total).fill(Number.NaN);
    this.#sentAt = new Float64Array(total);
    this.#acceptedAt = new Float64Array(total).fill(Number.POSITIVE_INFINITY);
    this.#shown = new Uint32Array(total);
    this.#slices = Array.from({ length: Math.min(sliceCount, total) }, () => new LatencyHistogram(2));
  }

  /** May be told after it was shown. @param from the time at which it should have been sent @param at when it was */
  sent(index: number, from: number, at: number): void {
    this.#from[index] = from;
    this.#sentAt[index] = at;
    for (const shownAt of this.#early.get(index) ?? []) this.#record(index, shownAt);
    this.#early.delete(index);
  }

  accepted(index: number, at: number): void {
    this.publish.record(at - this.#from[index]!);
    this.#acceptedAt[index] = at;
    const members = this.#membersOf(index);
    this.#owed += members;
    this.#delivered += Math.min(members, this.#shown[index]!);
  }

  /** A client was shown a message. */
  show(progress: Progress, index: number, now: number): void {
    if (index >= this.#options.total) return;
    if (index <= progress.last && !progress.missing.delete(index)) {
      this.#doubled++;
      return;
    }
    if (index > progress.last) {
      const rooms = this.#options.members.length;
      const next = progress.last === -1 ? progress.room : progress.last + rooms;
      for (let missed = next; missed < index; missed += rooms) progress.missing.add(missed);
      progress.last = index;
    } else {
      this.#late.push({ index, behind: progress.last });
    }
    this.#shown[index]!++;
    if (Number.isFinite(this.#acceptedAt[index]!)) this.#delivered++;
    if (Number.isNaN(this.#from[index]!)) this.#keepEarly(index, now);
    else this.#record(index, now);
  }

  #keepEarly(index: number, shownAt: number): void {
    const early = this.#early.get(index);
    if (early === undefined) this.#early.set(index, [shownAt]);
    else early.push(shownAt);
  }

  #record(index: number, shownAt: number): void {
    const from = this.#from[index]!;
    this.endToEnd.record(shownAt - from);
    const { startedAt, durationMs } = this.#options;
    const slice = Math.floor(((from - startedAt) / durationMs) * this.#slices.length);
    this.#slices[Math.max(0, Math.min(slice, this.#slices.length - 1))]?.record(shownAt - from);
  }

  get isComplete(): boolean {
    return this.#delivered >= this.#owed;
  }

  get deliveries(): Deliveries {
    return {
      owed: this.#owed,
      delivered: this.#delivered,
      lost: this.#owed - this.#delivered,
      doubled: this.#doubled,
      outOfOrder: this.#outOfOrder,
    };
  }

  get #outOfOrder(): number {
    return this.#late.filter(({ index, behind }) => this.#acceptedAt[index]! < this.#sentAt[behind]!).length;
  }

  /** What came when; stretches in which nothing came are left out. */
  get overTime(): Slice[] {
    const seconds = this.#options.durationMs / 1_000 / this.#slices.length;
    return this.#slices.flatMap((slice, n) =>
      slice.count === 0 ? [] : [{ at: n * seconds, p50: slice.at(50), p99: slice.at(99) }],
    );
  }

  #membersOf(index: number): number {
    const { members } = this.#options;
    return members[index % members.length]!;
  }
}
