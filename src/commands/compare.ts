// `crossfade compare …`: what the mirror's events say of both lanes, by the admin port. In come a verb and the address, out go the verdict and
// what it rests on as text or JSON, or a page of HTML in a file. Exit 1 where the lanes differ.

import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { type CompareView, compareHtml, compareText } from '../compare/report.ts';
import { CrossfadeError } from '../errors.ts';
import { askAdmin } from './admin-port.ts';
import { type Target, wordsOf } from './cutover.ts';
import { type Given, targetOf, withBy, withTarget } from './cutover-words.ts';

interface ReportOptions {
  showValues?: true;
  html?: string;
}

const lookMs = 500;
/** Replicas report what they have seen within seconds; one that has died is waited for this long. */
const judgedWithinMs = 60_000;

export function addCompare(program: Command): void {
  const group = program
    .command('compare')
    .description('compare what the bridge shows with what the stream lane would show, by the mirror');
  const command = (words: string, description: string) => withTarget(group.command(words).description(description));
  withBy(command('start', 'from now on, at all replicas, until stop, or for 24 h')).action((given: Given) =>
    startCompare(targetOf(given), given),
  );
  command('show', 'the verdict, and what it rests on')
    .option('--show-values', 'also what stood in the messages that differ: people wrote it')
    .action(({ showValues, ...given }: Given & ReportOptions) =>
      showCompare(targetOf(given), { ...pickShown(showValues) }),
    );
  command('stop', 'end it, and show its verdict').action((given: Given) => stopCompare(targetOf(given)));
  command('report', 'the same as a page of HTML')
    .requiredOption('--html <file>', 'where it is written')
    .option('--show-values', 'also what stood in the messages that differ: people wrote it')
    .action(({ showValues, html, ...given }: Given & ReportOptions) =>
      showCompare(targetOf(given), { ...pickShown(showValues), html: html! }),
    );
}

function pickShown(showValues: true | undefined): ReportOptions {
  return showValues === undefined ? {} : { showValues };
}

async function startCompare(target: Target, given: Given): Promise<void> {
  const { by } = wordsOf({ ...given, ...target }) as { by: string };
  const view = await askAdmin<CompareView>(target, 'POST', '/compare/start', { by });
  printView(target, view, () => `compared from now on, by ${by}\nnext  crossfade compare show${target.suffix}`);
}

async function showCompare(target: Target, { showValues, html }: ReportOptions): Promise<void> {
  const view = await askAdmin<CompareView>(target, 'GET', showValues ? '/compare?values=yes' : '/compare');
  if (html !== undefined) writePage(html, compareHtml(view));
  printVerdict(target, view);
}

async function stopCompare(target: Target): Promise<void> {
  let view = await askAdmin<CompareView>(target, 'POST', '/compare/stop', {});
  const givesUpAt = performance.now() + judgedWithinMs;
  while (view.run?.state === 'stopping' && performance.now() < givesUpAt) {
    await sleep(lookMs);
    view = await askAdmin<CompareView>(target, 'GET', '/compare');
  }
  printVerdict(target, view);
}

function printVerdict(target: Target, view: CompareView): void {
  const next = view.next === null ? null : view.next + target.suffix;
  printView(target, view, () => compareText({ ...view, next }));
  if (view.verdict?.is === 'different') process.exitCode = 1;
}

function printView({ output }: Target, view: CompareView, text: () => string): void {
  console.log(output === 'json' ? JSON.stringify(view, null, 2) : text());
}

/** Error: CONFIG_INVALID. */
function writePage(file: string, page: string): void {
  try {
    writeFileSync(file, page);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new CrossfadeError('CONFIG_INVALID', `cannot write '${file}' (${code})`, { cause });
  }
}
