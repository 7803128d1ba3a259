// Who is online while hubs move: counters and presence keys are crossfade's as long as any hub is native, and the bridge's alone otherwise.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Online } from '../../src/edge/online.ts';
import { TestClock } from '../support/clock.ts';

function setUp() {
  const clock = new TestClock();
  const said: string[] = [];
  const online = new Online({
    clock,
    standIns: {
      open: async (user) => void said.push(`open ${user}`),
      close: (user) => said.push(`close ${user}`),
    },
    roster: {
      set: (counter, value) => said.push(`${counter} ${value}`),
      holdPresence: (user, session) => said.push(`hold ${user} ${session}`),
      releasePresence: (user) => said.push(`release ${user}`),
      keepPresence: (keeps) => said.push(`keep ${keeps}`),
    },
  });
  /** What was said since it was asked last. */
  const news = () => said.splice(0);
  return { online, clock, news };
}

test('nothing is said while every hub is at the bridge; then all that are there are counted and held', () => {
  const { online, news } = setUp();
  online.connected('ada');
  online.holds('ada', 'desk');
  online.connected('ada');
  online.connected('bob');
  online.ended('bob', false);
  assert.deepEqual(news(), []);
  online.keep(true, true);
  assert.deepEqual(news(), ['user:ada 2', 'hold ada desk', 'keep true']);
  online.keep(false, true);
  assert.deepEqual(news(), ['user:ada 0', 'keep false'], 'no key is ended: they are the bridge’s');
});

test('a user whose last connection has ended is released at once, and one that was closed for a move has time to come back', () => {
  const { online, clock, news } = setUp();
  online.keep(true, true);
  for (const user of ['ada', 'bob', 'cyd']) online.connected(user);
  online.connected('ada');
  news();
  online.ended('ada', false);
  online.ended('ada', false);
  assert.deepEqual(news(), ['user:ada 1', 'user:ada 0', 'release ada']);
  online.ended('bob', true);
  online.ended('cyd', true);
  assert.deepEqual(news(), ['user:bob 0', 'user:cyd 0']);
  clock.advance(4_000);
  online.connected('bob');
  clock.advance(2_000);
  assert.deepEqual(news(), ['user:bob 1', 'close ada', 'release cyd', 'close cyd']);
});

test('a stand-in is opened for a user who has a desktop here, and closed when he has been away for a while', async () => {
  const { online, clock, news } = setUp();
  online.connected('ada');
  online.holds('ada', 'desk');
  await online.standIn('ada');
  assert.deepEqual(news(), [], 'every hub is at the bridge');
  online.keep(true, true);
  online.connected('bob');
  await online.standIn('bob');
  news();
  await online.standIn('ada');
  assert.deepEqual(news(), ['open ada'], 'the bridge keeps no key of bob');
  online.ended('ada', true);
  clock.advance(1_000);
  online.connected('ada');
  clock.advance(10_000);
  assert.deepEqual(news(), ['user:ada 0', 'user:ada 1'], 'ada came back');
  online.ended('ada', false);
  assert.deepEqual(news(), ['user:ada 0', 'release ada']);
  clock.advance(4_000);
  online.connected('ada');
  online.ended('ada', false);
  news();
  clock.advance(4_000);
  assert.deepEqual(news(), [], 'each time he goes he is awaited anew');
  clock.advance(1_000);
  assert.deepEqual(news(), ['close ada']);
});
