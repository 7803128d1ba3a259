// One replica's state beside a log that comes and goes: what is taken over from it, and what it is told; and what an operator
// does meanwhile.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ChangeOf, Changes } from '../../src/cutover/changes.ts';
import type { Coordinator } from '../../src/cutover/coordinator.ts';
import type { Guard, Verdict } from '../../src/cutover/guard.ts';
import { Operator } from '../../src/cutover/operator.ts';
import { Rollback } from '../../src/cutover/rollback.ts';
import { SharedState } from '../../src/cutover/shared-state.ts';
import type { RoomSet } from '../../src/room-set.ts';
import { RoomLanes } from '../../src/rooms/room-lanes.ts';
import { type CutoverState, type HubKind, initialState, nextState, rolledBack } from '../../src/rooms/state.ts';
import { Traffic } from '../../src/rooms/traffic.ts';
import { TestClock } from '../support/clock.ts';
import { logLines } from '../support/log-lines.ts';
import { until } from '../support/wait.ts';
import { SharedLog } from './shared-log.ts';

const by = { who: 'test', what: 'set', nowMs: 0 };

const noHubMoves = { plan: async () => () => ({}), allowed: (change: ChangeOf) => change };

function setUp({ hubs = 'proxy', percent = 0 }: { hubs?: HubKind; percent?: number } = {}) {
  const { logger, lines } = logLines();
  const shared = new SharedLog();
  const clock = new TestClock();
  const log = shared.of('a');
  const follow = { stalenessMs: 0 };
  const remembered: (number | undefined)[] = [];
  const outages: string[] = [];
  let checked: () => Promise<Verdict> = async () => ({ ok: true, reasons: [] });
  const roomLanes = new RoomLanes({
    standalone: false,
    hubs,
    hubNames: ['chat'],
    killSwitch: false,
    traffic: new Traffic(clock),
    follow: { stalenessMs: () => follow.stalenessMs, reachable: () => shared.reachable },
    timeoutMs: 200,
    clock,
  });
  const guard = { check: () => checked(), read: () => checked() } as unknown as Guard;
  const outage = { status: null, begin: async (reason: string) => void outages.push(reason) };
  /** Whether room `r` was overtaken, each time that rooms may have been. */
  const overtaken: boolean[] = [];
  const rememberRecentIds = async (withinMs?: number) => void remembered.push(withinMs);
  const coordinator = {
    async move(change: (from: CutoverState) => CutoverState | undefined) {
      const to = change(roomLanes.state);
      if (to !== undefined) roomLanes.adopt(to, 'together');
      return { here: ['a'], silent: [] };
    },
  } as unknown as Coordinator;
  const [instance, wish] = ['a', { percent, mirror: false }];
  const changes = new Changes({ instance, roomLanes, coordinator, log, guard, rememberRecentIds, clock, logger });
  const unfenced = { overtakes: (rooms: RoomSet) => void overtaken.push(rooms.has('r')) };
  const parts = { roomLanes, outage, unfenced, changes, log, rememberRecentIds, clock, logger };
  const state = new SharedState(parts);
  const common = { roomLanes, changes, shared: state, clock, logger };
  const operator = new Operator({
    ...common,
    wish,
    hubMoves: noHubMoves,
    ownFlags: { drop() {} },
    completion: { require: async () => {}, change: () => ({}) },
  });
  const rollback = new Rollback({
    ...common,
    instance,
    log,
    peers: { tell: async () => ({ reached: [], notReached: [] }) },
  });
  return {
    shared,
    log,
    clock,
    follow,
    remembered,
    overtaken,
    lines,
    outages,
    roomLanes,
    operator,
    rollback,
    state,
    async begin() {
      await state.follow();
      state.start();
    },
    checkBy(check: () => Promise<Verdict>) {
      checked = check;
    },
  };
}

const raised = (percent: number, from = initialState) => nextState(from, { percent, remembers: true }, by);
const stored = (state: CutoverState) => ({ epoch: state.epoch, value: JSON.stringify(state) });

test('after an outage the log is read first, and its state compared when that is done', async () => {
  const { shared, clock, follow, roomLanes, begin, state, outages } = setUp();
  await begin();
  shared.reachable = false;
  clock.advance(250);
  const [from, to] = [raised(50), raised(0, raised(50))];
  roomLanes.adopt(from, 'together');
  shared.state = stored(to);
  shared.reachable = true;
  follow.stalenessMs = 600;
  clock.advance(1_000);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(roomLanes.state.percent, 50, 'events from before the change are still to be read');
  follow.stalenessMs = 0;
  clock.advance(250);
  await until(() => roomLanes.state.percent === 0);
  assert.deepEqual(outages, []);
  state.close();
});

