// Whether a Redis is one that the log can rest on, asked of real ones.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkRedis, offsetFinding, rightsFor } from '../../src/log/redis/check.ts';
import { systemClock } from '../../src/telemetry/clock.ts';
import { startRedis } from '../support/redis.ts';

const streams = ['events:chat', 'events:ticket'];
const check = (url: string) => checkRedis(url, streams, systemClock);
const statuses = (found: Awaited<ReturnType<typeof check>>) =>
  Object.fromEntries(found.map(({ name, status }) => [name, status]));
const allGood = { redis: 'ok', rights: 'ok', 'on disk': 'ok', eviction: 'ok', clock: 'ok' };

test('a Redis as it should be passes, and nothing is written to it', async (t) => {
  const redis = await startRedis(t, { appendfsync: 'always' });
  const found = await check(redis.url);
  assert.deepEqual(statuses(found), allGood, JSON.stringify(found));
  assert.match(found[0]!.detail, /^\d+\.\d+\.\d+ answers at 127\.0\.0\.1:\d+$/);
  assert.equal(await redis.client().dbsize(), 0);
});

test('what would lose events is found: no file, a late file, eviction', async (t) => {
  const none = await check((await startRedis(t)).url);
  assert.deepEqual(statuses(none), { ...allGood, 'on disk': 'warn' });
  const redis = await startRedis(t, { appendfsync: 'everysec' });
  const client = redis.client();
  await client.config('SET', 'maxmemory-policy', 'allkeys-lru');
  assert.deepEqual(
    statuses(await check(redis.url)),
    { ...allGood, 'on disk': 'warn' },
    'nothing is evicted without a limit',
  );
  await client.config('SET', 'maxmemory', '100mb');
  const found = await check(redis.url);
  assert.deepEqual(statuses(found), { ...allGood, 'on disk': 'warn', eviction: 'fail' });
  for (const { status, hint } of found) assert.equal(hint === undefined, status === 'ok');
});

test('rights that are missing are named, and those that the hint names are enough', async (t) => {
  const redis = await startRedis(t, { appendfsync: 'always' });
  const client = redis.client();
  const as = (user: string) => check(redis.url.replace('//', `//${user}:pw@`));
  await client.call('ACL', 'SETUSER', 'less', 'on', '>pw', '~events:*', '~crossfade:*', '+@all', '-xadd', '-config');
  const less = (await as('less')).find(({ name }) => name === 'rights')!;
  assert.equal(less.status, 'fail');
  assert.match(less.detail, /^refused: XADD events:chat \(and 5 more\), /);
  assert.match(less.detail, /SADD presence:user:check/);
  assert.equal(less.hint, `ACL SETUSER <user> ${rightsFor(streams)}`);
  await client.call('ACL', 'SETUSER', 'right', 'on', '>pw', ...rightsFor(streams).split(' '));
  assert.deepEqual(statuses(await as('right')), allGood);
  await client.call('ACL', 'SETUSER', 'blind', 'on', '>pw', '~*', '+@all', '-multi');
  const blind = (await as('blind')).find(({ name }) => name === 'rights')!;
  assert.deepEqual([blind.status, /cannot be looked at/.test(blind.detail)], ['warn', true]);
});

test('a Redis that is not there, or does not let us in, says why', async (t) => {
  const redis = await startRedis(t, { password: 'right' });
  const [wrong] = await check(redis.url.replace('right', 'wrong'));
  assert.equal(wrong!.status, 'fail');
  assert.match(wrong!.detail, /WRONGPASS/);
  assert.ok(!JSON.stringify(wrong).includes('wrong@'), 'no password');
  await redis.kill9();
  const [gone] = await check(redis.url);
  assert.match(gone!.detail, /^does not answer at \S+: .*ECONNREFUSED/);
});

test('clocks that differ are told from a second on, and fail where order or history would', () => {
  const found = [0, -999, 1_000, -9_999, 10_000, -60_000].map((ms) => offsetFinding('clock', 'b', ms).status);
  assert.deepEqual(found, ['ok', 'ok', 'warn', 'warn', 'fail', 'fail']);
  assert.match(offsetFinding('clock', 'b', -12).detail, /^b is 12 ms behind/);
});
