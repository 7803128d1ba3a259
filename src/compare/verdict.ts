// What is said of a run first: in come the run and the time, out go its verdict, how old it is, and one line for people. Pure. Promises: the
// line holds what could not be judged; nothing is called the same of which nothing was judged; a verdict is stale after a day.

import { total } from '../telemetry/lane-rates.ts';
import { allTypes, type CompareRun } from './run.ts';

export interface CompareVerdict {
  is: 'same' | 'different' | 'unjudged';
  /** ms since what it speaks of was seen last; 0 while it is still being looked. */
  ageMs: number;
  isStale: boolean;
  judged: number;
  differences: number;
  unjudged: number;
  /** Such as `SAME: 41,203 events in 2 h; 17 could not be judged`. */
  line: string;
}

const staleMs = 24 * 3_600_000;
/** Fewer prove nothing. */
const leastJudged = 100;

export function verdictOf(run: CompareRun, nowMs: number): CompareVerdict {
  const { events, same, ignored, missing, changed, order, unjudged } = allTypes(run);
  const { alone, foreign, twice, outsider } = run.messages;
  const unjudgedEvents = total(Object.values(unjudged)) + run.unshadowed;
  const judged = same + ignored + missing + changed + order;
  const differences = missing + changed + order + alone + foreign + twice + outsider;
  const is = differences > 0 ? 'different' : judged > 0 ? 'same' : 'unjudged';
  const endMs = run.endedAt === null ? nowMs : Date.parse(run.endedAt);
  const ageMs = Math.max(0, nowMs - endMs);
  const isStale = ageMs > staleMs;
  const during = ` in ${durationText(endMs - Date.parse(run.startedAt))}`;
  const rest = [
    ...(ignored > 0 ? [`${grouped(ignored)} but for what the contract ignores`] : []),
    ...(unjudgedEvents > 0 ? [`${grouped(unjudgedEvents)} could not be judged`] : []),
  ].join('; ');
  const kinds = differenceWords({ missing, changed, order, alone, foreign, twice, outsider }).join(', ');
  const lines = {
    same: `SAME: ${grouped(judged)} events${during}`,
    different: `DIFFERENT: ${kinds}; ${grouped(judged)} events judged${during}`,
    unjudged:
      events + run.unshadowed === 0
        ? `NOT JUDGED: no event${during}`
        : `NOT JUDGED: none of ${grouped(events)} events${during}`,
  };
  const staleness = isStale
    ? ` (stale: ${durationText(ageMs)} old)`
    : ageMs > 60_000
      ? ` (${durationText(ageMs)} ago)`
      : '';
  const line = `${lines[is]}${rest === '' ? '' : `; ${rest}`}${staleness}`;
  return { is, ageMs, isStale, judged, differences, unjudged: unjudgedEvents, line };
}

/** Why the run does not allow rooms onto the stream lane; undefined: it does. */
export function objectionOf(run: CompareRun | undefined, nowMs: number): string | undefined {
  if (run === undefined) return 'nothing was compared: `crossfade compare start`';
  const { is, isStale, judged, unjudged, line } = verdictOf(run, nowMs);
  if (is !== 'same') return `the compare says ${line}`;
  if (isStale) return `the compare is stale, ${line}: \`crossfade compare start\``;
  if (judged < leastJudged) return `only ${judged} events were compared, ${leastJudged} are wanted`;
  return unjudged > judged ? `most events could not be compared: ${line}` : undefined;
}

/** Each kind of difference that there is, in words with its number. */
export function differenceWords(found: Record<string, number>): string[] {
  const words: Record<string, string> = {
    missing: 'not shown by the bridge',
    changed: 'with other arguments',
    order: 'out of order',
    alone: 'shown by the bridge alone',
    foreign: 'written to the bridge by somebody else',
    twice: 'shown twice by the bridge',
    outsider: 'shown to who is no member here',
  };
  return Object.entries(words).flatMap(([kind, text]) => {
    const number = found[kind] ?? 0;
    return number === 0 ? [] : [`${grouped(number)} ${text}`];
  });
}

export function grouped(number: number): string {
  return number.toLocaleString('en');
}

export function durationText(ms: number): string {
  const seconds = Math.round(ms / 1_000);
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 120 ? `${minutes} min` : `${Number((minutes / 60).toFixed(1))} h`;
}
