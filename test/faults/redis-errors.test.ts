// Redis answers with each of its errors, at the start and while crossfade runs: the process lives, calls go to the bridge, or
// get a 503 where there is none, and what Redis has said is told in one line.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { broadcast, force, messageOf } from '../e2e/operating.ts';
import { secrets, startSidecar } from '../e2e/sidecar.ts';
import { openTestLog } from '../log/redis-setup.ts';
import { broadcastsAt, call, startBridge } from '../support/bridge.ts';
import { type Crossfade, spawnCrossfade } from '../support/process.ts';
import { startRedis } from '../support/redis.ts';
import { startRefusingRedis } from '../support/refusing-redis.ts';
import { until } from '../support/wait.ts';

const errors = [
  'LOADING Redis is loading the dataset in memory',
  "READONLY You can't write against a read only replica.",
  "OOM command not allowed when used memory > 'maxmemory'.",
  'MISCONF Redis is configured to save RDB snapshots, but it is currently unable to persist to disk.',
  'NOAUTH Authentication required.',
  'NOPERM User default has no permissions to run this command',
  'WRONGPASS invalid username-password pair or user is disabled.',
  'BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.',
  'UNKILLABLE Sorry the script already executed write commands against the dataset.',
  'CLUSTERDOWN The cluster is down',
  'MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to no.',
  'WRONGTYPE Operation against a key holding the wrong kind of value',
  'NOSCRIPT No matching script. Please use EVAL.',
  'MOVED 3999 127.0.0.1:6381',
  'EXECABORT Transaction discarded because of previous errors.',
  'ERR unknown command',
];
const maxClients = 'ERR max number of clients reached';

for (const place of ['at once', 'behind its greeting'] as const) {
  test(`a Redis that refuses ${place} is LOG_UNAVAILABLE with what it said, in one line`, async (t) => {
    const redis = await startRedis(t);
    await Promise.all(
      errors.map(async (error) => {
        const refusing = await startRefusingRedis(t, redis.port);
        if (place === 'at once') refusing.refuse(error);
        else refusing.refuseBehindGreeting(error);
        await assert.rejects(
          openTestLog(t, refusing.url),
          ({ code, message }: Error & { code?: string }) =>
            code === 'LOG_UNAVAILABLE' && message.includes(error) && !message.includes('\n'),
          error,
        );
      }),
    );
  });
}

test('a start that Redis refuses ends with one line where there is no bridge', async (t) => {
  const redis = await startRedis(t);
  for (const error of [errors[5]!, maxClients]) {
    const refusing = await startRefusingRedis(t, redis.port);
    if (error === maxClients) refusing.turnAway(error);
    else refusing.refuseBehindGreeting(error);
    const ports = ['--listen', '--edge', '--admin'].flatMap((flag) => [flag, '127.0.0.1:0']);
    const running = spawnCrossfade(t, ['serve', '--redis', refusing.url, ...ports], secrets);
    assert.deepEqual(await running.exited, { code: 1, signal: null });
    assert.match(running.stderr, /^crossfade: LOG_UNAVAILABLE: Redis at [^\n]+\n$/);
    if (error !== maxClients) assert.ok(running.stderr.includes(error), running.stderr);
  }
});

test('behind a Redis that refuses from the start, calls go to the bridge', async (t) => {
  const redis = await startRedis(t);
  const bridge = await startBridge(t);
  for (const error of [errors[5]!, errors[6]!, maxClients]) {
    const refusing = await startRefusingRedis(t, redis.port);
    if (error === maxClients) refusing.turnAway(error);
    else refusing.refuseBehindGreeting(error);
    const sidecar = await startSidecar(t, ['--redis', refusing.url, '--bridge', bridge.url, '--percent', '100']);
    const before = broadcastsAt(bridge).length;
    assert.deepEqual(await call(sidecar.listen, 'chat/message', messageOf('r', error)), broadcast, error);
    assert.equal(broadcastsAt(bridge).length, before + 1);
    refusing.pass();
    await until(() => isReachable(sidecar), { what: `the log behind ${error}`, timeoutMs: 20_000 });
    await endsClean(sidecar);
  }
});

