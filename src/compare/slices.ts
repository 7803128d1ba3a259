// The slices of one replica while they are being judged: in come entries and messages as they begin and end to be judged, out goes a
// report for each slice, in order, when nothing of it is open any more. Promise: every slice is reported, also an empty one: that
// a replica says nothing means that it was not there.

import { createHash } from 'node:crypto';
import type { Entry } from '../log/log.ts';
import { comparePositions } from '../log/log.ts';
import type { Clock } from '../telemetry/clock.ts';
import { secondsBuckets } from '../telemetry/metrics.ts';
import { type CompareSample, type Mark, maxListed, type SliceReport, type Suspect, sliceAt, sliceMs } from './slice.ts';

/** An entry of a slice. */
export interface Judged {
  entry: Entry;
  mark: Mark;
}

interface Work {
  entries: Judged[];
  /** Entries and messages that are not judged yet. */
  open: number;
  report: SliceReport;
}

/** ms behind its end after which a slice is reported as it stands, and after which it is judged; that this may take at most. */
const earlyMs = 3_000;
const reportMs = 9_000;
const lateMs = 14_000;
/** A replica that has stood still for longer leaves out what is behind it; an entry that stands further ahead is of no slice to come. */
const maxApart = 60;

export class Slices {
  readonly #instance: string;
  readonly #works = new Map<number, Work>();
  #next: number;
  /** The next one that is reported as it stands. */
  #nextEarly: number;
  readonly #firstBehindMs: number;
  /** ms that the log's time is behind the monotonic one of this process, at most: by the entries that have come the fastest. */
  #behindMs: number | undefined;

  constructor(instance: string, clock: Clock) {
    this.#instance = instance;
    this.#firstBehindMs = clock.monotonic() - clock.now();
    this.#next = sliceAt(clock.now()) + 1;
    this.#nextEarly = this.#next;
  }

  /** The log's time at this time of the process, ms. */
  #logTime(atMs: number): number {
    return atMs - (this.#behindMs ?? this.#firstBehindMs);
  }

  /**
   * @returns whether it is judged at all: entries before the first slice are not, nor those of a far future. Any writer may place one there,
   * and the log's time must not follow it: the slices until then would be reported one by one, for ever.
   */
  begin(judged: Judged, readAt: number): boolean {
    const placedMs = placeMs(judged);
    if (placedMs > this.#logTime(readAt) + maxApart * sliceMs) {
      this.disturb('an entry stands in the future', readAt, readAt);
      return false;
    }
    this.#behindMs = Math.min(this.#behindMs ?? Number.POSITIVE_INFINITY, readAt - placedMs);
    const work = this.#workAt(sliceAt(placedMs));
    if (work === undefined) return false;
    work.entries.push(judged);
    work.open++;
    return true;
  }

  /** The entry is judged. */
  end(judged: Judged): void {
    const work = this.#works.get(sliceAt(placeMs(judged)));
    if (work !== undefined) work.open--;
  }

