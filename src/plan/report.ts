// What is said of a run: in comes the run, out go a line for whoever asks where the cutover stands, and the report as Markdown. Pure.

import type { Status } from '../cutover/status.ts';
import { isOpen, nextPercent, type PlanRun, type StepRun, standsAt } from './run.ts';
import type { Reading } from './sample.ts';

/** A run in short, for `GET /cutover`. */
export interface PlanSummary {
  name: string;
  by: string;
  state: PlanRun['state'];
  /** In words. */
  line: string;
  /** Why it does not go on; empty: it does. */
  why: string;
}

/** With the verdict of the compare in a line; null: nothing was compared. */
export type PlannedStatus = Status & { plan: PlanSummary | null; compare: string | null };

/** The status, with the plan in it; what comes next is the plan's business while there is one. */
export function withPlan(given: Status, run: PlanRun | undefined, compare: string | null): PlannedStatus {
  const status = { ...given, compare };
  if (run === undefined) return { ...status, plan: null };
  const { by, state, why } = run;
  const plan = { name: run.plan.name, by, state, line: runLine(run), why };
  if (!isOpen(run) || status.standstill.length > 0) return { ...status, plan };
  return { ...status, plan, next: state === 'paused' ? 'crossfade cutover resume' : 'crossfade cutover plan' };
}

/** Such as `running, step 2 of 4 (25%): 12 min of 30 min`. */
export function runLine(run: PlanRun): string {
  const { plan, state } = run;
  const step = standsAt(run);
  if (step === undefined) return `${state}, before step 1 of ${plan.steps.length} (${nextPercent(run)}%)`;
  const { hold } = plan.steps[run.steps.length - 1]!;
  const at = `${state}, step ${run.steps.length} of ${plan.steps.length} (${step.percent}%)`;
  return `${at}: held ${timeText(step.heldMs)} of ${timeText(hold)}`;
}

/** Who, when, and the numbers of each step. */
export function markdownOf(run: PlanRun): string {
  const { plan, by, startedAt, endedAt, from, state, why } = run;
  const { every, count, events } = plan.samples;
  const lines = [
    `# Plan ${plan.name}: ${state}`,
    '',
    ...(why === '' ? [] : [`**${escaped(why)}**`, '']),
    `Started by ${escaped(by)} at ${startedAt}, at ${from}%; ${endedAt === null ? 'not ended yet' : `ended at ${endedAt}`}.`,
    `A sample each ${timeText(every)}, ${count} in a row for a verdict, of ${events} events at least.`,
    '',
    '| step | percent | from | until | held | samples good / broken / not judged | unfenced | verdict |',
    '| --- | --- | --- | --- | --- | --- | --- | --- |',
    ...plan.steps.map(({ percent, hold }, at) => rowOf(at, percent, hold, run.steps[at])),
  ];
  for (const [at, step] of run.steps.entries()) {
    if (step.worst.length === 0) continue;
    const last = (each: Reading) => step.last.find(({ guard }) => guard === each.guard)?.words ?? '';
    lines.push(
      '',
      `## Step ${at + 1}: ${step.percent}%`,
      '',
      '| guard | worst | last |',
      '| --- | --- | --- |',
      ...step.worst.map((each) => `| ${each.guard} | ${escaped(each.words)} | ${escaped(last(each))} |`),
    );
  }
  return `${lines.join('\n')}\n`;
}

function rowOf(at: number, percent: number, hold: number, step: StepRun | undefined): string {
  const first = `| ${at + 1} | ${percent} |`;
  if (step === undefined) return `${first} | | 0 of ${timeText(hold)} | | | |`;
  const { startedAt, endedAt, heldMs, samples, unfenced, verdict } = step;
  const { good, broken, unjudged } = samples;
  const held = `${timeText(heldMs)} of ${timeText(hold)}`;
  const cells = [startedAt, endedAt ?? '', held, `${good} / ${broken} / ${unjudged}`, unfenced, verdict ?? ''];
  return `${first} ${cells.join(' | ')} |`;
}

/** Names and reasons are people's. */
function escaped(text: string): string {
  return text.replace(/[\\|*_`<>[\]]/g, '\\$&').replaceAll('\n', ' ');
}

function timeText(ms: number): string {
  const seconds = Math.round(ms / 1_000);
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 120 ? `${minutes} min` : `${Number((minutes / 60).toFixed(1))} h`;
}
