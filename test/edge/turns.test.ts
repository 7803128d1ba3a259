// The turns of the event loop: with time in the test's hand.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Turns } from '../../src/edge/turns.ts';

test('whoever handles records goes on for 5 ms of a turn, then all wait for the next', async () => {
  let now = 0;
  const turns = new Turns(() => now);
  assert.equal(turns.spent(), undefined);
  now = 4;
  assert.equal(turns.spent(), undefined);
  now = 5;
  const [mine, another] = [turns.spent(), turns.spent()];
  assert.ok(mine !== undefined && mine === another);
  let hadTurn = false;
  setImmediate(() => {
    hadTurn = true;
  });
  await mine;
  await new Promise((resolve) => setImmediate(resolve));
  assert.ok(hadTurn);
  assert.equal(turns.spent(), undefined, 'the next turn has its own time');
});
