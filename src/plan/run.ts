// One run of a plan, as it stands in the log: in come what happens to it, out goes the run that follows. Pure; nothing here moves a room.
// Promise: what is needed to go on stands in it, so that any replica can, where the one before stopped.

import { z } from 'zod';
import type { Seen } from '../cutover/survey.ts';
import type { Change, CutoverState } from '../rooms/state.ts';
import type { GuardName, Plan } from './plan.ts';
import { type Reading, type Sample, unfencedNow, unfencedSince } from './sample.ts';

const count = z.number().min(0);
/** ISO 8601 */
const when = z.iso.datetime();
const verdict = z.enum(['good', 'broken', 'unjudged']);
const guard = z.enum(['delivered_ratio', 'p95_ratio', 'fallback_rate', 'probe_age', 'lag', 'unfenced']);
const reading: z.ZodType<Reading> = z.object({ guard, value: z.number().nullable(), verdict, words: z.string() });

/** One step that the run has come to. */
const stepRun = z.object({
  percent: count,
  /** When all replicas had its percent, and when the run left it. */
  startedAt: when,
  endedAt: when.nullable(),
  /** ms that it has stood there, pauses not counted. */
  heldMs: count,
  samples: z.object({ good: count, broken: count, unjudged: count }),
  /** Good ones since the last that was not; broken ones since the last good one. */
  inARow: z.object({ good: count, broken: count }),
  /** Of each guard the reading that was furthest from good, and the last one. */
  worst: z.array(reading),
  last: z.array(reading),
  /** Events, since the step began. */
  unfenced: count,
  verdict: z.enum(['good', 'broken']).nullable(),
});
export type StepRun = z.infer<typeof stepRun>;

const plan: z.ZodType<Plan> = z.object({
  name: z.string(),
  steps: z.array(z.object({ percent: count, hold: count })).min(1),
  guards: z.object({
    delivered_ratio: count,
    p95_ratio: count,
    fallback_rate: count,
    probe_age: count,
    lag: count,
    unfenced: count,
  }),
  samples: z.object({ every: count, count, events: count }),
});

const runShape = z.object({
  plan,
  /** Who has started it. */
  by: z.string(),
  startedAt: when,
  endedAt: when.nullable(),
  /** The percent before. */
  from: count,
  /** `ended`: by a person, where it stood. */
  state: z.enum(['running', 'paused', 'done', 'rolled back', 'ended']),
  /** Why it does not go on, or has ended; empty: it goes on, or has come to its end. */
  why: z.string(),
  /** Of the cutover's state as the run last knew it: what a person has done since then is newer. */
  epoch: z.int().min(0),
  /** When the last sample was taken, or a move was tried. */
  sampledAt: when,
  /** Those that it has come to; the last one is where it stands. */
  steps: z.array(stepRun),
  /** ms; see {@link Sample}. */
  bridgeP95: z.number().nullable(),
  /** Replica -> its count of unfenced events when it was seen last. */
  unfencedSeen: z.record(z.string(), count),
});
export type PlanRun = z.infer<typeof runShape>;

