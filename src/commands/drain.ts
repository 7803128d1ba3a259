// `crossfade drain`: has a replica let its clients go before it is ended, as a pod's `preStop` does. In comes the address of its
// admin port, out goes that nobody is left. Promises: asked again, or while the replica drains by itself, it waits for that
// same drain; a replica that ends meanwhile has drained.

import { setTimeout as sleep } from 'node:timers/promises';
import type { Drained } from '../admin/admin.ts';
import { CrossfadeError, hasCode } from '../errors.ts';
import { askAdmin } from './admin-port.ts';

export interface DrainOptions {
  /** Base URL of the admin port. */
  admin: string;
  /** s to wait; as long as it takes where it is not given. */
  timeout?: string;
  output: 'text' | 'json';
}

const askAgainMs = 250;
const answerMs = 5_000;

/** Errors: CONFIG_INVALID, ADMIN_UNREACHABLE, EDGE_DRAINING (clients are left when the time is over). */
export async function drain({ admin, timeout, output }: DrainOptions): Promise<void> {
  const givesUpAt = performance.now() + secondsOf(timeout) * 1_000;
  const port = { admin, timeoutMs: answerMs };
  let drained = await askAdmin<Drained>(port, 'POST', '/drain');
  while (!drained.done) {
    if (performance.now() > givesUpAt) throw unfinished(drained, timeout!);
    showProgress(drained);
    await sleep(askAgainMs);
    drained = await askAdmin<Drained>(port, 'POST', '/drain').catch((error) => withoutAnswer(error, drained));
  }
  console.log(output === 'json' ? JSON.stringify(drained) : 'drained: no client is left');
}

function secondsOf(text: string | undefined): number {
  if (text === undefined) return Number.POSITIVE_INFINITY;
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text);
  throw new CrossfadeError('CONFIG_INVALID', `--timeout: '${text}' is not a number of seconds`);
}

/** It was there before: where nobody listens any more it has ended; one that is only busy is asked again. */
function withoutAnswer(error: unknown, before: Drained): Drained {
  if (!hasCode(error, 'ADMIN_UNREACHABLE')) throw error;
  return (error.cause as Error).name === 'TimeoutError' ? before : { remaining: 0, done: true };
}

function unfinished({ remaining }: Drained, timeout: string): CrossfadeError {
  return new CrossfadeError('EDGE_DRAINING', `${remaining} clients are left after ${timeout} s; they go on leaving`);
}

/** For whoever sits at a terminal. */
function showProgress({ remaining }: Drained): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${remaining} clients are left\r`);
}
