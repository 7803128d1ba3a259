// What `crossfade cutover …` does: operates a running crossfade by its admin port. In come an action and the address, out go a few
// lines for the operator, or JSON; an action that was refused, or that did not reach all replicas, is an error (exit 1).

import { userInfo } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CompletionDryRun } from '../cutover/completion.ts';
import type { DryRun } from '../cutover/dry-runs.ts';
import type { RolledBack } from '../cutover/rollback.ts';
import { CrossfadeError } from '../errors.ts';
import type { PlannedStatus } from '../plan/report.ts';
import type { HubKind } from '../rooms/state.ts';
import { askAdmin } from './admin-port.ts';
import { statusText } from './cutover-status.ts';
import { completionText, dryRunText } from './dry-run-text.ts';

export interface Target {
  /** Base URL of the admin port. */
  admin: string;
  output: 'text' | 'json';
  /** What has to stand behind a command that is to be typed next, so that it reaches the same crossfade; empty mostly. */
  suffix: string;
}

/** What may stand behind a command that changes something. */
export interface OrderTarget extends Target {
  by?: string;
  why?: string;
  force?: boolean;
  ifEpoch?: number;
  dryRun?: boolean;
}

const patienceMs = 300;
/** Replicas follow within a second, and say so a moment later. */
const followMs = 1_500;
const askAgainMs = 100;
const watchMs = 1_000;

export async function show(target: Target): Promise<void> {
  print(target, await read(target));
}

/**
 * Draws it anew each second, until the process is ended, or nobody reads what it writes any more; where nobody looks at a terminal, one
 * block below the other.
 */
export async function watch(target: Target): Promise<void> {
  const isTerminal = process.stdout.isTTY && target.output === 'text';
  let isRead = true;
  process.stdout.once('error', () => {
    isRead = false;
  });
  while (isRead) {
    const text = await read(target).then(
      (status) => (target.output === 'json' ? JSON.stringify(status) : statusText(status, target.suffix)),
      // It may be away for a while, and come back.
      ({ code, message }: CrossfadeError) =>
        target.output === 'json' ? JSON.stringify({ error: code, message }) : message,
    );
    if (isTerminal) process.stdout.write(`\x1b[H${text.replaceAll('\n', '\x1b[K\n')}\x1b[K\n\x1b[J`);
    else process.stdout.write(target.output === 'json' ? `${text}\n` : `${text}\n\n`);
    await sleep(watchMs);
  }
}

/** @param command the body of `PUT /cutover` */
export async function change(order: OrderTarget, command: object): Promise<void> {
  if (order.dryRun) return dryRun(order, 'PUT', '/cutover', command);
  await withPatience(askAdmin(order, 'PUT', '/cutover', { ...command, ...wordsOf(order) }));
  print(order, await untilAllFollow(order));
}

/** @param hubs their names; undefined: all there are */
export async function moveHubs(order: OrderTarget, kind: HubKind, hubs?: string[]): Promise<void> {
  const names = hubs ?? Object.keys((await read(order)).hubs);
  await change(order, { hubs: Object.fromEntries(names.map((hub) => [hub, kind])) });
}

/** @param verb the last part of the path of `POST /cutover/<verb>` */
export async function act(order: OrderTarget, verb: 'reset' | 'hold' | 'release'): Promise<void> {
  if (order.dryRun) return dryRun(order, 'POST', `/cutover/${verb}`, {});
  await withPatience(askAdmin(order, 'POST', `/cutover/${verb}`, wordsOf(order)));
  print(order, await untilAllFollow(order));
}

/** Exit 1 where it would be refused. */
export async function complete(order: OrderTarget): Promise<void> {
  const body = { ...wordsOf(order), ...(order.dryRun && { dryRun: true }) };
  const answer = withPatience(askAdmin<CompletionDryRun>(order, 'POST', '/cutover/complete', body));
  if (!order.dryRun) {
    await answer;
    return print(order, await untilAllFollow(order));
  }
  const found = await answer;
  console.log(order.output === 'json' ? JSON.stringify(found, null, 2) : completionText(found, order.suffix));
  if (!found.possible) process.exitCode = 1;
}

/** Exit 1 if a replica could not be told. */
export async function rollback(order: OrderTarget): Promise<void> {
  if (order.dryRun) return dryRun(order, 'POST', '/cutover/rollback', {});
  const done = await askAdmin<RolledBack>(order, 'POST', '/cutover/rollback', wordsOf(order));
  const { kept, notReached } = done;
  const status = await untilAllFollow(order);
  if (order.output === 'json') console.log(JSON.stringify({ ...done, ...status }, null, 2));
  else console.log(`${keptText(kept)}\n\n${statusText(status, order.suffix)}`);
  if (notReached.length === 0) return;
  throw new CrossfadeError(
    'LOG_UNAVAILABLE',
    `not reached: ${notReached.join(', ')}; they follow when they read the log again`,
  );
}

