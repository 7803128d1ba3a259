// One run of the compare, as it stands in the log: in come the replicas' reports of one slice after the other, out goes the run that
// follows. Pure. Promise: each slice is added once, whoever adds it; what no report tells is never taken for equal.

import { z } from 'zod';
import { total } from '../telemetry/lane-rates.ts';
import { type CompareSample, type Mark, marks, type SliceReport, sampleShape, stronger } from './slice.ts';

const count = z.int().min(0);
const when = z.iso.datetime();
const histogram = z.array(count).max(50);

const typeTotals = z.object({
  events: count,
  same: count,
  /** Equal but for what the contract ignores. */
  ignored: count,
  missing: count,
  changed: count,
  order: count,
  /** Mark -> events that could not be judged. */
  unjudged: z.record(z.string(), count),
  bridge: histogram,
  stream: histogram,
});
export type TypeTotals = z.infer<typeof typeTotals>;

const runShape = z.object({
  id: z.string(),
  by: z.string(),
  startedAt: when,
  endedAt: when.nullable(),
  /** `stopping`: what was seen before the stop is still being judged. */
  state: z.enum(['running', 'stopping', 'ended']),
  /** In words, where it has ended by itself. */
  why: z.string(),
  version: z.string(),
  contract: z.string(),
  /** The first slice of all, the next one to be added, and the last one, once it is known. */
  firstSlice: count,
  nextSlice: count,
  lastSlice: count.nullable(),
  /** Replica -> the last slice that it has reported. */
  replicas: z.record(z.string(), count),
  types: z.record(z.string(), typeTotals),
  /** Calls without a shadow: they could not be judged. */
  unshadowed: count,
  /** Messages of the bridge, see slice.ts; `alone`, `foreign`, `twice` and `outsider` are differences. */
  messages: z.object({
    explained: count,
    byClients: count,
    ofHub: count,
    unjudged: count,
    alone: count,
    foreign: count,
    twice: count,
    outsider: count,
  }),
  /** Reason -> slices in which what no entry explains could not be held against the bridge. */
  disturbed: z.record(z.string(), count),
  samples: z.array(sampleShape).max(10),
  /** Keys of what no entry explains, of the last slices: the same message at another witness is no second one. */
  recent: z.array(z.object({ slice: count, key: z.string() })).max(500),
});
export type CompareRun = z.infer<typeof runShape>;

export const maxSamples = 10;
/** Slices before and behind one in which a disturbance counts for it, too. */
export const aroundSlices = 2;
const maxRecent = 500;
const maxReasons = 20;

