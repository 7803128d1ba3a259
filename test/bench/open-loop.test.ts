// The load generator keeps to its times: a server that is slow, or a generator that was held up, hides nothing.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openLoop } from '../../src/bench/open-loop.ts';

test('all that is due is done, at the times it is due, also behind a stall', async () => {
  const froms: number[] = [];
  const nows: number[] = [];
  await openLoop({
    rate: 500,
    seconds: 0.2,
    act(n, from, now) {
      froms.push(from);
      nows.push(now);
      if (n === 10) for (const until = performance.now() + 60; performance.now() < until; );
    },
  });
  assert.equal(froms.length, 100);
  const behindStall = nows.filter((now) => now - nows[10]! >= 60);
  assert.equal(behindStall.length, 89);
  // What was due during the stall counts from then.
  assert.ok(nows[11]! - froms[11]! > 40, `${nows[11]! - froms[11]!} ms`);
});
