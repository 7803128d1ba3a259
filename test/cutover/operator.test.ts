// What an operator's commands do to the state: holds, what is bound to an epoch, and what is written down of them.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Changes } from '../../src/cutover/changes.ts';
import type { Coordinator } from '../../src/cutover/coordinator.ts';
import type { Guard } from '../../src/cutover/guard.ts';
import { Operator, type OperatorParts } from '../../src/cutover/operator.ts';
import { Rollback, type RollbackParts } from '../../src/cutover/rollback.ts';
import type { RoomLanes } from '../../src/rooms/room-lanes.ts';
import { type CutoverState, initialState, laneOf } from '../../src/rooms/state.ts';
import { TestClock } from '../support/clock.ts';
import { logLines } from '../support/log-lines.ts';

interface Setting {
  logAnswers?: boolean;
  /** What another replica changes just before this one. */
  faster?: Partial<CutoverState>;
}

/** Logs that answer, a guard that lets everything pass. */
function setUp({ logAnswers = true, faster = {} }: Setting = {}) {
  const clock = new TestClock();
  const { logger } = logLines();
  const roomLanes = { state: initialState, isFresh: true, onAdopted() {}, takesHubs: () => false };
  const coordinator = {
    async move(change: (from: CutoverState) => CutoverState | undefined) {
      roomLanes.state = { ...roomLanes.state, ...faster };
      roomLanes.state = change(roomLanes.state) ?? roomLanes.state;
      return { here: [], silent: [] };
    },
  } as unknown as Coordinator;
  let checks = 0;
  const guard = { check: async () => ({ ok: true, reasons: [], checks: ++checks }) } as unknown as Guard;
  const changes = new Changes({
    instance: 'a',
    roomLanes: roomLanes as unknown as RoomLanes,
    coordinator,
    log: { append: async () => 'appended' },
    guard,
    rememberRecentIds: async () => {},
    clock,
    logger,
  });
  const shared = {
    follows: logAnswers,
    rollBackWithoutLog(state: CutoverState) {
      roomLanes.state = state;
    },
  };
  const parts = {
    instance: 'a',
    wish: { percent: 5, mirror: false },
    roomLanes,
    changes,
    shared,
    ownFlags: { drop() {} },
    hubMoves: { plan: async () => () => ({}), allowed: (change: unknown) => change },
    guard,
    peers: { tell: async () => ({ reached: ['b'], notReached: [] }) },
    log: { reachable: logAnswers },
    clock,
    logger,
  } as unknown as OperatorParts & RollbackParts;
  return {
    operator: new Operator(parts),
    rollback: new Rollback(parts),
    changes,
    roomLanes,
    clock,
    checks: () => checks,
  };
}

const ada = { who: 'ada' };

test('what is held is moved by no command and no flag, until it is released', async () => {
  const { operator, changes, roomLanes } = setUp();
  await operator.set({ percent: 10 }, ada);
  await operator.hold({ ...ada, why: 'the evening shift decides' });
  const before = roomLanes.state;
  const refused = {
    code: 'CUTOVER_HELD',
    message: /^ada holds the cutover since 2026-01-01 00:00:00Z: the evening shift/,
  };
  const attempts = [
    () => operator.set({ percent: 25 }, { ...ada, force: true }),
    () => operator.set({ percent: 0 }, ada),
    () => operator.set({ pins: { r: 'stream' } }, ada),
    () => operator.set({ mirror: 100 }, ada),
    () => operator.reset(ada),
    () => operator.hold({ who: 'bob', why: 'another reason' }),
    () => changes.guarded(() => ({ percent: 50 }), { who: 'a', what: 'flags at start' }),
  ];
  for (const attempt of attempts) await assert.rejects(attempt, refused, String(attempt));
  assert.deepEqual(roomLanes.state, before);
  await operator.release({ who: 'bob' });
  await operator.set({ percent: 25 }, ada);
  assert.equal(roomLanes.state.percent, 25);
});

