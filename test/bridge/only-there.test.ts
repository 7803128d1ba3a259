// What the bridge alone could answer: remembered by its path, and bounded.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OnlyThere } from '../../src/bridge/only-there.ts';

test('requests are told apart by method and path, counted, and the latest fifty are kept', () => {
  const there = new OnlyThere();
  there.note('GET', '/a', 1);
  there.note('GET', '/a', 2);
  there.note('POST', '/a', 3);
  assert.deepEqual(there.all, [
    { request: 'GET /a', count: 2, lastMs: 2 },
    { request: 'POST /a', count: 1, lastMs: 3 },
  ]);
  for (let n = 0; n < 1_000; n++) there.note('GET', `/${n}${'x'.repeat(1_000)}`, n);
  assert.equal(there.all.length, 50);
  assert.ok(there.all.every(({ request }) => request.length <= 120));
});
