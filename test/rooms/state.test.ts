// The cutover state as pure rules: lanes, moves between two states, and what follows what.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { bucketOf } from '../../src/rooms/bucket.ts';
import {
  type CutoverState,
  effectivePercent,
  initialState,
  laneOf,
  maxHistory,
  mirrorsRoom,
  moveOf,
  movesBetween,
  nextState,
  readState,
  stageOf,
  usesStream,
} from '../../src/rooms/state.ts';

const by = { who: 'ada', what: 'set', nowMs: Date.UTC(2026, 0, 1) };
const at = (percent: number, more: Partial<CutoverState> = {}): CutoverState => ({ ...initialState, percent, ...more });
const rooms = Array.from({ length: 300 }, (_, n) => `room-${n}`);

test('a room’s lane is its bucket’s, and a higher percent only adds rooms', () => {
  const percents = fc.tuple(fc.nat(100), fc.nat(100));
  fc.assert(
    fc.property(fc.string(), percents, (room, [a, b]) => {
      const [low, high] = [Math.min(a, b), Math.max(a, b)];
      if (laneOf(at(low), room) === 'stream') assert.equal(laneOf(at(high), room), 'stream');
      assert.equal(laneOf(at(low), room) === 'stream', bucketOf(room) < low);
    }),
  );
});

test('a pin decides whatever the percent, also for rooms named like members of every object', () => {
  assert.equal(laneOf(at(0, { pins: { r: 'stream' } }), 'r'), 'stream');
  assert.equal(laneOf(at(100, { pins: { r: 'bridge' } }), 'r'), 'bridge');
  assert.equal(laneOf(at(0), 'constructor'), 'bridge');
  assert.equal(laneOf(at(100), '__proto__'), 'stream');
});

test('while one replica has the kill switch all behave as 0, pins or not', () => {
  const killed = at(100, { pins: { r: 'stream' }, killed: ['k'] });
  assert.deepEqual([laneOf(killed, 'r'), effectivePercent(killed), usesStream(killed)], ['bridge', 0, false]);
});

test('what moves between two states is what changes its lane', () => {
  const [from, to] = [at(20, { pins: { a: 'stream' } }), at(60, { pins: { b: 'bridge' } })];
  for (const room of [...rooms, 'a', 'b']) {
    const [before, after] = [laneOf(from, room), laneOf(to, room)];
    assert.equal(moveOf(from, to, room), before === after ? undefined : after === 'stream' ? 'raise' : 'lower');
  }
  assert.deepEqual(movesBetween(at(20), at(60)), { raises: true, lowers: false });
  assert.deepEqual(movesBetween(at(60), at(20)), { raises: false, lowers: true });
  assert.deepEqual(movesBetween(at(20), at(20)), { raises: false, lowers: false });
  assert.deepEqual(movesBetween(at(0), at(0, { pins: { r: 'stream' } })), { raises: true, lowers: false });
  assert.deepEqual(movesBetween(at(100, { killed: ['k'] }), at(100)), { raises: true, lowers: false });
});

test('ids are remembered while rooms are on the stream lane, and for five minutes after', () => {
  const remembering = nextState(at(0), { remembers: true }, { ...by, what: '' });
  const raised = nextState(remembering, { percent: 50 }, by);
  const back = nextState(raised, { percent: 0 }, by);
  assert.deepEqual([remembering.remembers, raised.remembers, back.remembers], [true, true, false]);
  assert.ok(back.rememberUntilMs >= by.nowMs + 5 * 60_000);
});

test('every step raises the epoch and stands in the history, which is bounded', () => {
  let state = at(0);
  for (let step = 1; step <= maxHistory + 10; step++) state = nextState(state, { percent: step % 100 }, by);
  assert.equal(state.epoch, maxHistory + 10);
  assert.equal(state.history.length, maxHistory);
  assert.deepEqual(state.history.at(-1), {
    epoch: maxHistory + 10,
    who: 'ada',
    when: '2026-01-01T00:00:00.000Z',
    what: 'set',
    from: (maxHistory + 9) % 100,
    to: (maxHistory + 10) % 100,
  });
});

test('a state survives its way through the log, and nothing else passes for one', () => {
  const state = nextState(at(3), { percent: 7, pins: { r: 'bridge' } }, by);
  assert.deepEqual(readState(JSON.stringify(state)), state);
  for (const text of ['{}', '{"epoch":1}', '[]', '{"epoch":1.5,"percent":3}']) assert.throws(() => readState(text));
});

test('the mirror takes its share of the rooms, and not those that the percent takes first', () => {
  const mirroring = (mirrorPercent: number, percent = 0) => at(percent, { mirror: true, mirrorPercent });
  const many = Array.from({ length: 4_000 }, (_, n) => `room-${n}`);
  const shadowed = many.filter((room) => mirrorsRoom(mirroring(10), room));
  assert.ok(Math.abs(shadowed.length / many.length - 0.1) < 0.02, `${shadowed.length} of ${many.length}`);
  assert.ok(shadowed.every((room) => mirrorsRoom(mirroring(30), room)));
  const left = shadowed.filter((room) => laneOf(mirroring(10, 50), room) === 'bridge');
  assert.ok(Math.abs(left.length / shadowed.length - 0.5) < 0.1, `${left.length} of ${shadowed.length}`);
  assert.ok(many.every((room) => mirrorsRoom(mirroring(100), room)));
  for (const off of [at(0), { ...mirroring(100), killed: ['k'] }]) assert.ok(!mirrorsRoom(off, 'r'));
});

test('the stage is what is set: from looking on to everything by stream', () => {
  const stages = [at(0), at(0, { mirror: true }), at(0, { pins: { r: 'stream' } }), at(1), at(100)].map(stageOf);
  assert.deepEqual(stages, ['observe', 'mirror', 'shift', 'shift', 'full']);
  assert.equal(stageOf(at(100, { pins: { r: 'bridge' } })), 'shift');
});

test('a state of an older release has no hold, and mirrors every room or none', () => {
  const old = readState('{"epoch":3,"percent":7,"mirror":true}');
  assert.deepEqual([old.hold, old.mirror, old.mirrorPercent], [null, true, 100]);
});