test('a hold keeps nobody from the way back: a rollback goes through, and the percent is held at 0 then', async () => {
  for (const logAnswers of [true, false]) {
    const { rollback, roomLanes } = setUp({ logAnswers });
    roomLanes.state = {
      ...initialState,
      percent: 50,
      hold: { who: 'ada', when: '2026-01-01T00:00:00.000Z', why: 'w' },
    };
    const { kept } = await rollback.rollBack({ who: 'bob' });
    assert.deepEqual([kept, roomLanes.state.percent], [logAnswers ? 'in order' : 'at once', 0]);
    assert.equal(roomLanes.state.hold?.who, 'ada');
  }
});

test('a rollback that comes just behind the end of the cutover changes nothing, and does not say that it did', async () => {
  const { rollback, roomLanes } = setUp({ faster: { percent: 100, completed: true } });
  await assert.rejects(rollback.rollBack({ who: 'bob' }), { code: 'CUTOVER_COMPLETE' });
  const peers = { ...initialState, operated: true, epoch: 1 };
  roomLanes.state = initialState;
  await assert.rejects(rollback.adoptFromPeer(peers), { code: 'CUTOVER_COMPLETE' });
  assert.deepEqual([roomLanes.state.percent, roomLanes.state.history], [100, []]);
});

test('the kill switch acts through a hold', async () => {
  const { operator, changes, roomLanes } = setUp();
  await operator.set({ percent: 10 }, ada);
  await operator.hold({ ...ada, why: 'w' });
  await changes.make(() => ({ killed: ['b'] }), { who: 'b', what: 'kill switch on' });
  assert.equal(laneOf(roomLanes.state, 'any room'), 'bridge');
});

test('a command that is bound to an epoch changes nothing that somebody has changed since', async () => {
  const { operator, roomLanes, checks } = setUp();
  await operator.set({ percent: 10 }, ada);
  const { epoch } = roomLanes.state;
  await operator.set({ pins: { r: 'bridge' } }, { who: 'bob' });
  const before = checks();
  for (const ifEpoch of [epoch, epoch + 5, 0]) {
    await assert.rejects(operator.set({ percent: 25 }, { ...ada, ifEpoch }), { code: 'CUTOVER_CONFLICT' });
    await assert.rejects(operator.hold({ ...ada, why: 'w', ifEpoch }), { code: 'CUTOVER_CONFLICT' });
  }
  assert.deepEqual([roomLanes.state.percent, checks()], [10, before], 'and the guard was not asked');
  await operator.set({ percent: 25 }, { ...ada, ifEpoch: roomLanes.state.epoch });
  assert.equal(roomLanes.state.percent, 25);
});

test('that event ids begin to be remembered breaks no bond to an epoch', async () => {
  const { operator, roomLanes } = setUp();
  await operator.set({ pins: { r: 'bridge' } }, ada);
  await operator.set({ percent: 25 }, { ...ada, ifEpoch: roomLanes.state.epoch });
  assert.deepEqual([roomLanes.state.percent, roomLanes.state.remembers], [25, true]);
});

test('the mirror is set to its share, and what is done stands in the history with who and why', async () => {
  const { operator, roomLanes } = setUp();
  await operator.set({ mirror: 10 }, { ...ada, why: 'what does it cost?' });
  assert.deepEqual([roomLanes.state.mirror, roomLanes.state.mirrorPercent], [true, 10]);
  await operator.set({ mirror: 100 }, ada);
  await operator.set({ mirror: 0 }, ada);
  assert.equal(roomLanes.state.mirror, false);
  await operator.hold({ ...ada, why: 'lunch' });
  const told = roomLanes.state.history.map(({ who, what, why }) => [who, what, why]);
  assert.deepEqual(told, [
    ['ada', 'mirror 10%', 'what does it cost?'],
    ['ada', 'mirror on', undefined],
    ['ada', 'mirror off', undefined],
    ['ada', 'hold', 'lunch'],
  ]);
});
