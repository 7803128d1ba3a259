// What a replica wants of the cutover by itself, and what it says of it: in the log, and as `held`.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Cutover } from '../../src/cutover/cutover.ts';
import type { Moves } from '../../src/cutover/moves.ts';
import { type CutoverState, initialState } from '../../src/cutover/state.ts';
import { Wishes } from '../../src/cutover/wishes.ts';
import { CrossfadeError } from '../../src/errors.ts';
import { TestClock } from '../support/clock.ts';
import { logLines } from '../support/log-lines.ts';

function setUp({ percent = 0, killSwitch = false } = {}) {
  const clock = new TestClock();
  const cutover = { state: { ...initialState }, percent: 0 };
  /** What a move meets. */
  const guard: { refuses: CrossfadeError | Error | undefined } = { refuses: undefined };
  const live = new Set(['a', 'b']);
  const make = async (change: (from: CutoverState) => object | undefined) => {
    const changed = change(cutover.state);
    if (changed === undefined) return;
    if (guard.refuses !== undefined) throw guard.refuses;
    cutover.state = { ...cutover.state, ...changed };
  };
  const { logger, lines } = logLines();
  const wishes = new Wishes({
    instance: 'a',
    wish: { percent, mirror: false },
    killSwitch,
    cutover: cutover as Cutover,
    moves: { make, guarded: make } as unknown as Moves,
    roster: { replicas: async () => [...live].map((instance) => ({ instance, facts: {}, counters: new Map() })) },
    follows: () => true,
    clock,
    logger,
  });
  return { clock, cutover, guard, live, wishes, lines };
}

const refused = new CrossfadeError('CUTOVER_GUARD', 'one client is past crossfade');

test('what was held is held no more when another replica has done it', async () => {
  const { clock, cutover, guard, live, wishes } = setUp();
  cutover.state.killed = ['b'];
  live.delete('b');
  guard.refuses = refused;
  await wishes.pursue();
  clock.advance(5_000);
  await wishes.pursue();
  assert.equal(wishes.heldFor, refused.message);
  // b comes back without its kill switch and lifts it itself.
  cutover.state = { ...cutover.state, killed: [] };
  await wishes.pursue();
  assert.equal(wishes.heldFor, '');
});

test('what was held is held no more when an operator has spoken', async () => {
  const { guard, wishes } = setUp({ percent: 50 });
  guard.refuses = refused;
  await wishes.pursue();
  assert.equal(wishes.heldFor, refused.message);
  wishes.drop();
  await wishes.pursue();
  assert.equal(wishes.heldFor, '');
});

test('flags that an operator’s word stands against are said to be overruled, once', async () => {
  const { cutover, wishes, lines } = setUp({ percent: 50 });
  cutover.state = { ...cutover.state, percent: 20, operated: true };
  await wishes.pursue();
  await wishes.pursue();
  assert.equal(cutover.state.percent, 20);
  const said = { level: 'info', wish: { percent: 50, mirror: false }, percent: 20, mirror: false };
  assert.deepEqual(lines, [{ ...said, msg: 'the flags are overruled by what an operator has set' }]);
});

test('a log that refuses for hours does not fill the log', async () => {
  const { clock, guard, wishes, lines } = setUp({ percent: 50 });
  guard.refuses = new Error('OOM command not allowed');
  for (let second = 0; second < 60; second++) {
    await wishes.pursue();
    clock.advance(1_000);
  }
  assert.equal(lines.length, 6);
});
