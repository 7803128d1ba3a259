// How clients leave a replica that ends: paced, those whom it hurts least first, and nobody stays because he does not answer.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import type { Client } from '../../src/edge/hubs-side.ts';
import { Leaving } from '../../src/edge/leaving.ts';
import { Faults } from '../../src/telemetry/faults.ts';
import { silentLogger } from '../../src/telemetry/logger.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { TestClock } from '../support/clock.ts';

/** Clients that leave as soon as they are told, unless they are `silent`; and when each was told, in ms. */
function setUp(lastUse: number[], { silent = false, untilMayMove = async (_: Client): Promise<void> => {} } = {}) {
  const clock = new TestClock();
  const clients = new Set<Client>();
  const told: { lastUse: number; at: number }[] = [];
  const cut: number[] = [];
  const enter = (lastUse: number) => {
    const { promise: gone, resolve } = Promise.withResolvers<void>();
    const leave = () => {
      clients.delete(client);
      resolve();
    };
    const client: Client = {
      hubName: 'chat',
      isNative: false,
      user: undefined,
      company: String(lastUse),
      lastUse,
      gone,
      closeForReconnect() {
        told.push({ lastUse, at: clock.monotonic() });
        if (!silent) leave();
      },
      terminate() {
        cut.push(clock.monotonic());
        leave();
      },
    };
    clients.add(client);
  };
  for (const each of lastUse) enter(each);
  const faults = new Faults(silentLogger, createMetrics());
  const leaving = new Leaving({ clients }, { clock, faults, untilMayMove });
  /** Lets time pass as a process sees it that is not held up. */
  const pass = async (ms: number) => {
    for (let passed = 0; passed < ms; passed += 20) {
      clock.advance(20);
      await turn();
    }
  };
  return { clock, clients, told, cut, enter, leaving, pass };
}

const inOrder = (count: number) => Array.from({ length: count }, (_, i) => i);

/** How many were told in the busiest second. */
function mostInASecond(told: { at: number }[]): number {
  return Math.max(...told.map(({ at }) => told.filter((other) => other.at >= at && other.at < at + 1_000).length));
}

test('2,000 clients leave at 50 a second, no second sees many more, and the idle ones go first', async () => {
  const { leaving, told, clients, pass } = setUp(inOrder(2_000).reverse());
  const drained = leaving.drain(50);
  await pass(39_000);
  assert.ok(clients.size > 0, 'not faster than the rate');
  await pass(3_000);
  await drained;
  assert.equal(told.length, 2_000);
  assert.ok(mostInASecond(told) <= 60, String(mostInASecond(told)));
  assert.deepEqual(
    told.map(({ lastUse }) => lastUse),
    inOrder(2_000),
  );
});

test('a process that was held up does not make up for it', async () => {
  const { leaving, told, clock, pass } = setUp(inOrder(500));
  const drained = leaving.drain(50);
  await pass(1_000);
  const before = told.length;
  clock.advance(5_000);
  await turn();
  assert.ok(told.length - before <= 10, `${told.length - before} at once`);
  await pass(12_000);
  await drained;
  assert.ok(mostInASecond(told) <= 60);
});

test('without a rate all leave within a minute, and a few at once', async () => {
  const many = setUp(inOrder(12_000));
  const drained = many.leaving.drain();
  await many.pass(30_000);
  assert.ok(many.clients.size > 0, 'not all of many at once');
  await many.pass(31_000);
  await drained;
  const few = setUp(inOrder(5));
  await few.leaving.drain();
  assert.equal(few.told.length, 5);
});

test('who does not answer is cut off, one after the other as they were told', async () => {
  const { leaving, cut, pass } = setUp(inOrder(10), { silent: true });
  const drained = leaving.drain(10);
  await pass(1_900);
  assert.deepEqual(cut, []);
  await pass(1_500);
  await drained;
  assert.equal(cut.length, 10);
  assert.ok(new Set(cut).size > 5, String(cut));
});

test('who was on the way in when the drain began leaves, too', async () => {
  const { leaving, told, enter, pass } = setUp([1, 2]);
  const drained = leaving.drain(1);
  enter(3);
  await pass(3_100);
  await drained;
  assert.deepEqual(
    told.map(({ lastUse }) => lastUse),
    [1, 2, 3],
  );
});

test('a client whose close goes wrong does not keep the others from theirs', async () => {
  const { leaving, clients, told } = setUp([1, 2, 3]);
  const [first] = clients;
  first!.closeForReconnect = () => assert.fail('odd');
  await leaving.closeAll('gap');
  assert.deepEqual(
    told.map(({ lastUse }) => lastUse),
    [2, 3],
  );
});

test('of a hub that moves, those of one company go at the same moment at every replica, whoever else is there', async () => {
  const setUps = [setUp(inOrder(300)), setUp(inOrder(60))];
  const moves = setUps.map(({ leaving }) => leaving.move(() => true, 10_000));
  await Promise.all(setUps.map(({ pass }) => pass(11_000)));
  await Promise.all(moves);
  const [large, small] = setUps as [(typeof setUps)[0], (typeof setUps)[0]];
  assert.deepEqual([large.clients.size, small.clients.size], [0, 0]);
  assert.ok(mostInASecond(large.told) <= 60, `${mostInASecond(large.told)} in a second`);
  for (const { lastUse: company, at } of small.told) {
    const there = large.told.find(({ lastUse }) => lastUse === company)!;
    assert.ok(Math.abs(there.at - at) <= 1_000, `company ${company} at ${at} and ${there.at} ms`);
  }
});

test('who is where its hub is again when its turn comes stays', async () => {
  const { leaving, clients, told, pass } = setUp(inOrder(100));
  let isBack = false;
  const moved = leaving.move(() => !isBack, 10_000);
  await pass(5_000);
  isBack = true;
  await pass(100);
  await moved;
  assert.ok(told.length > 20 && told.length < 80, `${told.length} went`);
  assert.equal(clients.size, 100 - told.length);
});

test('who moves is not closed before somebody stands in, and not at all where the hub is back by then', async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  let isBack = false;
  const { leaving, clients, told } = setUp([1, 2], {
    untilMayMove: ({ lastUse }) => (lastUse === 2 ? promise : Promise.resolve()),
  });
  const moved = leaving.move(() => !isBack, 0);
  await turn();
  assert.deepEqual([told.length, clients.size], [1, 1]);
  isBack = true;
  resolve();
  await moved;
  assert.deepEqual([told.length, clients.size], [1, 1]);
});

test('those whom a slow bridge has held up do not go all at once', async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const { leaving, told, pass } = setUp(inOrder(400), { untilMayMove: () => promise });
  const moved = leaving.move(() => true, 8_000);
  await pass(2_000);
  assert.equal(told.length, 0);
  resolve();
  await pass(9_000);
  await moved;
  assert.equal(told.length, 400);
  assert.ok(mostInASecond(told) <= 60, `${mostInASecond(told)} in a second`);
});
