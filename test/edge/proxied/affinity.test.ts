// Tokens and their bridges, with time in the test's hand.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { BridgeAddresses } from '../../../src/bridge/addresses.ts';
import { Affinity } from '../../../src/edge/proxied/affinity.ts';
import { silentLogger } from '../../../src/telemetry/logger.ts';
import { TestClock } from '../../support/clock.ts';

async function start(t: TestContext, urls = ['http://10.0.0.1', 'http://10.0.0.2', 'http://10.0.0.3']) {
  const clock = new TestClock();
  const addresses = await BridgeAddresses.open(urls, { clock });
  t.after(() => addresses.close());
  const shared: string[] = [];
  const asked: string[] = [];
  const affinity = new Affinity({
    addresses,
    clock,
    logger: silentLogger,
    share: async (key, value) => void shared.push(`${key} ${value}`),
    shared: async (key) => void asked.push(key),
  });
  const [first] = addresses.all;
  return { affinity, addresses, clock, first: first!, shared, asked };
}

test('a token is known for 60 s after its last use, and for as long as a connection has it', async (t) => {
  const { affinity, clock, first, asked } = await start(t);
  void affinity.learn('token', first);
  for (let i = 0; i < 3; i++) {
    clock.advance(59_000);
    assert.equal(await affinity.addressOf('token'), first);
  }
  affinity.hold('token', first);
  clock.advance(3_600_000);
  assert.equal(await affinity.addressOf('token'), first);
  affinity.release('token');
  clock.advance(59_000);
  assert.equal(await affinity.addressOf('token'), first);
  assert.deepEqual(asked, []);
  clock.advance(60_000);
  void affinity.learn('another', first);
  await affinity.addressOf('token');
  assert.equal(asked.length, 1);
});

test('a token is learnt when the other replicas know it, or after a bound where the log hangs', async (t) => {
  const clock = new TestClock();
  const addresses = await BridgeAddresses.open(['http://127.0.0.1:1', 'http://127.0.0.1:2'], { clock });
  t.after(() => addresses.close());
  const sharing = Promise.withResolvers<void>();
  const affinity = new Affinity({
    addresses,
    clock,
    logger: silentLogger,
    share: () => sharing.promise,
    shared: async () => undefined,
  });
  let learnt = 0;
  const learn = (token: string) => affinity.learn(token, addresses.next()).then(() => learnt++);
  const hanging = learn('one');
  clock.advance(199);
  await new Promise(setImmediate);
  assert.equal(learnt, 0);
  clock.advance(1);
  await hanging;
  const known = learn('two');
  sharing.resolve();
  await known;
  assert.equal(learnt, 2);
});

test('a token of two connections is kept until the second has ended', async (t) => {
  const { affinity, clock, first, asked } = await start(t);
  affinity.hold('token', first);
  affinity.hold('token', first);
  affinity.release('token');
  clock.advance(3_600_000);
  void affinity.learn('another', first);
  assert.equal(await affinity.addressOf('token'), first);
  assert.deepEqual(asked, []);
});

test('of unused tokens the oldest are forgotten beyond 100,000', async (t) => {
  const { affinity, first, asked } = await start(t);
  for (let i = 0; i <= 100_000; i++) void affinity.learn(String(i), first);
  await affinity.addressOf('1');
  assert.equal(asked.length, 0);
  await affinity.addressOf('0');
  assert.equal(asked.length, 1);
});

test('with one bridge nothing is shared and nobody asked', async (t) => {
  const { affinity, first, shared, asked } = await start(t, ['http://10.0.0.1']);
  void affinity.learn('token', first);
  assert.equal(await affinity.addressOf('unknown'), first);
  assert.deepEqual([shared, asked], [[], []]);
});
