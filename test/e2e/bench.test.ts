// `crossfade bench` as it is typed: load on a bridge, counted to the last message.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { apiKey, jwtSecret, startBridge } from '../support/bridge.ts';
import { spawnCrossfade } from '../support/process.ts';
import { until } from '../support/wait.ts';

const env = { INTERNAL_API_KEY: apiKey, JWT_SECRET_KEY: jwtSecret };
const small = ['--clients', '6', '--rooms', '3', '--rate', '60', '--duration', '1'];

describe('crossfade bench', () => {
  test('measures any endpoint of the contract, as JSON with stable keys', async (t) => {
    const { url } = await startBridge(t);
    const run = spawnCrossfade(t, ['bench', '--url', url, '--publish', url, ...small, '--output', 'json'], env);
    assert.equal((await run.exited).code, 0, run.stderr);
    assert.equal(run.stderr, '');
    const { load, calls, publishMs, endToEndMs, deliveries, ...rest } = JSON.parse(run.stdout);
    assert.deepEqual(
      { ...load, url: '', publish: '' },
      {
        url: '',
        publish: '',
        clients: 6,
        rooms: 3,
        senders: 100,
        rate: 60,
        duration: 1,
      },
    );
    assert.deepEqual(calls, { sent: 60, accepted: 60, failed: {} });
    assert.deepEqual(deliveries, { owed: 120, delivered: 120, lost: 0, doubled: 0, outOfOrder: 0 });
    for (const percentiles of [publishMs, endToEndMs]) {
      assert.deepEqual(Object.keys(percentiles), ['p50', 'p95', 'p99', 'max']);
      assert.ok(percentiles.p50 > 0 && percentiles.p50 <= percentiles.max);
    }
    assert.deepEqual(Object.keys(rest), [
      'cpuSeconds',
      'cpuPerDeliveryUs',
      'generator',
      'visitorsRefused',
      'overTime',
      'clientsLost',
    ]);
    assert.ok(rest.overTime.length > 0);
  });

  test('says so, and fails, where nothing gets through', async (t) => {
    const { url } = await startBridge(t);
    const wrongKey = { ...env, INTERNAL_API_KEY: 'another' };
    const run = spawnCrossfade(t, ['bench', '--url', url, '--publish', url, ...small], wrongKey);
    assert.equal((await run.exited).code, 1);
    assert.match(run.stderr, /BENCH_TARGET: nothing arrived: of 60 calls 60 × 403/);
  });

  test('that is killed makes no call any more', async (t) => {
    const { url } = await startBridge(t);
    const long = ['--clients', '2', '--rooms', '1', '--rate', '50', '--duration', '300'];
    const run = spawnCrossfade(t, ['bench', '--url', url, '--publish', url, ...long], env);
    const children = () => readFileSync(`/proc/${run.pid}/task/${run.pid}/children`, 'utf8').trim();
    await until(() => children() !== '', { what: 'the process that makes the calls', timeoutMs: 10_000 });
    const backend = children();
    t.after(() => existsSync(`/proc/${backend}`) && process.kill(Number(backend), 'SIGKILL'));
    const calls = async () => {
      const headers = { 'x-internal-api-key': apiKey };
      const stats = (await (await fetch(`${url}/internal/stats`, { headers })).json()) as {
        idempotencyEntries: number;
      };
      return stats.idempotencyEntries;
    };
    // Behind the 100 calls of the warm-up, which would soon end by itself.
    await until(async () => (await calls()) > 120, { what: 'calls of the load itself', timeoutMs: 20_000 });
    await run.kill();
    await until(() => !existsSync(`/proc/${backend}`), { what: 'the end of the process that makes the calls' });
  });
});