test('the log learns after an outage which ids the bridge has accepted without it', async () => {
  const { shared, clock, remembered, roomLanes, begin, state } = setUp();
  roomLanes.adopt(raised(50), 'together');
  shared.state = stored(roomLanes.state);
  await begin();
  assert.deepEqual(remembered.splice(0), [undefined], 'when it began to remember');
  shared.reachable = false;
  clock.advance(20_000);
  shared.reachable = true;
  clock.advance(250);
  await until(() => remembered.length === 1);
  assert.ok(remembered[0]! >= 20_000);
  state.close();
});

test('a rollback also ends a raise for which the guard still looks', async () => {
  const { roomLanes, operator, rollback, begin, state, checkBy } = setUp();
  await begin();
  const looking = Promise.withResolvers<Verdict>();
  checkBy(() => looking.promise);
  const set = operator.set({ percent: 50 }, { who: 'ada', force: false });
  await rollback.rollBack({ who: 'bob' });
  looking.resolve({ ok: true, reasons: [] });
  await assert.rejects(set, { code: 'CUTOVER_CONFLICT' });
  assert.equal(roomLanes.state.percent, 0);
  state.close();
});

test('a rollback also ends a raise that was forced past the guard and still waits for the recent ids', async () => {
  const { roomLanes, operator, rollback, begin, state, clock } = setUp();
  await begin();
  const set = operator.set({ percent: 50 }, { who: 'ada', force: true });
  await until(() => roomLanes.state.remembers);
  await rollback.rollBack({ who: 'bob' });
  clock.advance(10_000);
  await assert.rejects(set, { code: 'CUTOVER_CONFLICT' });
  assert.equal(roomLanes.state.percent, 0);
  state.close();
});

test('who takes rooms back is not refused because somebody else has done so a moment before', async () => {
  const { roomLanes, operator, begin, state, clock } = setUp();
  await begin();
  roomLanes.adopt(nextState(initialState, { percent: 50, operated: true }, by), 'together');
  const set = operator.set({ percent: 0, mirror: 100 }, { who: 'ada' });
  await until(() => roomLanes.state.remembers);
  roomLanes.adopt(nextState(roomLanes.state, { percent: 20 }, { ...by, what: 'set 20' }), 'together');
  clock.advance(10_000);
  await set;
  assert.equal(roomLanes.state.percent, 0);
  state.close();
});

test('a rollback without the log counts what the bridge overtakes by it', async () => {
  const { roomLanes, state, overtaken } = setUp();
  roomLanes.adopt(raised(100), 'together');
  state.rollBackWithoutLog(nextState(roomLanes.state, rolledBack, by));
  assert.deepEqual(overtaken, [true]);
  state.close();
});

test('a rollback without the log holds while the raises that were missed before it are read, and outranks them in the log', async () => {
  const { shared, roomLanes, state, outages } = setUp();
  const half = raised(50);
  const full = raised(100, raised(70, half));
  roomLanes.adopt(half, 'together');
  state.rollBackWithoutLog(nextState(half, rolledBack, by));
  shared.state = stored(full);
  roomLanes.adopt(full, 'together');
  state.onRestored(full);
  assert.deepEqual([roomLanes.percent, outages], [0, []]);
  await state.follow();
  assert.deepEqual([roomLanes.percent, JSON.parse(shared.state.value).percent], [0, 0]);
  roomLanes.adopt(raised(40, roomLanes.state), 'together');
  assert.equal(roomLanes.percent, 40, 'what is raised after it holds');
  state.close();
});

test('who was told of a rollback while it was cut off from the log does not take back what was raised after it', async () => {
  for (const readsNotes of [true, false]) {
    const { shared, roomLanes, state } = setUp();
    const half = raised(50);
    roomLanes.adopt(half, 'together');
    const back = nextState(half, rolledBack, { ...by, what: 'rollback', nowMs: 1_000 });
    state.rollBackWithoutLog(back);
    const again = raised(25, back);
    shared.state = stored(again);
    if (readsNotes) for (const read of [back, again]) roomLanes.adopt(read, 'together');
    assert.equal(roomLanes.percent, readsNotes ? 25 : 0);
    await state.follow();
    assert.deepEqual([roomLanes.state, JSON.parse(shared.state.value), state.follows], [again, again, true]);
    state.close();
  }
});

