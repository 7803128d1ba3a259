// Who has answered a question, and what remains of a question that nobody could be asked.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Tally } from '../../src/cutover/tally.ts';
import { TestClock } from '../support/clock.ts';

test('the answers are given out when all have come, or the time is over', async () => {
  const clock = new TestClock();
  const tally = new Tally<number>(clock);
  tally.open('q');
  tally.note('q', 'a', 1);
  const all = tally.gather('q', ['a', 'b'], 500);
  tally.note('q', 'b', 2);
  assert.deepEqual(
    await all,
    new Map([
      ['a', 1],
      ['b', 2],
    ]),
  );
  tally.open('p');
  const some = tally.gather('p', ['a', 'b'], 500);
  tally.note('p', 'a', 1);
  clock.advance(500);
  assert.deepEqual(await some, new Map([['a', 1]]));
  assert.equal(tally.size, 0);
});

test('a question that could not be asked is forgotten', () => {
  const clock = new TestClock();
  const tally = new Tally<number>(clock);
  for (let n = 0; n < 10; n++) tally.open(`q${n}`);
  clock.advance(30_000);
  assert.equal(tally.size, 0);
});
