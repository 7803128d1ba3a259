// The ids that were shown, for 5 minutes by a clock in the test's hand.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeenIds } from '../../src/consumer/seen.ts';
import { TestClock } from '../support/clock.ts';

const fiveMinutesMs = 5 * 60_000;

test('an id is new once', () => {
  const seen = new SeenIds(new TestClock());
  assert.equal(seen.has('a'), false);
  assert.equal(seen.add('a'), true);
  assert.equal(seen.has('a'), true);
  assert.equal(seen.add('a'), false);
  assert.equal(seen.add('A'), true);
});

test('it is forgotten 5 minutes after it was first added', () => {
  const clock = new TestClock();
  const seen = new SeenIds(clock);
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
  const seen = new SeenIds(clock);
  seen.add('a');
  clock.wallMs += 10 * fiveMinutesMs;
  assert.equal(seen.add('a'), false);
  clock.wallMs -= 20 * fiveMinutesMs;
  clock.advance(fiveMinutesMs);
  assert.equal(seen.add('a'), true);
});

test('its memory is bounded, and the oldest go first', () => {
  const seen = new SeenIds(new TestClock());
  for (let i = 0; i < 500_010; i++) seen.add(`${i}`);
  assert.equal(seen.has('500009'), true);
  assert.equal(seen.has('0'), false);
  assert.ok(seen.size <= 500_000);
});
