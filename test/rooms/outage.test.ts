// The log's outage at one replica: which calls go by the bridge, what the others are told and tell, and when the rooms return.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RoomSet } from '../../src/room-set.ts';
import { Outage, type OutageNews } from '../../src/rooms/outage.ts';
import { RoomLanes } from '../../src/rooms/room-lanes.ts';
import { initialState, nextState } from '../../src/rooms/state.ts';
import { Traffic } from '../../src/rooms/traffic.ts';
import { TestClock } from '../support/clock.ts';
import { logLines } from '../support/log-lines.ts';
import { until } from '../support/wait.ts';

const by = { who: 'test', what: 'set', nowMs: 0 };

function setUp({ percent = 100, fallback = true } = {}) {
  const { logger, lines } = logLines();
  const clock = new TestClock();
  /** What a test may put in the way. */
  const log = { reachable: true, stalenessMs: 0, followed: true };
  const peers = {
    others: ['b'],
    heard: Promise.resolve(),
    shown: Promise.resolve(),
    failure: undefined as Error | undefined,
    /** Until when the log takes ids. */
    taken: Promise.resolve(),
    answers: [] as unknown[],
  };
  const told: OutageNews[] = [];
  const remembered: number[] = [];
  const flushed: RoomSet[] = [];
  const traffic = new Traffic(clock);
  traffic.connect((rooms) => flushed.push(rooms));
  const roomLanes = new RoomLanes({
    standalone: false,
    hubs: 'proxy' as const,
    hubNames: [],
    killSwitch: false,
    traffic,
    follow: { stalenessMs: () => log.stalenessMs, reachable: () => log.reachable },
    timeoutMs: 200,
    clock,
  });
  roomLanes.adopt(nextState(initialState, { percent }, by), 'together');
  roomLanes.stateIsKnown();
  let returns = 0;
  const outage: Outage = new Outage({
    instance: 'a',
    roomLanes,
    traffic,
    unfenced: { untilShown: () => peers.shown },
    peers: {
      get others() {
        return peers.others;
      },
      async ask(_, news) {
        told.push(news as OutageNews);
        await peers.heard;
        return { answers: peers.answers, notReached: [] };
      },
    },
    logAnswers: () => log.reachable && roomLanes.hears && log.followed,
    fallback,
    deafMs: 1_000,
    async rememberRecentIds(withinMs) {
      if (peers.failure !== undefined) throw peers.failure;
      await peers.taken;
      remembered.push(withinMs);
    },
    async comeBack() {
      returns++;
      outage.end();
    },
    showMs: () => 200,
    clock,
    logger,
  });
  const laneOf = (room: string) => roomLanes.decide(room).lane;
  /** Time passes in small steps, as what is awaited in between goes on only when the event loop turns. */
  const pass = async (ms: number) => {
    for (let at = 0; at < ms; at += 50) {
      clock.advance(50);
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  const news = (instance: string, at: number, fails: boolean, epoch = 1): OutageNews => ({
    instance,
    at,
    isOn: true,
    fails,
    epoch,
    reason: 'timeout',
  });
  return {
    clock,
    log,
    peers,
    told,
    remembered,
    flushed,
    roomLanes,
    outage,
    laneOf,
    pass,
    news,
    lines,
    returns: () => returns,
  };
}

test('one append that fails takes the calls of all rooms to the bridge, once the others have shown what they had read', async () => {
  const { peers, flushed, roomLanes, outage, laneOf } = setUp();
  const heard = Promise.withResolvers<void>();
  peers.heard = heard.promise;
  let isReady = false;
  const ready = outage.begin('timeout').then(() => {
    isReady = true;
  });
  assert.deepEqual([laneOf('r'), laneOf('s')], ['bridge', 'bridge']);
  assert.equal(roomLanes.decide('s').outage?.reason, 'timeout');
  assert.ok(flushed[0]?.has('s'), 'what waits in windows does not come behind it');
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(isReady, false);
  heard.resolve();
  await ready;
  outage.close();
});

test('a replica that hears of another one’s outage goes along, tells it on, and answers when it has shown what it had read', async () => {
  const { peers, told, outage, laneOf, news } = setUp();
  const shown = Promise.withResolvers<void>();
  peers.shown = shown.promise;
  let hasAnswered = false;
  const answer = outage.hear(news('b', 1, true)).then(() => {
    hasAnswered = true;
  });
  assert.equal(laneOf('r'), 'bridge');
  assert.deepEqual(
    told.map(({ instance, fails }) => [instance, fails]),
    [['a', true]],
  );
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(hasAnswered, false);
  shown.resolve();
  await answer;
  outage.close();
});

test('rooms that are at the bridge anyway stay out of it', async () => {
  const { outage, news } = setUp({ percent: 0 });
  await outage.hear(news('b', 1, true));
  assert.equal(outage.isOn, false);
  outage.close();
});

test('all rooms return when the log has answered for a moment, and knows the ids that the bridge has accepted meanwhile', async () => {
  const { log, remembered, outage, laneOf, pass, returns } = setUp();
  void outage.begin('connection_lost');
  log.reachable = false;
  await pass(2_000);
  log.reachable = true;
  await pass(200);
  assert.deepEqual([returns(), remembered], [0, []]);
  await pass(400);
  assert.equal(returns(), 1);
  assert.ok(remembered[0]! >= 2_000);
  assert.equal(laneOf('r'), 'stream');
  outage.close();
});

test('a log that fails again is waited for longer each time, so that rooms do not flap; after a calm while it is as at first', async () => {
  const { clock, outage, pass } = setUp();
  const timeUntilBack = async () => {
    void outage.begin('timeout');
    const begunAt = clock.monotonic();
    while (outage.isOn) await pass(50);
    return clock.monotonic() - begunAt;
  };
  const times = [await timeUntilBack(), await timeUntilBack(), await timeUntilBack(), await timeUntilBack()];
  assert.deepEqual(
    times.map((ms, i) => i === 0 || ms > times[i - 1]!),
    [true, true, true, true],
    `${times}`,
  );
  for (let i = 0; i < 5; i++) await timeUntilBack();
  assert.ok((await timeUntilBack()) < 5_000, 'bounded');
  await pass(10_000);
  assert.equal(await timeUntilBack(), times[0]);
  outage.close();
});

test('nobody returns while the log still fails another replica; one that says nothing any more is not waited for', async () => {
  const { outage, pass, news, returns } = setUp();
  void outage.begin('timeout');
  for (let at = 1; at <= 4; at++) {
    await outage.hear(news('b', at, true));
    await pass(1_000);
  }
  assert.deepEqual([returns(), outage.status?.fails], [0, ['b']]);
  await outage.hear(news('b', 5, false));
  await pass(100);
  assert.equal(returns(), 1);
  await outage.hear(news('b', 6, true));
  await pass(4_500);
  assert.equal(returns(), 1);
  await pass(2_000);
  assert.equal(returns(), 2);
  outage.close();
});

test('a replica that starts asks, and goes along with an outage in which the others are, whether their log answers again or not', async () => {
  for (const fails of [true, false]) {
    const { peers, told, outage, laneOf, news } = setUp();
    peers.answers = [null, { isOn: true }, news('b', 1, fails)];
    await outage.ask();
    assert.deepEqual([told[0]?.isOn, laneOf('r')], [false, 'bridge']);
    outage.close();
  }
});

test('who has not read yet that the outage is over brings nobody back into it, but who cannot read it does', async () => {
  const { roomLanes, outage, news } = setUp();
  roomLanes.adopt(nextState(roomLanes.state, {}, by), 'together');
  await outage.hear(news('b', 1, false, 1));
  assert.equal(outage.isOn, false);
  await outage.hear(news('b', 2, true, 1));
  assert.equal(outage.isOn, true);
  outage.close();
});

for (const how of ['is away', 'does not take an append'] as const) {
  test(`a log that answered again and then ${how} is told before the next call goes to the bridge`, async () => {
    const { log, peers, told, roomLanes, outage, pass, news } = setUp();
    await outage.hear(news('b', 1, true));
    await pass(500);
    assert.equal(told.at(-1)?.fails, false);
    const heard = Promise.withResolvers<void>();
    peers.heard = heard.promise;
    if (how === 'is away') {
      log.reachable = false;
      await pass(100);
    } else void outage.begin('timeout');
    assert.equal(told.at(-1)?.fails, true);
    let isReady = false;
    const ready = roomLanes.outage!.ready.then(() => {
      isReady = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(isReady, false);
    heard.resolve();
    await ready;
    outage.close();
  });
}

test('what was told before does not count against what was told later', async () => {
  const { outage, news } = setUp();
  await outage.hear(news('b', 2, false, 0));
  await outage.hear(news('b', 1, true));
  assert.equal(outage.isOn, false);
  outage.close();
});

test('the first by its name brings the rooms back; where it does not, another one does', async () => {
  const { peers, outage, pass, returns } = setUp();
  peers.others = ['Z'];
  void outage.begin('timeout');
  await pass(1_000);
  assert.equal(returns(), 0);
  await pass(600);
  assert.equal(returns(), 1);
  outage.close();
});

test('while a replica still writes the ids that the bridge has accepted, it says that its log fails, so that no other one brings the rooms back', async () => {
  const { peers, outage, pass, news, returns } = setUp();
  const taken = Promise.withResolvers<void>();
  peers.taken = taken.promise;
  void outage.begin('timeout');
  await pass(1_000);
  assert.deepEqual([(await outage.hear(news('b', 1, false))).fails, outage.status?.fails], [true, ['a']]);
  taken.resolve();
  await pass(300);
  assert.equal(returns(), 1);
  outage.close();
});

test('a call that fails while the ids are written lets all of them be written once more', async () => {
  const { peers, remembered, outage, pass, returns } = setUp();
  const taken = Promise.withResolvers<void>();
  peers.taken = taken.promise;
  void outage.begin('timeout');
  await pass(1_000);
  void outage.begin('timeout');
  taken.resolve();
  await pass(200);
  assert.deepEqual([remembered.length, returns()], [1, 0]);
  await pass(400);
  assert.deepEqual([remembered.length, returns()], [2, 1]);
  outage.close();
});

test('ids that the log does not take keep the rooms at the bridge, and it is said why', async () => {
  const { peers, outage, pass, returns, lines } = setUp();
  peers.failure = new Error('READONLY');
  void outage.begin('redis_error');
  await pass(2_000);
  assert.equal(returns(), 0);
  assert.ok(lines.some(({ reason, msg }) => reason === 'READONLY' && msg === 'the rooms stay with the bridge'));
  peers.failure = undefined;
  await until(async () => {
    await pass(500);
    return returns() === 1;
  });
  outage.close();
});

test('a replica that does not hear of the log any more begins one without any call, as its clients would miss what others append', async () => {
  const { log, outage, pass } = setUp();
  log.stalenessMs = Number.POSITIVE_INFINITY;
  await pass(2_000);
  assert.equal(outage.isOn, false, 'it has not begun to read');
  log.stalenessMs = 0;
  await pass(100);
  for (const stalenessMs of [600, Number.POSITIVE_INFINITY]) {
    log.stalenessMs = stalenessMs;
    await pass(800);
    log.stalenessMs = 0;
    await pass(100);
    assert.equal(outage.isOn, false, 'it stood still, and reads again');
    log.stalenessMs = stalenessMs;
    await pass(1_200);
    assert.equal(outage.isOn, true, 'it hears nothing, or has no connection');
    log.stalenessMs = 0;
    outage.end();
    await pass(100);
  }
  outage.close();
});

test('where there is no fallback a deaf replica takes nobody along', async () => {
  const { log, outage, pass } = setUp({ fallback: false });
  log.stalenessMs = 600;
  await pass(3_000);
  assert.equal(outage.isOn, false);
  outage.close();
});

test('a rollback ends it: there is nothing to be brought back', async () => {
  const { roomLanes, outage, pass, returns } = setUp();
  void outage.begin('timeout');
  roomLanes.adopt(nextState(roomLanes.state, { percent: 0 }, by), 'together');
  await pass(100);
  assert.deepEqual([outage.isOn, returns()], [false, 0]);
  outage.close();
});