/** @returns undefined where the text is no run of this release */
export function readCompareRun(text: string): CompareRun | undefined {
  try {
    return runShape.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

export function newCompareRun(
  made: Pick<CompareRun, 'id' | 'by' | 'version' | 'contract' | 'firstSlice'>,
  nowMs: number,
): CompareRun {
  return {
    ...made,
    startedAt: new Date(nowMs).toISOString(),
    endedAt: null,
    state: 'running',
    why: '',
    nextSlice: made.firstSlice,
    lastSlice: null,
    replicas: {},
    types: {},
    unshadowed: 0,
    messages: { explained: 0, byClients: 0, ofHub: 0, unjudged: 0, alone: 0, foreign: 0, twice: 0, outsider: 0 },
    disturbed: {},
    samples: [],
    recent: [],
  };
}

/** Adds the next slice. @param reports of that slice @param disturbed why what no entry explains cannot be judged in it; empty: it can */
export function withSlice(run: CompareRun, reports: SliceReport[], disturbed: string[]): CompareRun {
  const slice = run.nextSlice;
  const types = { ...run.types };
  for (const type of new Set(reports.flatMap((report) => Object.keys(report.types))))
    types[type] = withMarks(types[type] ?? noEvents, mergedMarks(reports, type));
  for (const { latencies } of reports) {
    for (const [type, { bridge, stream }] of Object.entries(latencies)) {
      const before = types[type] ?? noEvents;
      types[type] = { ...before, bridge: sumOfEach(before.bridge, bridge), stream: sumOfEach(before.stream, stream) };
    }
  }
  const seen = reports.map(({ instance }) => [instance, slice] as const);
  const next: CompareRun = {
    ...run,
    nextSlice: slice + 1,
    replicas: { ...run.replicas, ...Object.fromEntries(seen) },
    types,
    unshadowed: run.unshadowed + total(reports.map(({ unshadowed }) => unshadowed)),
    messages: {
      ...run.messages,
      explained: run.messages.explained + total(reports.map(({ messages }) => messages.explained)),
      byClients: run.messages.byClients + total(reports.map(({ messages }) => messages.byClients)),
      ofHub: run.messages.ofHub + total(reports.map(({ messages }) => messages.ofHub)),
      unjudged: run.messages.unjudged + total(reports.map(({ messages }) => messages.unjudged)),
    },
    samples: withSamples(
      run.samples,
      reports.flatMap(({ samples }) => samples),
    ),
  };
  return withSuspects(next, slice, reports, disturbed);
}

function withSuspects(run: CompareRun, slice: number, reports: SliceReport[], disturbed: string[]): CompareRun {
  const known = new Set(run.recent.map(({ key }) => key));
  const found = new Map(reports.flatMap(({ suspects }) => suspects).map(({ key, sample }) => [key, sample]));
  const fresh = [...found].filter(([key]) => !known.has(key));
  const recent = [...run.recent.filter((each) => each.slice >= slice - 2 * aroundSlices), ...keysOf(fresh, slice)];
  const reasons = { ...run.disturbed };
  for (const why of disturbed)
    if (why in reasons || Object.keys(reasons).length < maxReasons) reasons[why] = (reasons[why] ?? 0) + 1;
  const messages = { ...run.messages };
  if (disturbed.length > 0) messages.unjudged += fresh.length;
  else for (const [, { kind }] of fresh) messages[kind as 'alone'] += 1;
  const samples = disturbed.length > 0 ? [] : fresh.map(([, sample]) => sample);
  return {
    ...run,
    messages,
    disturbed: reasons,
    recent: recent.slice(-maxRecent),
    samples: withSamples(run.samples, samples),
  };
}

/** Several replicas may have seen the same. */
function withSamples(known: CompareSample[], found: CompareSample[]): CompareSample[] {
  const isSame = (a: CompareSample, b: CompareSample) => a.kind === b.kind && a.eventId === b.eventId;
  const news = found.filter(
    (each, at) => each.eventId === undefined || ![...known, ...found.slice(0, at)].some((other) => isSame(each, other)),
  );
  return [...known, ...news].slice(0, maxSamples);
}

function keysOf(found: [string, CompareSample][], slice: number): CompareRun['recent'] {
  return found.map(([key]) => ({ slice, key }));
}

/** What all replicas say of one type's entries: where they have not read the same ones, those that have read the most. */
function mergedMarks(reports: SliceReport[], type: string): Mark[] {
  const of = reports.flatMap((report) => report.types[type] ?? []);
  const fullest = of.reduce((most, each) => (each.marks.length > most.marks.length ? each : most));
  const alike = of.filter(({ digest }) => digest === fullest.digest);
  return [...fullest.marks].map((_, at) =>
    alike.map((each) => each.marks[at] as Mark).reduce((a, b) => stronger(a, b)),
  );
}

const noEvents: TypeTotals = {
  events: 0,
  same: 0,
  ignored: 0,
  missing: 0,
  changed: 0,
  order: 0,
  unjudged: {},
  bridge: [],
  stream: [],
};

function withMarks(before: TypeTotals, found: Mark[]): TypeTotals {
  const next = { ...before, events: before.events + found.length, unjudged: { ...before.unjudged } };
  for (const mark of found) {
    if (mark === '=') next.same++;
    else if (mark === '~') next.ignored++;
    else if (mark === 'm') next.missing++;
    else if (mark === 'c') next.changed++;
    else if (mark === 'o') next.order++;
    else next.unjudged[mark] = (next.unjudged[mark] ?? 0) + 1;
  }
  return next;
}

/** All types together. */
export function allTypes({ types }: Pick<CompareRun, 'types'>): TypeTotals {
  return Object.values(types).reduce(
    (all, each) => ({
      events: all.events + each.events,
      same: all.same + each.same,
      ignored: all.ignored + each.ignored,
      missing: all.missing + each.missing,
      changed: all.changed + each.changed,
      order: all.order + each.order,
      unjudged: Object.fromEntries(
        [...marks].flatMap((mark) => {
          const number = (all.unjudged[mark] ?? 0) + (each.unjudged[mark] ?? 0);
          return number === 0 ? [] : [[mark, number]];
        }),
      ),
      bridge: sumOfEach(all.bridge, each.bridge),
      stream: sumOfEach(all.stream, each.stream),
    }),
    noEvents,
  );
}

export function sumOfEach(a: number[], b: number[]): number[] {
  return Array.from({ length: Math.max(a.length, b.length) }, (_, at) => (a[at] ?? 0) + (b[at] ?? 0));
}

/** It takes no slice any more. */
export function endedCompare(run: CompareRun, why: string, nowMs: number): CompareRun {
  return { ...run, state: 'ended', why: run.why || why, endedAt: run.endedAt ?? new Date(nowMs).toISOString() };
}
