// Who has typed through a hub lately, with time in the test's hand.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HubTypings } from '../../src/cutover/hub-typing.ts';
import { TestClock } from '../support/clock.ts';

test('typing is told once in a while, and known for longer than that', () => {
  const clock = new TestClock();
  const typings = new HubTypings(clock);
  assert.deepEqual(
    [typings.passes('r', 'ada'), typings.passes('r', 'ada'), typings.passes('r', 'ben')],
    [true, false, true],
  );
  typings.note('r', 'ada');
  clock.advance(4_000);
  assert.equal(typings.passes('r', 'ada'), true, 'told again before it is forgotten');
  assert.equal(typings.mayBeOnItsWay('r', 'ada'), true);
  typings.note('r', 'ada');
  clock.advance(9_999);
  assert.equal(typings.mayBeOnItsWay('r', 'ada'), true, 'each note counts from its own time');
  clock.advance(1);
  assert.equal(typings.mayBeOnItsWay('r', 'ada'), false);
  assert.equal(typings.mayBeOnItsWay('other', 'ada'), false);
});
