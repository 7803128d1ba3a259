// What a replica wants of the cutover by itself, and what it says of it: in the log, and as `held`.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Changes } from '../../src/cutover/changes.ts';
import { OwnFlags } from '../../src/cutover/own-flags.ts';
import { CrossfadeError } from '../../src/errors.ts';
import type { RoomLanes } from '../../src/rooms/room-lanes.ts';
import { type CutoverState, initialState } from '../../src/rooms/state.ts';
import { TestClock } from '../support/clock.ts';
import { logLines } from '../support/log-lines.ts';

function setUp({ percent = 0, killSwitch = false } = {}) {
  const clock = new TestClock();
  const roomLanes = { state: { ...initialState }, percent: 0 };
  /** What a move meets. */
  const guard: { refuses: CrossfadeError | Error | undefined } = { refuses: undefined };
  const live = new Set(['a', 'b']);
  const make = async (change: (from: CutoverState) => object | undefined) => {
    const changed = change(roomLanes.state);
    if (changed === undefined) return;
    if (guard.refuses !== undefined) throw guard.refuses;
    roomLanes.state = { ...roomLanes.state, ...changed };
  };
  const { logger, lines } = logLines();
  const ownFlags = new OwnFlags({
    instance: 'a',
    wish: { percent, mirror: false },
    killSwitch,
    roomLanes: roomLanes as RoomLanes,
    changes: { make, guarded: make } as unknown as Changes,
    roster: { replicas: async () => [...live].map((instance) => ({ instance, facts: {}, counters: new Map() })) },
    follows: () => true,
    clock,
    logger,
  });
  return { clock, roomLanes, guard, live, ownFlags, lines };
}

const refused = new CrossfadeError('CUTOVER_GUARD', 'one client is past crossfade');

test('what was held is held no more when another replica has done it', async () => {
  const { clock, roomLanes, guard, live, ownFlags } = setUp();
  roomLanes.state.killed = ['b'];
  live.delete('b');
  guard.refuses = refused;
  await ownFlags.pursue();
  clock.advance(5_000);
  await ownFlags.pursue();
  assert.equal(ownFlags.heldFor, refused.message);
  // b comes back without its kill switch and lifts it itself.
  roomLanes.state = { ...roomLanes.state, killed: [] };
  await ownFlags.pursue();
  assert.equal(ownFlags.heldFor, '');
});

test('what was held is held no more when an operator has spoken', async () => {
  const { guard, ownFlags } = setUp({ percent: 50 });
  guard.refuses = refused;
  await ownFlags.pursue();
  assert.equal(ownFlags.heldFor, refused.message);
  ownFlags.drop();
  await ownFlags.pursue();
  assert.equal(ownFlags.heldFor, '');
});

test('flags that an operator’s word stands against are said to be overruled, once', async () => {
  const { roomLanes, ownFlags, lines } = setUp({ percent: 50 });
  roomLanes.state = { ...roomLanes.state, percent: 20, operated: true };
  await ownFlags.pursue();
  await ownFlags.pursue();
  assert.equal(roomLanes.state.percent, 20);
  const said = { level: 'info', wish: { percent: 50, mirror: false }, percent: 20, mirror: false };
  assert.deepEqual(lines, [{ ...said, msg: 'the flags are overruled by what an operator has set' }]);
});

test('a log that refuses for hours does not fill the log', async () => {
  const { clock, guard, ownFlags, lines } = setUp({ percent: 50 });
  guard.refuses = new Error('OOM command not allowed');
  for (let second = 0; second < 60; second++) {
    await ownFlags.pursue();
    clock.advance(1_000);
  }
  assert.equal(lines.length, 6);
});
