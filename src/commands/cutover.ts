// `crossfade cutover …`: operates a running crossfade by its admin port. In come an action and the address, out go a few
// lines for the operator; an action that was refused, or that did not reach all replicas, is an error (exit 1).

import { userInfo } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { CrossfadeError } from '../errors.ts';
import { askAdmin } from './admin-port.ts';
import { type Status, statusText } from './cutover-status.ts';

export interface Target {
  /** Base URL of the admin port. */
  admin: string;
  force?: boolean;
}

const patienceMs = 300;
/** Replicas follow within a second, and say so a moment later. */
const followMs = 1_500;
const askAgainMs = 100;

export async function show(target: Target): Promise<void> {
  print(await read(target));
}

/** @param command the body of `PUT /cutover` */
export async function change(target: Target, command: object): Promise<void> {
  await withPatience(askAdmin(target, 'PUT', '/cutover', { ...command, ...words(target) }));
  print(await untilAllFollow(target));
}

export async function reset(target: Target): Promise<void> {
  await withPatience(askAdmin(target, 'POST', '/cutover/reset', words(target)));
  print(await untilAllFollow(target));
}

/** Exit 1 if a replica could not be told. */
export async function rollback(target: Target): Promise<void> {
  const { notReached } = await askAdmin<{ notReached: string[] }>(target, 'POST', '/cutover/rollback', { by: who() });
  print(await untilAllFollow(target));
  if (notReached.length === 0) return;
  throw new CrossfadeError(
    'LOG_UNAVAILABLE',
    `not reached: ${notReached.join(', ')}; they follow when they read the log again`,
  );
}

/** @throws CrossfadeError CONFIG_INVALID */
export function percentOf(text: string): number {
  if (/^\d{1,3}$/.test(text) && Number(text) <= 100) return Number(text);
  throw new CrossfadeError('CONFIG_INVALID', `'${text}' is not a percent from 0 to 100`);
}

/** @throws CrossfadeError CONFIG_INVALID */
export function roomOf(text: string): string {
  if (text !== '' && text.length <= 256) return text;
  throw new CrossfadeError('CONFIG_INVALID', `the name of a room has 1 to 256 characters, not ${text.length}`);
}

/** @throws CrossfadeError CONFIG_INVALID */
export function laneArgument(text: string): string {
  if (text === 'bridge' || text === 'stream') return text;
  throw new CrossfadeError('CONFIG_INVALID', `'${text}' is not a lane: bridge or stream`);
}

/** @throws CrossfadeError CONFIG_INVALID */
export function onOrOff(text: string): boolean {
  if (text === 'on' || text === 'off') return text === 'on';
  throw new CrossfadeError('CONFIG_INVALID', `'${text}' is neither on nor off`);
}

function read(target: Target): Promise<Status> {
  return askAdmin<Status>(target, 'GET', '/cutover');
}

/** The state that all replicas say they have, those that say anything; after a second also what some are behind of. */
async function untilAllFollow(target: Target): Promise<Status> {
  const givesUpAt = performance.now() + followMs;
  for (;;) {
    const status = await read(target);
    const allFollow = status.replicas.every(({ epoch = status.epoch }) => Number(epoch) >= status.epoch);
    if (allFollow || performance.now() > givesUpAt) return status;
    await sleep(askAgainMs);
  }
}

function words({ force = false }: Target): { by: string; force: boolean } {
  return { by: who(), force };
}

/** A container may run under a user that has no name. */
function who(): string {
  try {
    return userInfo().username;
  } catch {
    return `user ${process.getuid?.() ?? 'unknown'}`;
  }
}

function print(status: Status): void {
  console.log(statusText(status));
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
