// The Redis engine keeps the conformance suite on a real Redis, and what it remembers ends by itself.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { openRedisLog } from '../../src/log/redis/redis-log.ts';
import { startRedis } from '../support/redis.ts';
import { conformance, logOptions, newEntry } from './conformance.ts';

conformance('redis', async (t, overrides) => {
  const redis = await startRedis(t);
  const log = await openRedisLog({ ...logOptions(overrides), url: redis.url });
  t.after(() => log.close());
  return log;
});

describe('redis: what is remembered ends by itself', () => {
  test('a kept id after 5 minutes, an open claim after 15 seconds', async (t) => {
    const redis = await startRedis(t);
    const log = await openRedisLog({ ...logOptions(), url: redis.url });
    t.after(() => log.close());
    await log.append(newEntry({ eventIds: ['kept'] }));
    await log.claim('open');
    await log.claim('settled');
    await log.settle('settled', true);

    const client = redis.client();
    const ttl = async (id: string) => client.pttl(`crossfade:id:${id}`);
    assertBetween(await ttl('kept'), 290_000, 300_000);
    assertBetween(await ttl('settled'), 290_000, 300_000);
    assertBetween(await ttl('open'), 10_000, 15_000);
  });
});

function assertBetween(value: number, low: number, high: number): void {
  assert.ok(value >= low && value <= high, `${value} is not between ${low} and ${high}`);
}