  /** A message of the bridge has come. @returns its slice, which waits for {@link endMessage} */
  beginMessage(atMs: number): number {
    const slice = sliceAt(this.#logTime(atMs));
    const work = this.#workAt(slice);
    if (work !== undefined) work.open++;
    return slice;
  }

  endMessage(slice: number): void {
    const work = this.#works.get(slice);
    if (work !== undefined) work.open--;
  }

  /** undefined where it is over. */
  messagesIn(slice: number): SliceReport['messages'] | undefined {
    return this.#workAt(slice)?.report.messages;
  }

  /** Whether the entry's slice may still change. */
  isOpen(judged: Judged): boolean {
    return sliceAt(placeMs(judged)) >= this.#next;
  }

  sample(judged: Judged, sample: CompareSample): void {
    const report = this.#works.get(sliceAt(placeMs(judged)))?.report;
    if (report !== undefined && report.samples.length < maxListed) report.samples.push(sample);
  }

  suspect(slice: number, suspect: Suspect): void {
    const report = this.#workAt(slice)?.report;
    if (report === undefined || report.suspects.some(({ key }) => key === suspect.key)) return;
    if (report.suspects.length < maxListed) report.suspects.push(suspect);
  }

  /** One event that was shown on both lanes, how long it took on each, ms. */
  took(eventType: string, atMs: number, bridgeMs: number, streamMs: number): void {
    const report = this.#workAt(sliceAt(this.#logTime(atMs)))?.report;
    if (report === undefined) return;
    report.latencies[eventType] ??= { bridge: noLatencies(), stream: noLatencies() };
    const { bridge, stream } = report.latencies[eventType];
    bridge[bucketOfMs(bridgeMs)]! += 1;
    stream[bucketOfMs(streamMs)]! += 1;
  }

  /** From then until now what no entry explains cannot be held against the bridge. */
  disturb(why: string, sinceMs: number, nowMs: number): void {
    const from = Math.max(this.#next, sliceAt(this.#logTime(sinceMs)));
    for (let slice = from; slice <= sliceAt(this.#logTime(nowMs)); slice++) {
      const disturbed = this.#workAt(slice)?.report.disturbed;
      if (disturbed !== undefined && !disturbed.includes(why) && disturbed.length < 20) disturbed.push(why);
    }
  }

  unshadowed(sinceMs: number): void {
    const report = this.#workAt(sliceAt(this.#logTime(sinceMs)))?.report;
    if (report !== undefined) report.unshadowed++;
  }

  /**
   * The reports that are due, in order. What is known of a slice soon behind its end is told at once: a replica that dies has said by then
   * whether what no entry explains can be held against the bridge.
   */
  due(nowMs: number): SliceReport[] {
    const logNow = this.#logTime(nowMs);
    this.#next = Math.max(this.#next, sliceAt(logNow) - maxApart);
    this.#nextEarly = Math.max(this.#nextEarly, this.#next);
    const reports: SliceReport[] = [];
    for (; logNow >= (this.#nextEarly + 1) * sliceMs + earlyMs; this.#nextEarly++)
      reports.push(reportOf(this.#workAt(this.#nextEarly)!, false));
    for (; logNow >= (this.#next + 1) * sliceMs + reportMs; this.#next++) {
      const work = this.#workAt(this.#next)!;
      if (work.open > 0 && logNow < (this.#next + 1) * sliceMs + lateMs) break;
      reports.push(reportOf(work, true));
    }
    for (const slice of this.#works.keys()) if (slice < this.#next) this.#works.delete(slice);
    return reports;
  }

  #workAt(slice: number): Work | undefined {
    if (slice < this.#next) return undefined;
    const known = this.#works.get(slice);
    if (known !== undefined) return known;
    const report: SliceReport = {
      instance: this.#instance,
      slice,
      isJudged: false,
      disturbed: [],
      types: {},
      latencies: {},
      unshadowed: 0,
      samples: [],
      suspects: [],
      messages: { explained: 0, byClients: 0, ofHub: 0, unjudged: 0 },
    };
    const work = { entries: [], open: 0, report };
    this.#works.set(slice, work);
    return work;
  }
}

/** When it was kept, by its place in the log: ms since 1970. */
function placeMs({ entry }: Judged): number {
  return Number(entry.position.split('-')[0]);
}

function reportOf({ entries, report }: Work, isJudged: boolean): SliceReport {
  const ordered = entries.sort(
    (a, b) => comparePositions(a.entry.position, b.entry.position) || (a.entry.stream < b.entry.stream ? -1 : 1),
  );
  const types: SliceReport['types'] = {};
  for (const [type, ofType] of Map.groupBy(ordered, ({ entry }) => entry.eventType)) {
    const digest = createHash('sha1');
    for (const { entry } of ofType) digest.update(`${entry.stream} ${entry.position} `);
    types[type] = {
      digest: digest.digest('base64').slice(0, 12),
      marks: ofType.map(({ mark }) => mark).join(''),
    };
  }
  return { ...report, isJudged, types };
}

function noLatencies(): number[] {
  return [...secondsBuckets, 0].map(() => 0);
}

function bucketOfMs(ms: number): number {
  const at = secondsBuckets.findIndex((bound) => ms <= bound * 1_000);
  return at === -1 ? secondsBuckets.length : at;
}
