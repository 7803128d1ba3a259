// What `crossfade cutover run|plan|pause|resume|stop` do: a plan and its run by the admin port. In come a file or a verb, out go lines
// for the operator, JSON, or a report in a file. Promise: the plan runs at the replicas; who follows it here may leave.

import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { styleText } from 'node:util';
import { CrossfadeError } from '../errors.ts';
import { runLine } from '../plan/report.ts';
import { isOpen, type PlanRun, standsAt } from '../plan/run.ts';
import { askAdmin } from './admin-port.ts';
import { type OrderTarget, type Target, wordsOf } from './cutover.ts';

interface PlanAnswer {
  run: PlanRun | null;
  report: string | null;
}

const lookMs = 1_000;
const marks = { good: '√', broken: '×', unjudged: '‼' };

/** Starts it, and follows it to its end; exit 1 where it has not come to its last step. */
export async function runPlan(order: OrderTarget, file: string): Promise<void> {
  const { by } = wordsOf(order) as { by: string };
  const body = { plan: planText(file), source: file.slice(-200), by };
  let { run } = await askAdmin<PlanAnswer>(order, 'PUT', '/cutover/plan', body);
  if (order.output === 'text') console.log(`it runs at the replicas: Ctrl-C ends this command, not the plan\n`);
  for (let said = ''; isOpen(run); ) {
    said = tellNews(order, run, said);
    await sleep(lookMs);
    // A replica may be away for a while; the plan goes on.
    run = await askAdmin<PlanAnswer>(order, 'GET', '/cutover/plan').then(
      (answer) => answer.run,
      () => run,
    );
  }
  printRun(order, run);
  if (run?.state !== 'done') process.exitCode = 1;
}

/** @param report a file that gets the report as Markdown */
export async function showPlan(target: Target, report: string | undefined): Promise<void> {
  const answer = await askAdmin<PlanAnswer>(target, 'GET', '/cutover/plan');
  if (report !== undefined && answer.report !== null) writeReport(report, answer.report);
  printRun(target, answer.run);
}

/** @param verb the last part of the path of `POST /cutover/plan/<verb>` */
export async function orderPlan(order: OrderTarget, verb: 'pause' | 'resume' | 'stop'): Promise<void> {
  const { run } = await askAdmin<PlanAnswer>(order, 'POST', `/cutover/plan/${verb}`, wordsOf(order));
  printRun(order, run);
}

function tellNews({ output }: Target, run: PlanRun, said: string): string {
  const words = run.why === '' ? '' : `: ${run.why}`;
  const news = `${run.state} ${run.steps.length} ${run.why}`;
  if (output === 'text' && news !== said)
    console.log(`${new Date().toISOString().slice(11, 19)}Z ${runLine(run)}${words}`);
  return news;
}

function printRun({ output }: Target, run: PlanRun | null): void {
  if (output === 'json') console.log(JSON.stringify(run, null, 2));
  else console.log(run === null ? 'no plan has run' : runText(run));
}

function runText(run: PlanRun): string {
  const { plan, by, startedAt } = run;
  const steps = plan.steps.map(({ percent }, at) => {
    const step = run.steps[at];
    if (step === undefined) return `      ${String(percent).padStart(3)}%`;
    const { good, broken, unjudged } = step.samples;
    const mark = step.verdict === null ? '·' : marks[step.verdict];
    return `    ${mark} ${String(percent).padStart(3)}%   ${step.startedAt.slice(11, 19)}Z   ${good} good, ${broken} broken, ${unjudged} not judged`;
  });
  const readings = (standsAt(run)?.last ?? []).map(({ verdict, words }) => `    ${marks[verdict]} ${words}`);
  return [
    `${styleText('bold', plan.name)}   ${runLine(run)}`,
    `  by ${by}, since ${startedAt.slice(0, 19).replace('T', ' ')}Z`,
    ...(run.why === '' ? [] : [`  ${styleText('yellow', run.why)}`]),
    '  steps',
    ...steps,
    ...(readings.length === 0 ? [] : ['  guards, as they were read last', ...readings]),
  ].join('\n');
}

function planText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new CrossfadeError('CONFIG_INVALID', `cannot read '${file}' (${(cause as NodeJS.ErrnoException).code})`, {
      cause,
    });
  }
}

function writeReport(file: string, text: string): void {
  try {
    writeFileSync(file, text);
  } catch (cause) {
    throw new CrossfadeError('CONFIG_INVALID', `cannot write '${file}' (${(cause as NodeJS.ErrnoException).code})`, {
      cause,
    });
  }
}
