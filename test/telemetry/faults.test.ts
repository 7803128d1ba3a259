import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Faults } from '../../src/telemetry/faults.ts';
import { silentLogger } from '../../src/telemetry/logger.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { TestClock } from '../support/clock.ts';

async function faultsAt(metrics: ReturnType<typeof createMetrics>, where: string): Promise<number | undefined> {
  return (await metrics.faults.get()).values.find(({ labels }) => labels.where === where)?.value;
}

test('work that throws ends what it was for, is counted, and nothing else happens', async () => {
  const metrics = createMetrics();
  const ended: unknown[] = [];
  const fault = new Error('odd input');
  new Faults(silentLogger, metrics).contain(
    'client',
    () => assert.fail(fault),
    (error) => ended.push(error),
  );
  assert.deepEqual(ended, [fault]);
  assert.equal(await faultsAt(metrics, 'client'), 1);
  assert.equal(await faultsAt(metrics, 'edge'), 0, 'known places are preset');
});

test('work that rejects later ends what it was for, too', async () => {
  const metrics = createMetrics();
  const { promise: ended, resolve } = Promise.withResolvers<unknown>();
  new Faults(silentLogger, metrics).contain('ingress', async () => Promise.reject(new Error('late')), resolve);
  assert.match(String(await ended), /late/);
  assert.equal(await faultsAt(metrics, 'ingress'), 1);
});

test('an end that fails itself is caught as well', async () => {
  const metrics = createMetrics();
  const fail = () => assert.fail('both');
  new Faults(silentLogger, metrics).contain('edge', fail, fail);
  assert.equal(await faultsAt(metrics, 'edge'), 2);
});

test('a timer whose run fails runs again the next time', async () => {
  const metrics = createMetrics();
  const time = new TestClock();
  let runs = 0;
  new Faults(silentLogger, metrics).clock(time).every(10, () => {
    runs++;
    throw new Error('a timer');
  });
  time.advance(30);
  assert.equal(runs, 3);
  assert.equal(await faultsAt(metrics, 'timer'), 3);
});
