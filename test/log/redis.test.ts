// The Redis engine keeps the conformance suite on a real Redis, and what it remembers ends by itself.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { RedisLog } from '../../src/log/redis/redis-log.ts';
import { startRedis } from '../support/redis.ts';
import { until } from '../support/wait.ts';
import { conformance, logOptions, newEntry } from './conformance.ts';

conformance('redis', async (t, overrides) => {
  const redis = await startRedis(t);
  const log = new RedisLog({ ...logOptions(overrides), url: redis.url });
  t.after(() => log.close());
  await log.open();
  return log;
});

describe('redis: what is remembered ends by itself', () => {
  test('a kept id after 5 minutes, an open claim after 4 seconds', async (t) => {
    const redis = await startRedis(t);
    const log = new RedisLog({ ...logOptions(), url: redis.url });
    t.after(() => log.close());
    await log.open();
    await log.append(newEntry({ eventIds: ['kept'] }));
    await log.claim('open');
    await log.claim('settled');
    await log.settle('settled', true);

    const client = redis.client();
    const ttl = async (id: string) => client.pttl(`crossfade:id:${id}`);
    assertBetween(await ttl('kept'), 290_000, 300_000);
    assertBetween(await ttl('settled'), 290_000, 300_000);
    assertBetween(await ttl('open'), 1, 4_000);
  });

  test('an open claim is kept while its process lives, and a repeat waits no longer than 4 s for one that is dead', async (t) => {
    const redis = await startRedis(t);
    const open = async (instance: string) => {
      const log = new RedisLog({ ...logOptions({ instance }), url: redis.url });
      t.after(() => log.close());
      await log.open();
      return log;
    };
    const [a, b] = [await open('a'), await open('b')];
    const client = redis.client();
    await a.claim('slow');
    await a.claim('settled');
    await a.settle('settled', false);
    await client.pexpire('crossfade:id:slow', 3_000);
    await until(async () => (await client.pttl('crossfade:id:slow')) > 3_000, { what: 'it to be renewed' });
    assert.equal(await b.claim('slow'), 'undecided');
    assert.equal(await client.exists('crossfade:id:settled'), 0);
    await a.close();
    assertBetween(await client.pttl('crossfade:id:slow'), 1, 4_000);
    await until(async () => (await b.claim('slow')) === 'claimed', { what: 'its end', timeoutMs: 10_000 });
  });

  test('an id that was accepted elsewhere after its rest, but never earlier than before', async (t) => {
    const redis = await startRedis(t);
    const log = new RedisLog({ ...logOptions(), url: redis.url });
    t.after(() => log.close());
    await log.open();
    await log.append(newEntry({ eventIds: ['appended'] }));
    await log.claim('open');
    const client = redis.client();
    const kept = await client.get('crossfade:id:appended');
    const all = (ttlMs: number) => ['appended', 'open', 'new'].map((eventId) => ({ eventId, ttlMs }));

    await log.rememberIds(all(60_000));
    const ttl = async (id: string) => client.pttl(`crossfade:id:${id}`);
    assertBetween(await ttl('appended'), 290_000, 300_000);
    assertBetween(await ttl('open'), 50_000, 60_000);
    assertBetween(await ttl('new'), 50_000, 60_000);
    assert.equal(await client.get('crossfade:id:appended'), kept, 'its append can still be looked up');

    await log.rememberIds(all(400_000));
    for (const id of ['appended', 'open', 'new']) assertBetween(await ttl(id), 390_000, 400_000);
  });

  test('a shared value after its time', async (t) => {
    const redis = await startRedis(t);
    const log = new RedisLog({ ...logOptions(), url: redis.url });
    t.after(() => log.close());
    await log.open();
    log.share('token', 'bridge', 60_000);
    assert.equal(await log.shared('token'), 'bridge');
    assertBetween(await redis.client().pttl('crossfade:shared:token'), 50_000, 60_000);
  });
});

function assertBetween(value: number, low: number, high: number): void {
  assert.ok(value >= low && value <= high, `${value} is not between ${low} and ${high}`);
}
