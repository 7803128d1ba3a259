// Who else reads the streams, on a Redis of the version at hand: 7.0 leaves no trace of a read that brings nothing.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startRedis } from '../support/redis.ts';
import { until } from '../support/wait.ts';
import { chat, event, openTestLog, readUntil, ticket } from './redis-setup.ts';

const group = 'signalr-consumers';
const minuteMs = 60_000;

test('a group that a consumer reads is foreign until that has been idle for long enough', async (t) => {
  const redis = await startRedis(t);
  const client = redis.client();
  const log = await openTestLog(t, redis.url);
  await log.append(event('0'));
  await client.xgroup('CREATE', chat, group, '0');
  assert.deepEqual(await log.foreignReaders([chat, ticket], minuteMs), [], 'nobody has read it');

  await client.xreadgroup('GROUP', group, 'c', 'STREAMS', chat, '>');
  await log.append(event('1'));
  await client.ping();
  assert.deepEqual(await log.foreignReaders([chat, ticket], minuteMs), [{ stream: chat, group }]);
  assert.deepEqual(await log.foreignReaders([ticket], minuteMs), []);
  await until(async () => (await log.foreignReaders([chat], 50)).length === 0);
});

test('of several consumers the latest counts', async (t) => {
  const redis = await startRedis(t);
  const client = redis.client();
  const log = await openTestLog(t, redis.url);
  await client.xgroup('CREATE', chat, group, '0', 'MKSTREAM');
  for (const consumer of ['dead', 'alive', 'dead too']) await client.xgroup('CREATECONSUMER', chat, group, consumer);
  await until(async () => (await log.foreignReaders([chat], 100)).length === 0);
  await log.append(event('0'));
  await client.xreadgroup('GROUP', group, 'alive', 'STREAMS', chat, '>');
  await log.append(event('1'));
  await client.ping();
  assert.deepEqual(await log.foreignReaders([chat], 100), [{ stream: chat, group }]);
});

test('one that polls a quiet stream, and so was never active, is found by its connection until that is closed', async (t) => {
  const redis = await startRedis(t);
  const [bridge, client] = [redis.client(), redis.client()];
  const log = await openTestLog(t, redis.url);
  await client.xgroup('CREATE', chat, group, '$', 'MKSTREAM');
  assert.deepEqual(await log.foreignReaders([chat, ticket], minuteMs), []);
  await bridge.xreadgroup('GROUP', group, 'c', 'STREAMS', chat, '>');
  assert.deepEqual(await log.foreignReaders([chat, ticket], minuteMs), [{ stream: chat, group }]);

  bridge.disconnect();
  // A Redis of 7.2 and later has noted the read all the same.
  await until(async () => (await log.foreignReaders([chat, ticket], 100)).length === 0);
});

test('one that waits without an end is found by its connection', async (t) => {
  const redis = await startRedis(t);
  const [bridge, client] = [redis.client(), redis.client()];
  const log = await openTestLog(t, redis.url);
  await client.xgroup('CREATE', chat, group, '$', 'MKSTREAM');
  const waiting = bridge.xreadgroup('GROUP', group, 'c', 'BLOCK', 0, 'STREAMS', chat, '>');
  const isLong = async () => /idle=[1-9]\d* flags=b/.test((await client.client('LIST')) as string);
  await until(isLong, { what: 'a wait of a second' });
  assert.deepEqual(await log.foreignReaders([chat], 100), [{ stream: chat, group }]);
  bridge.disconnect();
  await assert.rejects(waiting);
});

test('a group that has fallen behind is nobody’s, whoever else reads', async (t) => {
  const redis = await startRedis(t);
  const [other, client] = [redis.client(), redis.client()];
  const log = await openTestLog(t, redis.url);
  await client.xgroup('CREATE', chat, group, '$', 'MKSTREAM');
  await client.xgroup('CREATE', 'their:stream', group, '$', 'MKSTREAM');
  await log.append(event('unread'));
  await other.xreadgroup('GROUP', group, 'c', 'STREAMS', 'their:stream', '>');
  assert.deepEqual(await log.foreignReaders([chat], minuteMs), []);
});

test('the groups of every replica, whatever their prefix, are crossfade’s own', async (t) => {
  const redis = await startRedis(t);
  const a = await openTestLog(t, redis.url);
  const b = await openTestLog(t, redis.url, { instance: 'b', group: 'other' });
  for (const log of [a, b]) {
    const reader = await log.openReader([chat]);
    await log.append(event('x'));
    await readUntil(reader, (seen) => seen.entries.length > 0);
  }
  assert.deepEqual(await a.foreignReaders([chat], minuteMs), []);
});

test('where Redis does not say who is connected, a group that may be read counts as read', async (t) => {
  const redis = await startRedis(t);
  const client = redis.client();
  await client.acl('SETUSER', 'crossfade', 'on', '>pw', '~*', '&*', '+@all', '-client|list');
  const log = await openTestLog(t, redis.url.replace('redis://', 'redis://crossfade:pw@'));
  await client.xgroup('CREATE', chat, group, '$', 'MKSTREAM');
  assert.deepEqual(await log.foreignReaders([chat], minuteMs), [{ stream: chat, group }]);
  await log.append(event('unread'));
  assert.deepEqual(await log.foreignReaders([chat], minuteMs), []);
});
