// What is remembered for 5 minutes, by a clock in the test's hand.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Recent } from '../src/recent.ts';
import { TestClock } from './support/clock.ts';

const fiveMinutesMs = 5 * 60_000;

function fiveMinutes(clock: TestClock): Recent {
  return new Recent({ clock, forMs: fiveMinutesMs, maxCount: 1_000 });
}

test('a key is new once', () => {
  const seen = fiveMinutes(new TestClock());
  assert.equal(seen.has('a'), false);
  assert.equal(seen.add('a'), true);
  assert.equal(seen.has('a'), true);
  assert.equal(seen.add('a'), false);
  assert.equal(seen.add('A'), true);
});

test('it is forgotten 5 minutes after it was first added', () => {
  const clock = new TestClock();
  const seen = fiveMinutes(clock);
  seen.add('a');
  clock.advance(fiveMinutesMs - 1);
  assert.equal(seen.add('a'), false);
  clock.advance(1);
  assert.equal(seen.has('a'), false);
  assert.equal(seen.size, 0);
  assert.equal(seen.add('a'), true);
  clock.advance(fiveMinutesMs - 1);
  assert.equal(seen.add('a'), false);
});

test('a clock that is set does not matter', () => {
  const clock = new TestClock();
  const seen = fiveMinutes(clock);
  seen.add('a');
  clock.wallMs += 10 * fiveMinutesMs;
  assert.equal(seen.add('a'), false);
  clock.wallMs -= 20 * fiveMinutesMs;
  clock.advance(fiveMinutesMs);
  assert.equal(seen.add('a'), true);
});

test('its memory is bounded, and the oldest go first', () => {
  const seen = fiveMinutes(new TestClock());
  for (let i = 0; i < 1_010; i++) seen.add(`${i}`);
  assert.equal(seen.has('1009'), true);
  assert.equal(seen.has('0'), false);
  assert.ok(seen.size <= 1_000);
});

test('one that is renewed counts for the whole time again, and is not among the oldest', () => {
  const clock = new TestClock();
  const seen = fiveMinutes(clock);
  for (let i = 0; i < 1_000; i++) seen.add(`${i}`);
  clock.advance(fiveMinutesMs - 1);
  seen.renew('0');
  seen.add('1000');
  assert.equal(seen.has('0'), true);
  assert.equal(seen.has('1'), false, 'the oldest');
  clock.advance(1);
  assert.equal(seen.has('0'), true);
  assert.equal(seen.size, 2);
});
