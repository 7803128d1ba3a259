// A replica's /metrics as a command reads it: in comes the admin port's address, out go samples.
// Promise: what cannot be read is an ADMIN_UNREACHABLE that says so.

import { readSecret } from '../config.ts';
import { CrossfadeError } from '../errors.ts';

const answerMs = 10_000;

/** @returns the Prometheus text. Errors: ADMIN_UNREACHABLE */
export async function metricsTextOf(admin: string): Promise<string> {
  const token = readSecret('CROSSFADE_ADMIN_TOKEN', process.env);
  try {
    const answer = await fetch(`${admin.replace(/\/$/, '')}/metrics`, {
      headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
      signal: AbortSignal.timeout(answerMs),
    });
    if (answer.ok) return await answer.text();
    throw new Error(`it answered ${answer.status}`);
  } catch (cause) {
    throw new CrossfadeError('ADMIN_UNREACHABLE', `no metrics at ${admin} (${(cause as Error).message})`, { cause });
  }
}

/** @returns the sum of the samples of a metric whose labels hold all of `labels`, as they are written */
export function sumOf(text: string, metric: string, labels: string[] = []): number {
  let sum = 0;
  for (const [, given = '', value] of text.matchAll(new RegExp(`^${metric}(?:\\{(.*)\\})? (\\S+)$`, 'gm'))) {
    if (labels.every((label) => given.includes(label))) sum += Number(value);
  }
  return sum;
}

/** CPU seconds of the process so far. Errors: ADMIN_UNREACHABLE */
export async function cpuSecondsOf(admin: string): Promise<number> {
  return sumOf(await metricsTextOf(admin), 'process_cpu_seconds_total');
}
