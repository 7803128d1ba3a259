// When Redis counts as silent, and when this process was merely away.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { connect, isReady, untilReady, within } from '../../src/log/redis/connections.ts';
import { systemClock } from '../../src/telemetry/clock.ts';
import { silentLogger } from '../../src/telemetry/logger.ts';
import { type Redis, startRedis } from '../support/redis.ts';
import { until } from '../support/wait.ts';

/** Longer than a Redis that owes an answer may be silent. */
const awayMs = 2_500;

async function open(t: TestContext): Promise<{ redis: Redis; client: ReturnType<typeof connect> }> {
  const redis = await startRedis(t);
  const address = { host: '127.0.0.1', port: redis.port, db: 0, tls: false };
  const client = connect(address, 'test', { clock: systemClock, logger: silentLogger });
  t.after(() => client.disconnect());
  await untilReady(client, systemClock, () => true);
  return { redis, client };
}

/** Nothing runs meanwhile, as in a process that was stopped by a signal. */
function standStill(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

test('an answer that came while this process stood still counts, and its connection stays', async (t) => {
  const { client } = await open(t);
  const breaks: unknown[] = [];
  client.on('close', () => breaks.push('closed'));
  // Redis answers while the process stands still.
  const answer = within(systemClock, 500, client.blpop('empty', 0.3));
  await new Promise(setImmediate);
  standStill(awayMs);
  assert.equal(await answer, null);
  assert.equal(await client.ping(), 'PONG');
  assert.deepEqual(breaks, []);
});

test('a connection on which Redis owes an answer is given up after 2 s, and one on which it owes none is not', async (t) => {
  const { redis, client } = await open(t);
  redis.pause();
  t.after(() => redis.resume());
  const owed = client.ping();
  const beganAt = performance.now();
  await assert.rejects(owed);
  const tookMs = performance.now() - beganAt;
  assert.ok(tookMs > 1_700, `${tookMs} ms`);
  redis.resume();
  await until(() => isReady(client));
  let isClosed = false;
  client.once('close', () => {
    isClosed = true;
  });
  const restingSince = performance.now();
  await until(() => performance.now() - restingSince > awayMs, { what: 'a rest' });
  assert.equal(isClosed, false);
});