test('a replica that is told of a rollback when it has read what was raised since then changes nothing', async () => {
  for (const reachable of [true, false]) {
    const { shared, roomLanes, state, rollback, begin } = setUp();
    await begin();
    const half = raised(50);
    const back = nextState(half, rolledBack, { ...by, what: 'rollback', nowMs: 1_000 });
    const again = raised(25, back);
    for (const read of [half, back, again]) roomLanes.adopt(read, 'together');
    shared.reachable = reachable;
    await rollback.adoptFromPeer(back);
    assert.deepEqual(roomLanes.state, again);
    state.close();
  }
});

test('a rollback without the log by who had not heard of it takes nothing back once the cutover is complete', async () => {
  for (const epochsAhead of [-1, 0, 3]) {
    const { shared, roomLanes, state, outages } = setUp();
    const full = raised(100);
    const completed = nextState(nextState(full, {}, by), { completed: true, operated: true }, by);
    roomLanes.adopt(full, 'together');
    shared.state = stored(completed);
    state.rollBackWithoutLog({ ...nextState(full, rolledBack, by), epoch: completed.epoch + epochsAhead });
    await state.follow();
    assert.deepEqual([roomLanes.state.completed, roomLanes.percent, roomLanes.standalone], [true, 100, true]);
    assert.equal(shared.state.epoch, roomLanes.state.epoch);
    assert.deepEqual(outages, [], 'nobody goes by a bridge that was left');
    roomLanes.adopt({ ...raised(10), epoch: 99 }, 'together');
    assert.equal(roomLanes.state.completed, true, 'whatever comes later');
    state.close();
  }
});

test('a rollback without the log by who reads that the cutover is complete before it can write it is no step of the history', async () => {
  const { shared, roomLanes, state } = setUp();
  const full = raised(100);
  const completed = nextState(nextState(full, {}, by), { completed: true, operated: true }, by);
  roomLanes.adopt(full, 'together');
  state.rollBackWithoutLog(nextState(full, rolledBack, by));
  shared.state = stored(completed);
  roomLanes.adopt(completed, 'together');
  await state.follow();
  assert.deepEqual([roomLanes.state, JSON.parse(shared.state.value), state.follows], [completed, completed, true]);
  state.close();
});

test('a change whose note was lost is found in the log all the same', async () => {
  const { shared, clock, roomLanes, begin, state, outages } = setUp();
  await begin();
  shared.state = stored(raised(50));
  await until(() => {
    clock.advance(1_000);
    return roomLanes.state.percent === 50;
  });
  assert.deepEqual(outages, ['connection_lost'], 'nothing of it was fenced here');
  state.close();
});

test('a rollback that the log did not hear of is not told as a state that the log had lost', async () => {
  const { shared, roomLanes, begin, state, lines } = setUp();
  roomLanes.adopt(raised(50), 'together');
  shared.state = stored(roomLanes.state);
  await begin();
  state.rollBackWithoutLog(nextState(roomLanes.state, rolledBack, by));
  await state.follow();
  assert.equal(shared.state.epoch, roomLanes.state.epoch);
  assert.deepEqual(
    lines.map(({ level, msg }) => `${level}: ${msg}`),
    ['info: the rollback without the log now stands there, too'],
  );
  state.close();
});

test('a reset by which the flags make hubs native does not pass the guard', async () => {
  const { roomLanes, operator, begin, state, checkBy } = setUp({ hubs: 'native', percent: 100 });
  const moved = { percent: 100, remembers: true, operated: true, hubs: { native: [], overMs: 0 } };
  roomLanes.adopt(nextState(initialState, moved, by), 'together');
  await begin();
  checkBy(async () => ({ ok: false, reasons: ['one client is past crossfade'] }));
  await assert.rejects(operator.reset({ who: 'ada' }), { code: 'CUTOVER_GUARD' });
  assert.deepEqual(roomLanes.nativeHubs, []);
  await operator.reset({ who: 'ada', force: true });
  assert.deepEqual(roomLanes.nativeHubs, ['chat']);
  state.close();
});