/** Exit 1 where the command would be refused. */
async function dryRun(order: OrderTarget, method: string, path: string, command: object): Promise<void> {
  const body = { ...command, ...wordsOf(order), dryRun: true };
  const found = await withPatience(askAdmin<DryRun>(order, method, path, body));
  const { output, suffix } = order;
  console.log(output === 'json' ? JSON.stringify(found, null, 2) : dryRunText(found, suffix));
  if (!found.possible) process.exitCode = 1;
}

function keptText(kept: RolledBack['kept']): string {
  return kept === 'in order'
    ? 'rolled back in order: what stood in the log is shown before what the bridge says next'
    : 'rolled back at once, without the log: what may be out of order is counted in crossfade_order_unfenced_total';
}

/** @throws CrossfadeError CONFIG_INVALID */
export function percentOf(text: string): number {
  if (/^\d{1,3}$/.test(text) && Number(text) <= 100) return Number(text);
  throw new CrossfadeError('CONFIG_INVALID', `'${text}' is not a percent from 0 to 100`);
}

/** @throws CrossfadeError CONFIG_INVALID */
export function epochOf(text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new CrossfadeError('CONFIG_INVALID', `'${text}' is not an epoch, as \`cutover show\` names it`);
}

/** @throws CrossfadeError CONFIG_INVALID */
export function roomOf(text: string): string {
  if (text !== '' && text.length <= 256) return text;
  throw new CrossfadeError('CONFIG_INVALID', `the name of a room has 1 to 256 characters, not ${text.length}`);
}

/** Of `--by` and of a reason. @throws CrossfadeError CONFIG_INVALID */
export function wordsArgument(text: string): string {
  if (text.trim() !== '' && text.length <= 200) return text;
  throw new CrossfadeError('CONFIG_INVALID', `who and why have 1 to 200 characters, not ${text.length}`);
}

/** @throws CrossfadeError CONFIG_INVALID */
export function laneArgument(text: string): string {
  if (text === 'bridge' || text === 'stream') return text;
  throw new CrossfadeError('CONFIG_INVALID', `'${text}' is not a lane: bridge or stream`);
}

/** @throws CrossfadeError CONFIG_INVALID */
export function kindOf(text: string): HubKind {
  if (text === 'native' || text === 'proxy') return text;
  throw new CrossfadeError('CONFIG_INVALID', `'${text}' is no place where hubs end: native or proxy`);
}

/** The share of rooms that is mirrored. @throws CrossfadeError CONFIG_INVALID */
export function shareOf(text: string): number {
  if (text === 'on' || text === 'off') return text === 'on' ? 100 : 0;
  if (/^\d{1,3}$/.test(text) && Number(text) <= 100) return Number(text);
  throw new CrossfadeError('CONFIG_INVALID', `'${text}' is neither on, nor off, nor a percent from 0 to 100`);
}

function read(target: Target): Promise<PlannedStatus> {
  return askAdmin<PlannedStatus>(target, 'GET', '/cutover');
}

/** The state that all replicas say they have, those that say anything; after a second also what some are behind of. */
async function untilAllFollow(target: Target): Promise<PlannedStatus> {
  const givesUpAt = performance.now() + followMs;
  for (;;) {
    const status = await read(target);
    const allFollow = status.replicas.every(({ epoch = status.epoch }) => Number(epoch) >= status.epoch);
    if (allFollow || performance.now() > givesUpAt) return status;
    await sleep(askAgainMs);
  }
}

/** What is not given stands in no body. */
export function wordsOf({ by = user(), why, force, ifEpoch }: OrderTarget): object {
  return { by, why, force, ifEpoch };
}

/** A container may run under a user that has no name. */
function user(): string {
  try {
    return userInfo().username;
  } catch {
    return `user ${process.getuid?.() ?? 'unknown'}`;
  }
}

function print({ output, suffix }: Target, status: PlannedStatus): void {
  console.log(output === 'json' ? JSON.stringify(status, null, 2) : statusText(status, suffix));
}

/** A raise takes its 3 s: whoever sits at a terminal shall see why. */
async function withPatience<Answer>(asking: Promise<Answer>): Promise<Answer> {
  if (!process.stderr.isTTY) return asking;
  const patience = setTimeout(() => process.stderr.write('looking for clients that would be left out …'), patienceMs);
  try {
    return await asking;
  } finally {
    clearTimeout(patience);
    process.stderr.write('\r\x1b[K');
  }
}