/** @returns undefined where the text is no run of this release */
export function readRun(text: string): PlanRun | undefined {
  try {
    return runShape.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

/** Whether it has not ended. */
export function isOpen<Given extends Pick<PlanRun, 'state'>>(
  run: Given | null | undefined,
): run is Given & { state: 'running' | 'paused' } {
  return run?.state === 'running' || run?.state === 'paused';
}

/** Who the plan is in the history of the cutover. */
export function actorOf({ plan }: PlanRun): string {
  return `plan ${plan.name}`;
}

export function newRun(plan: Plan, by: string, { percent, epoch }: CutoverState, nowMs: number): PlanRun {
  const now = new Date(nowMs).toISOString();
  return {
    plan,
    by,
    startedAt: now,
    endedAt: null,
    from: percent,
    state: 'running',
    why: '',
    epoch,
    // The first step is due at once.
    sampledAt: new Date(nowMs - plan.samples.every).toISOString(),
    steps: [],
    bridgeP95: null,
    unfencedSeen: {},
  };
}

/**
 * What the history says has happened to the run since it last knew the state. Nothing that only holds, pins or mirrors ends it.
 * @returns `moved`: to its next step, by itself, which another replica did not live to write down
 */
export function newsOf(
  run: PlanRun,
  { history }: CutoverState,
): { kind: 'moved' } | { kind: 'end'; change: Change } | undefined {
  const moves = history.filter(
    ({ epoch, from, to, what }) => epoch > run.epoch && (from !== to || what.startsWith('rollback')),
  );
  const isOwn = ({ who, to }: Change) => who === actorOf(run) && to === nextPercent(run);
  const change = moves.find((each) => !isOwn(each));
  if (change !== undefined) return { kind: 'end', change };
  return moves.length === 0 ? undefined : { kind: 'moved' };
}

/** The percent of the step that it has not come to yet; undefined: it stands at the last one. */
export function nextPercent({ plan, steps }: PlanRun): number | undefined {
  return plan.steps[steps.length]?.percent;
}

/** Where it stands; undefined before the first step. */
export function standsAt({ steps }: PlanRun): StepRun | undefined {
  return steps.at(-1);
}

/** It leaves its step for the next one, which all replicas have. Whatever came behind its own move in the history is news to it. */
export function arrived(run: PlanRun, { history }: CutoverState, nowMs: number): PlanRun {
  const now = new Date(nowMs).toISOString();
  const isOwn = ({ epoch, who, to }: Change) => epoch > run.epoch && who === actorOf(run) && to === nextPercent(run);
  const epoch = history.find(isOwn)?.epoch ?? run.epoch;
  const step: StepRun = {
    percent: nextPercent(run)!,
    startedAt: now,
    endedAt: null,
    heldMs: 0,
    samples: { good: 0, broken: 0, unjudged: 0 },
    inARow: { good: 0, broken: 0 },
    worst: [],
    last: [],
    unfenced: 0,
    verdict: null,
  };
  return { ...run, epoch, why: '', sampledAt: now, steps: [...left(run.steps, now), step] };
}

/** Counts what became unfenced meanwhile for the step that it stands at. */
export function looked(run: PlanRun, seen: Seen[]): PlanRun {
  const more = unfencedSince(run.unfencedSeen, seen);
  const steps = run.steps.map((step) => (step.endedAt === null ? { ...step, unfenced: step.unfenced + more } : step));
  return { ...run, steps, unfencedSeen: unfencedNow(run.unfencedSeen, seen) };
}

/** ms between two samples, at most, in which the run counts as looked after. */
const maxLookMs = ({ samples }: Plan) => 2 * samples.every + 10_000;

/** Takes a sample of the step that it stands at; a verdict stands in the step then. */
export function sampled(run: PlanRun, sample: Sample, nowMs: number): PlanRun {
  const step = standsAt(run)!;
  const { hold } = run.plan.steps[run.steps.length - 1]!;
  const wanted = run.plan.samples.count;
  // A time in which nobody looked is not held.
  const lookedMs = Math.min(nowMs - Date.parse(run.sampledAt), maxLookMs(run.plan));
  const heldMs = step.heldMs + Math.max(0, lookedMs);
  const inARow = {
    good: sample.verdict === 'good' ? step.inARow.good + 1 : 0,
    // One that cannot be judged between two that are broken does not make them good.
    broken: sample.verdict === 'good' ? 0 : step.inARow.broken + (sample.verdict === 'broken' ? 1 : 0),
  };
  const isGood = heldMs >= hold && inARow.good >= wanted;
  const next: StepRun = {
    ...step,
    heldMs,
    samples: { ...step.samples, [sample.verdict]: step.samples[sample.verdict] + 1 },
    inARow,
    worst: worseOf(step.worst, sample.readings),
    last: sample.readings,
    verdict: inARow.broken >= wanted ? 'broken' : isGood ? 'good' : null,
  };
  return {
    ...run,
    why: whyNotOn(next, hold, wanted),
    sampledAt: new Date(nowMs).toISOString(),
    steps: run.steps.with(-1, next),
    bridgeP95: sample.bridgeP95 ?? run.bridgeP95,
  };
}

/** It has come to its end, at its last step or before. */
export function endedRun(run: PlanRun, state: 'done' | 'rolled back' | 'ended', why: string, nowMs: number): PlanRun {
  const endedAt = new Date(nowMs).toISOString();
  return { ...run, steps: left(run.steps, endedAt), state, endedAt, why };
}

function left(steps: StepRun[], at: string): StepRun[] {
  return steps.map((step) => ({ ...step, endedAt: step.endedAt ?? at }));
}

export function paused(run: PlanRun, why: string): PlanRun {
  return { ...run, state: 'paused', why };
}

/** The hold goes on where it stood, and samples begin anew. */
export function resumed(run: PlanRun, nowMs: number): PlanRun {
  const steps = run.steps.map((step) => ({ ...step, inARow: { good: 0, broken: 0 } }));
  return { ...run, steps, state: 'running', why: '', sampledAt: new Date(nowMs).toISOString() };
}

/** Of the last sample. @returns empty while all is good */
function whyNotOn({ heldMs, inARow, last }: StepRun, hold: number, wanted: number): string {
  const broken = last.filter((each) => each.verdict === 'broken').map(({ words }) => words);
  if (broken.length > 0) return `${broken.join('; ')} (${inARow.broken} of ${wanted} for a verdict)`;
  const unjudged = last.filter((each) => each.verdict === 'unjudged').map(({ words }) => words);
  if (unjudged.length > 0) return `cannot be judged: ${unjudged.join('; ')}`;
  return heldMs >= hold && inARow.good < wanted ? `${inARow.good} of ${wanted} good samples in a row` : '';
}

function worseOf(before: Reading[], now: Reading[]): Reading[] {
  return now.map((each) => {
    const worst = before.find(({ guard }) => guard === each.guard);
    if (worst === undefined || worst.value === null) return each;
    if (each.value === null) return worst;
    return distance(each.guard, each.value) > distance(worst.guard, worst.value) ? each : worst;
  });
}

function distance(guard: GuardName, value: number): number {
  return guard === 'delivered_ratio' ? -value : value;
}
