// The shared state over a connection that fails: a commit has one outcome, and the state and its note share it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hasCode } from '../../src/errors.ts';
import { controlStream, type Log } from '../../src/log/log.ts';
import { startRedis } from '../support/redis.ts';
import { startProxy } from '../support/tcp-proxy.ts';
import { until } from '../support/wait.ts';
import { newNote } from './conformance.ts';
import { event, openTestLog } from './redis-setup.ts';

function commit(log: Log, epoch: number, value: string, { over = epoch - 1, withinMs = 300 } = {}) {
  return log.commitState({ epoch, value }, { over, note: newNote(value), withinMs });
}

test('one replica commits, the other is refused with what it decided before', async (t) => {
  const redis = await startRedis(t);
  const [a, b] = [await openTestLog(t, redis.url), await openTestLog(t, redis.url, { instance: 'b' })];
  assert.equal(await commit(a, 1, '"a"'), 'committed');
  assert.deepEqual(await b.readState(), { epoch: 1, value: '"a"' });
  assert.equal(await commit(b, 1, '"b"'), 'conflict');
  assert.equal(await b.append(event('x', { epoch: 0 })), 'stale');
  assert.equal(await b.claim('e', 0), 'stale');
  assert.equal(await b.append(event('x', { epoch: 1 })), 'appended');
});

test('a reply that is lost after the commit is found by looking the state up', async (t) => {
  const redis = await startRedis(t);
  const client = redis.client();
  const proxy = await startProxy(t, redis.port);
  const log = await openTestLog(t, `redis://127.0.0.1:${proxy.port}`);

  proxy.swallowReplies();
  const outcome = commit(log, 1, '"ours"');
  await until(() => client.xlen(controlStream), { what: 'Redis to execute the commit' });
  proxy.cut();
  assert.equal(await outcome, 'committed');
  assert.equal(await client.xlen(controlStream), 1);
});

test('a commit without an answer that finds the state of another is a conflict', async (t) => {
  const redis = await startRedis(t);
  const client = redis.client();
  const proxy = await startProxy(t, redis.port);
  const log = await openTestLog(t, `redis://127.0.0.1:${proxy.port}`);

  proxy.stall();
  const outcome = commit(log, 1, '"ours"');
  await client.hset('crossfade:cutover', { epoch: 1, value: '"theirs"' });
  setTimeout(() => {
    proxy.cut();
    proxy.pass();
  }, 50);
  assert.equal(await outcome, 'conflict');
  assert.equal(await client.xlen(controlStream), 0);
});

test('while Redis hangs a commit fails within twice its time, and is not made later', async (t) => {
  const redis = await startRedis(t);
  const log = await openTestLog(t, redis.url);
  redis.pause();
  const begin = performance.now();
  await assert.rejects(commit(log, 1, '1', { withinMs: 100 }), (error) => {
    assert.ok(hasCode(error, 'LOG_APPEND_REFUSED', 'LOG_APPEND_UNKNOWN'), String(error));
    assert.equal(error.reason, 'timeout');
    return true;
  });
  assert.ok(performance.now() - begin < 1_000);
  redis.resume();
  await until(() => log.reachable);
  assert.equal(await log.readState(), undefined);
  assert.equal(await redis.client().xlen(controlStream), 0, 'no ghost of the hung commit');
  assert.equal(await commit(log, 1, '1'), 'committed');
});

test('a state that Redis cannot take leaves no note, and a note that it cannot take leaves no state', async (t) => {
  const redis = await startRedis(t);
  const client = redis.client();
  const log = await openTestLog(t, redis.url);
  const refused = { code: 'LOG_APPEND_REFUSED', reason: 'redis_error' };

  await client.set(controlStream, 'no stream');
  await assert.rejects(commit(log, 1, '1'), refused);
  assert.equal(await log.readState(), undefined);

  await client.del(controlStream);
  await client.set('crossfade:cutover', 'no hash');
  await assert.rejects(commit(log, 1, '1'), refused);
  assert.equal(await client.xlen(controlStream), 0);

  await client.del('crossfade:cutover');
  await client.config('SET', 'maxmemory', '1');
  await assert.rejects(commit(log, 1, '1'), refused);
  assert.equal(await log.readState(), undefined);
});

test('without a connection the state can be neither read nor changed, at once', async (t) => {
  const redis = await startRedis(t);
  const log = await openTestLog(t, redis.url);
  await redis.kill9();
  await until(() => !log.reachable);
  await assert.rejects(log.readState(), { code: 'LOG_UNAVAILABLE' });
  await assert.rejects(commit(log, 1, '1'), { code: 'LOG_APPEND_REFUSED', reason: 'connection_lost' });
  await assert.rejects(log.rememberIds([{ eventId: 'e', ttlMs: 1_000 }]), { code: 'LOG_UNAVAILABLE' });
  await assert.rejects(log.shared('k'), { code: 'LOG_UNAVAILABLE' });
  await assert.rejects(log.foreignReaders(['events:chat'], 1_000), { code: 'LOG_UNAVAILABLE' });
  log.share('k', 'v', 1_000);
});