test('a change that the guard refuses is told, with who wanted what', async () => {
  const { operator, begin, state, checkBy, lines } = setUp();
  await begin();
  checkBy(async () => ({ ok: false, reasons: ['one client is past crossfade'] }));
  await assert.rejects(operator.set({ percent: 50 }, { who: 'ada', force: false }), { code: 'CUTOVER_GUARD' });
  const refused = { level: 'warn', code: 'CUTOVER_GUARD', what: 'set 50', by: 'ada' };
  assert.deepEqual(lines, [
    { ...refused, reasons: 'one client is past crossfade', msg: 'a change of the cutover was refused' },
  ]);
  state.close();
});

test('a Redis that refuses to write for hours does not fill the log', async () => {
  const { shared, clock, roomLanes, begin, state, lines } = setUp();
  roomLanes.adopt(raised(50), 'together');
  shared.state = stored(roomLanes.state);
  await begin();
  shared.lose();
  shared.refusal = new Error('READONLY You can not write against a read only replica.');
  for (let second = 0; second < 60; second++) {
    clock.advance(1_000);
    await new Promise((resolve) => setImmediate(resolve));
  }
  const said = lines.filter(({ reason }) => String(reason).startsWith('READONLY'));
  assert.equal(said.length, 6);
  state.close();
});

test('a state that cannot be read counts as percent 0 under its epoch: calls go on, and an operator can set another', async () => {
  const { shared, begin, roomLanes, state } = setUp();
  shared.state = { epoch: 7, value: '{"percent":"many"}' };
  await begin();
  assert.deepEqual([roomLanes.state.epoch, roomLanes.percent, roomLanes.decides, state.follows], [7, 0, true, true]);
  state.close();
});

const untilLater = (clock: TestClock, isSo: () => boolean) =>
  until(() => {
    clock.advance(250);
    return isSo();
  });

async function ended(clock: TestClock, running: Promise<void>): Promise<void> {
  let isOver = false;
  const over = running.then(() => {
    isOver = true;
  });
  await untilLater(clock, () => isOver);
  await over;
}

test('a replica that knows the state, but waits for its name and so reads nothing yet, follows what others change', async () => {
  const { shared, clock, follow, roomLanes, state, outages } = setUp();
  follow.stalenessMs = Number.POSITIVE_INFINITY;
  const learning = state.learn();
  await until(() => state.follows);
  shared.state = stored(raised(50));
  await untilLater(clock, () => roomLanes.state.percent === 50);
  assert.deepEqual(outages, ['connection_lost'], 'what it has sent to the bridge meanwhile is fenced first');
  shared.reachable = false;
  await untilLater(clock, () => !state.follows);
  state.close();
  await ended(clock, learning);
});

test('what a replica reads when its reader stands is not older than that, also if it was reading the state just then', async () => {
  const { shared, log, clock, roomLanes, state } = setUp();
  const answered = Promise.withResolvers<void>();
  const { readState } = log;
  log.readState = async () => {
    const read = await readState();
    await answered.promise;
    return read;
  };
  const learning = state.learn();
  shared.state = stored(raised(50));
  const following = state.follow();
  answered.resolve();
  await following;
  assert.equal(roomLanes.state.percent, 50);
  state.start();
  state.close();
  await ended(clock, learning);
});

test('while the state is not known, rooms may have been on the stream lane', async () => {
  const { shared, clock, roomLanes, state } = setUp();
  shared.reachable = false;
  await assert.rejects(state.follow());
  assert.equal(state.mayHaveUsedStream(clock.now()), true);
  shared.reachable = true;
  await state.follow();
  assert.deepEqual([roomLanes.usesStream, state.mayHaveUsedStream(clock.now())], [false, false]);
  shared.state = stored(raised(50));
  shared.reachable = false;
  await assert.rejects(state.follow());
  assert.equal(state.mayHaveUsedStream(clock.now()), true, 'what was known once may be outdated');
});

test('rooms that left the stream lane without a handover are known for 2 s, as typing of their windows comes too late', async () => {
  const { roomLanes, state, clock } = setUp();
  roomLanes.stateIsKnown();
  roomLanes.adopt(raised(100), 'together');
  assert.equal(roomLanes.hasLeftAlone('r'), false);
  state.rollBackWithoutLog(nextState(roomLanes.state, rolledBack, by));
  assert.equal(roomLanes.hasLeftAlone('r'), true);
  state.rollBackWithoutLog(nextState(roomLanes.state, rolledBack, by));
  assert.equal(roomLanes.hasLeftAlone('r'), true, 'a second rollback moves nothing');
  clock.advance(2_000);
  assert.equal(roomLanes.hasLeftAlone('r'), false);
  state.close();
});
