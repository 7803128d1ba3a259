// When a call's lane is decided, and which rooms may have left the stream lane by a change that did not wait for this replica: typing of
// their windows may be over.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { RoomSet } from '../../src/room-set.ts';
import { RoomLanes } from '../../src/rooms/room-lanes.ts';
import { type Difference, initialState, laneOf, nextState } from '../../src/rooms/state.ts';
import { Traffic } from '../../src/rooms/traffic.ts';
import { TestClock } from '../support/clock.ts';

const by = { who: 'test', what: 'set', nowMs: 0 };
const names = Array.from({ length: 200 }, (_, number) => `room-${number}`);
const at = (percent: number) => nextState(initialState, { percent }, by);
/** One that is on the stream lane at 20%, one from 80% on alone. */
const low = names.find((name) => laneOf(at(20), name) === 'stream')!;
const high = names.find((name) => laneOf(at(80), name) === 'bridge')!;

function setUp() {
  const clock = new TestClock();
  const traffic = new Traffic(clock);
  const flushed: RoomSet[] = [];
  traffic.connect((rooms) => void flushed.push(rooms));
  const log = { stalenessMs: 0 };
  const follow = { stalenessMs: () => log.stalenessMs, reachable: () => true };
  const hubs = { hubs: 'proxy' as const, hubNames: ['chat'] };
  const roomLanes = new RoomLanes({
    ...{ standalone: false, killSwitch: false, timeoutMs: 200, traffic, follow, clock },
    ...hubs,
  });
  const alone = (change: Difference, skips = 0) => {
    const next = nextState(roomLanes.state, change, by);
    roomLanes.adopt({ ...next, epoch: next.epoch + skips }, 'alone');
  };
  const left = () => [low, high].map((room) => roomLanes.hasLeftAlone(room));
  return { roomLanes, clock, traffic, log, flushed, alone, left };
}

test('a call that waits at a door while its replica stands still takes the lane of the commit that is read then', async () => {
  const { roomLanes, clock, traffic, log } = setUp();
  roomLanes.stateIsKnown();
  traffic.close('a handover', new Set([low]));
  const decided = roomLanes.carry(low, async ({ lane }) => lane);
  await nextTurn();
  // Its timers come before what its sockets hold.
  clock.advance(3_000);
  log.stalenessMs = 3_000;
  traffic.open('a handover');
  await nextTurn();
  roomLanes.adopt(at(100), 'alone');
  log.stalenessMs = 0;
  clock.advance(100);
  assert.equal(await decided, 'stream');
});

test('the state that a replica finds at its start takes no room off the stream lane', () => {
  const { roomLanes, alone, left, flushed } = setUp();
  alone({ percent: 50 }, 7);
  roomLanes.stateIsKnown();
  assert.deepEqual([left(), flushed], [[false, false], []]);
});

const cases: [string, Parameters<ReturnType<typeof setUp>['alone']>[], boolean[]][] = [
  ['lowered: these rooms', [[{ percent: 50 }]], [false, true]],
  ['lowered twice within 2 s: the first ones, too', [[{ percent: 50 }], [{ percent: 0 }]], [true, true]],
  ['lowered and raised again', [[{ percent: 50 }], [{ percent: 100 }]], [false, true]],
  ['two changes of which the latter alone was read: any room', [[{}, 1]], [true, true]],
  ['one that moves none, as at the end of an outage: any room', [[{}]], [true, true]],
  ['raised: none', [[{ percent: 100 }]], [false, false]],
];
for (const [what, changes, expected] of cases)
  test(`missed, ${what}`, () => {
    const { roomLanes, alone, left, flushed, clock } = setUp();
    roomLanes.stateIsKnown();
    roomLanes.adopt(at(what.startsWith('raised') ? 50 : 100), 'together');
    for (const change of changes) alone(...change);
    assert.deepEqual(left(), expected);
    const ended = [low, high].map((room) => flushed.some((rooms) => rooms.has(room)));
    assert.deepEqual(ended, expected, 'their windows have ended');
    clock.advance(2_000);
    assert.deepEqual(left(), [false, false]);
  });