test('whatever error Redis answers with while it runs, calls are answered by the bridge, and come back', async (t) => {
  const redis = await startRedis(t);
  const bridge = await startBridge(t);
  const refusing = await startRefusingRedis(t, redis.port);
  const sidecar = await startSidecar(t, ['--redis', refusing.url, '--bridge', bridge.url]);
  await force(sidecar, 100);
  for (const error of [...errors, maxClients]) {
    if (error === maxClients) refusing.turnAway(error);
    else refusing.refuse(error);
    const before = broadcastsAt(bridge).length;
    assert.deepEqual(await call(sidecar.listen, 'chat/message', messageOf('r', error)), broadcast, error);
    assert.equal(broadcastsAt(bridge).length, before + 1, error);
    refusing.pass();
    await until(() => isBack(sidecar), { what: `the stream lane behind ${error}`, timeoutMs: 30_000 });
  }
  await endsClean(sidecar);
});

test('... and without a bridge they get a 503, and readiness says so', async (t) => {
  const redis = await startRedis(t);
  const refusing = await startRefusingRedis(t, redis.port);
  const sidecar = await startSidecar(t, ['--redis', refusing.url]);
  for (const [i, error] of [...errors, maxClients].entries()) {
    if (error === maxClients) refusing.turnAway(error);
    else refusing.refuse(error);
    assert.equal((await call(sidecar.listen, 'chat/message', messageOf('r', error))).status, 503, error);
    assert.equal((await fetch(`${sidecar.admin}/readyz`)).status, 503, error);
    refusing.pass();
    const isKept = async () =>
      (await call(sidecar.listen, 'chat/message', messageOf('r', `${i} again`))).status === 200;
    await until(isKept, { what: `a 200 behind ${error}`, timeoutMs: 30_000 });
    await until(async () => (await fetch(`${sidecar.admin}/readyz`)).status === 200, { timeoutMs: 30_000 });
  }
  await endsClean(sidecar);
});

test('a native replica whose Redis is full is not ready, and is again without being asked for anything', async (t) => {
  const redis = await startRedis(t);
  const sidecar = await startSidecar(t, ['--redis', redis.url]);
  const status = async () => (await fetch(`${sidecar.admin}/readyz`)).status;
  const client = redis.client();
  await client.config('SET', 'maxmemory', '1');
  assert.equal((await call(sidecar.listen, 'chat/message', messageOf('r', 'x'))).status, 503);
  const response = await fetch(`${sidecar.admin}/readyz`);
  assert.equal(response.status, 503);
  assert.match(await response.text(), /refuses every event \(OOM/);
  await client.config('SET', 'maxmemory', '0');
  await until(async () => (await status()) === 200, { what: 'it to be ready again', timeoutMs: 20_000 });
});

async function isReachable({ admin }: Crossfade): Promise<boolean> {
  const { log } = (await (await fetch(`${admin}/cutover`)).json()) as { log: { reachable: boolean } };
  return log.reachable;
}

async function isBack({ admin }: Crossfade): Promise<boolean> {
  const state = (await (await fetch(`${admin}/cutover`)).json()) as { outage: unknown; log: { followed: boolean } };
  return state.outage === null && state.log.followed;
}

/** No stack was written, no fault was caught, and few lines were needed. */
async function endsClean({ admin, process }: Crossfade): Promise<void> {
  const metrics = await (await fetch(`${admin}/metrics`)).text();
  for (const [line, count] of metrics.matchAll(/^crossfade_faults_total\{.*\} (\d+)$/gm))
    assert.equal(count, '0', line);
  assert.deepEqual(await process.stop(), { code: 0, signal: null });
  assert.equal(process.stderr, '');
}
