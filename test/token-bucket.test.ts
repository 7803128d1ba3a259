// A burst and a rate, with time in the test's hand.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TokenBucket } from '../src/token-bucket.ts';

test('a burst may be spent at once, and comes back at its rate, never beyond the burst', () => {
  let now = 0;
  const bucket = new TokenBucket({ burst: 10, perSecond: 4 }, () => now);
  assert.ok(bucket.take(10));
  assert.ok(!bucket.take(1));
  now = 500;
  assert.ok(!bucket.take(3), 'nothing is spent by what is refused');
  assert.ok(bucket.take(2));
  assert.ok(!bucket.take(1));
  now = 1_000_000;
  assert.ok(bucket.take(10));
  assert.ok(!bucket.take(1));
});
