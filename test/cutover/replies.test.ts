// Who has answered a question, and what remains of a question that nobody could be asked.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Replies } from '../../src/cutover/replies.ts';
import { TestClock } from '../support/clock.ts';

test('the answers are given out when all have come, or the time is over', async () => {
  const clock = new TestClock();
  const replies = new Replies<number>(clock);
  replies.open('q');
  replies.note('q', 'a', 1);
  const all = replies.gather('q', ['a', 'b'], 500);
  replies.note('q', 'b', 2);
  assert.deepEqual(
    await all,
    new Map([
      ['a', 1],
      ['b', 2],
    ]),
  );
  replies.open('p');
  const some = replies.gather('p', ['a', 'b'], 500);
  replies.note('p', 'a', 1);
  clock.advance(500);
  assert.deepEqual(await some, new Map([['a', 1]]));
  assert.equal(replies.size, 0);
});

test('a question that could not be asked is forgotten', () => {
  const clock = new TestClock();
  const replies = new Replies<number>(clock);
  for (let n = 0; n < 10; n++) replies.open(`q${n}`);
  clock.advance(30_000);
  assert.equal(replies.size, 0);
});

test('a question that is asked once more has the whole time again', async () => {
  const clock = new TestClock();
  const replies = new Replies<number>(clock);
  replies.open('q');
  clock.advance(20_000);
  replies.open('q');
  clock.advance(10_000);
  replies.note('q', 'a', 1);
  assert.deepEqual(await replies.gather('q', ['a'], 500), new Map([['a', 1]]));
});
