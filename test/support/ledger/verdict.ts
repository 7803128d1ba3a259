// What a ledger's report must be: assertions that say what was found, and a few lines for who reads the test's output.

import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { describeFaults } from './fault.ts';
import type { LedgerReport } from './ledger.ts';
import { type Replica, readMetric } from './stage.ts';

export async function tell(
  t: TestContext,
  { mix, outcomes, shownCount, delay, steps, feedMs }: LedgerReport,
  replicas: Replica[],
): Promise<void> {
  t.diagnostic(mix);
  t.diagnostic(`calls in ${feedMs} ms: ${JSON.stringify(outcomes)}`);
  t.diagnostic(`${shownCount} messages shown, P50 ${delay.p50} ms, P99 ${delay.p99} ms after their call began`);
  t.diagnostic(steps.map((step) => `${step.name} (${inSeconds(step)})`).join(', '));
  const cut = await Promise.all(replicas.map((each) => readMetric(each, 'crossfade_edge_slow_clients_total')));
  t.diagnostic(`${cut.reduce((sum, count) => sum + count, 0)} clients were cut because they read too slowly`);
  if (replicas.some(({ operator }) => operator.rolledBackAtOnce)) t.diagnostic('rolled back at once');
  for (const { operator } of replicas)
    for (const refusal of operator.refusals) t.diagnostic(`refused at first: ${refusal}`);
}

/** In s of performance.now(), as faults tell when calls were made. */
function inSeconds({ startedAt, endedAt }: LedgerReport['steps'][0]): string {
  return `${(startedAt / 1000).toFixed(3)}-${(endedAt / 1000).toFixed(3)}`;
}

export function assertNoFault({ faults }: LedgerReport): void {
  assert.equal(faults.length, 0, describeFaults(faults));
}

export function assertNoneLost({ lost }: LedgerReport): void {
  assert.deepEqual(lost, [], 'no connection that reads is closed');
}

export function assertAllAccepted({ outcomes }: LedgerReport): void {
  assert.deepEqual(Object.keys(outcomes), ['200'], JSON.stringify(outcomes));
}

/** A run that stayed on one lane says nothing. */
export async function assertBothLanes(replicas: Replica[]): Promise<void> {
  for (const transport of ['http', 'redis_streams']) await assertPublished(replicas, transport, 2_000);
}

/** For runs in which a replica starts again, and forgets what it has counted. */
export async function assertStreamLane(replicas: Replica[]): Promise<void> {
  await assertPublished(replicas, 'redis_streams', 100);
}

async function assertPublished(replicas: Replica[], transport: string, atLeast: number): Promise<void> {
  const counts = await Promise.all(
    replicas.map((replica) => readMetric(replica, 'events_published_total', { transport, status: 'success' })),
  );
  const count = counts.reduce((sum, each) => sum + each, 0);
  assert.ok(count > atLeast, `${count} events were published by ${transport}`);
}
