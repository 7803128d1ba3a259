// One look at all replicas, judged by the guards of a plan: in come what they say of themselves and whether the log fails, out goes a
// reading for each guard. Pure. Promise: what cannot be judged (too few events, a replica that does not answer) is said to be so, and
// is never taken for good.

import type { ReplicaView } from '../cutover/own-view.ts';
import type { Seen } from '../cutover/survey.ts';
import type { Outage } from '../rooms/outage.ts';
import { addUp, quantileMs, total } from '../telemetry/lane-rates.ts';
import type { GuardName, Plan } from './plan.ts';

export interface Reading {
  guard: GuardName;
  /** In the guard's unit; null where it cannot be judged, or is beyond any number. */
  value: number | null;
  verdict: 'good' | 'broken' | 'unjudged';
  /** In words for the operator, the limit with it. */
  words: string;
}

export interface Sample {
  verdict: Reading['verdict'];
  readings: Reading[];
  /** ms; null where the bridge lane has too few events. */
  bridgeP95: number | null;
}

export interface Looked {
  seen: Seen[];
  outage: Outage['status'];
  /** Events since the step began, see run.ts. */
  unfenced: number;
  /** The last P95 of the bridge lane that could be judged in this run, ms; it stands in where no room is there any more. */
  bridgeP95: number | null;
}

export function judgeSample({ guards, samples }: Plan, looked: Looked): Sample {
  const { seen, outage, unfenced } = looked;
  const views = seen.flatMap(({ view }) => (view === undefined ? [] : [view]));
  const silent = seen.filter(({ view }) => view === undefined).map(({ instance }) => instance);
  const lanes = addUp(views.map((view) => view.lanes));
  const bridgeP95 = eventsOf(lanes.bridge) < samples.events ? null : (quantileMs(lanes.bridge, 0.95) ?? null);
  const seenReadings = [
    ofDelivered(guards.delivered_ratio, views, samples.events),
    ofP95(guards.p95_ratio, lanes.stream, bridgeP95 ?? looked.bridgeP95, samples.events),
    ofFallbacks(guards.fallback_rate, lanes, outage, samples.events),
    ofProbes(guards.probe_age, views),
    ofLag(guards.lag, views),
    reading('unfenced', unfenced, unfenced <= guards.unfenced, `${unfenced} unfenced, at most ${guards.unfenced}`),
  ];
  // One that does not answer may be the one that is worse; what is broken without it is broken.
  const readings = seenReadings.map((each) =>
    silent.length === 0 || each.verdict === 'broken'
      ? each
      : unjudged(each.guard, `${each.words}, but ${silent.join(', ')} does not answer`, each.value),
  );
  const verdicts = readings.map((each) => each.verdict);
  const verdict = (['broken', 'unjudged'] as const).find((each) => verdicts.includes(each)) ?? 'good';
  return { verdict, readings, bridgeP95 };
}

/** Of the entries that a replica had to show, how many it has shown; of the worst replica. */
function ofDelivered(least: number, views: ReplicaView[], events: number): Reading {
  const ratios = views.flatMap(({ lanes, lag }) => {
    const shown = eventsOf(lanes.stream);
    const owed = shown + (lag ?? 0) + lanes.missed;
    return owed < events ? [] : [shown / owed];
  });
  if (ratios.length === 0) return unjudged('delivered_ratio', `fewer than ${events} events by stream`);
  const worst = Math.min(...ratios);
  return reading('delivered_ratio', worst, worst >= least, `delivered ratio ${short(worst)}, at least ${least}`);
}

function ofP95(
  most: number,
  stream: ReplicaView['lanes']['stream'],
  bridgeP95: number | null,
  events: number,
): Reading {
  if (eventsOf(stream) < events) return unjudged('p95_ratio', `fewer than ${events} events by stream for a P95`);
  if (bridgeP95 === null) return unjudged('p95_ratio', `fewer than ${events} events by the bridge to compare with`);
  const streamP95 = quantileMs(stream, 0.95)!;
  const ratio = streamP95 / bridgeP95;
  const times = `${short(streamP95)} ms by stream, ${short(bridgeP95)} ms by the bridge`;
  return reading('p95_ratio', ratio, ratio <= most, `P95 ratio ${short(ratio)} (${times}), at most ${most}`);
}

function ofFallbacks(
  most: number,
  { stream, fallbacks }: Pick<ReplicaView['lanes'], 'stream' | 'fallbacks'>,
  outage: Looked['outage'],
  events: number,
): Reading {
  if (outage !== null)
    return reading('fallback_rate', 1, false, `the log failed (${outage.reason}): all rooms are at the bridge`);
  const all = stream.events + fallbacks;
  const rate = fallbacks / all;
  if (all < events) return unjudged('fallback_rate', `fewer than ${events} events for a fallback rate`);
  return reading('fallback_rate', rate, rate <= most, `fallback rate ${short(rate)}, at most ${most}`);
}

function ofProbes(mostMs: number, views: ReplicaView[]): Reading {
  const ages = views.flatMap(({ probeMs }) => (probeMs === null ? [] : [probeMs]));
  if (ages.length === 0) return unjudged('probe_age', 'no replica with clients says how old its probe is');
  const oldest = Math.max(...ages);
  const words = `oldest probe ${short(oldest / 1_000)} s, at most ${mostMs / 1_000} s`;
  return reading('probe_age', oldest, oldest <= mostMs, words);
}

function ofLag(most: number, views: ReplicaView[]): Reading {
  const lags = views.flatMap(({ lag }) => (lag === null ? [] : [lag]));
  const worst = Math.max(0, ...lags);
  const words = `lag ${worst}, at most ${most}`;
  if (worst <= most && lags.length < views.length) return unjudged('lag', 'the log does not say what is unread');
  return reading('lag', worst, worst <= most, words);
}

function reading(guard: GuardName, value: number, isGood: boolean, words: string): Reading {
  return { guard, value, verdict: isGood ? 'good' : 'broken', words };
}

function unjudged(guard: GuardName, words: string, value: number | null = null): Reading {
  return { guard, value, verdict: 'unjudged', words };
}

function eventsOf({ delivered }: ReplicaView['lanes']['stream']): number {
  return delivered.at(-1) ?? 0;
}

/** How many events of each replica were counted as unfenced since it was seen last; one that started anew counts from 0. */
export function unfencedSince(before: Record<string, number>, seen: Seen[]): number {
  return total(
    seen.map(({ instance, view }) => {
      const last = before[instance];
      if (view === undefined || last === undefined) return 0;
      return view.unfenced < last ? view.unfenced : view.unfenced - last;
    }),
  );
}

/** What {@link unfencedSince} is given the next time. */
export function unfencedNow(before: Record<string, number>, seen: Seen[]): Record<string, number> {
  return Object.fromEntries(
    seen.flatMap(({ instance, view }) => {
      const count = view?.unfenced ?? before[instance];
      return count === undefined ? [] : [[instance, count]];
    }),
  );
}

function short(value: number): string {
  return String(Number(value.toPrecision(3)));
}
