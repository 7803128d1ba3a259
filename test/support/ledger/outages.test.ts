import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findCountedOutside, toldOutages } from './outages.ts';
import type { MadeCall } from './owed.ts';

const timeOf = (ms: number) => new Date(performance.timeOrigin + ms).toISOString();
const made = (eventId: string, startedAt: number): MadeCall => ({
  call: { eventId, room: 'r', path: '', body: {}, shows: [] },
  address: '',
  startedAt,
  answeredAt: startedAt + 100,
  accepted: true,
});

test('an outage is told by its begin and its end; one that has not ended goes on', () => {
  const lines = [
    { msg: 'all rooms go to the bridge', time: timeOf(1_000) },
    { msg: 'all rooms go to the bridge', time: timeOf(1_500) },
    { msg: 'all rooms are back from the bridge', time: timeOf(2_000) },
    { msg: 'all rooms are back from the bridge', time: timeOf(3_000) },
    { msg: 'all rooms go to the bridge', time: timeOf(9_000) },
  ];
  const [first, last, ...rest] = toldOutages({ lines }).map(({ from, to }) => [Math.round(from), Math.round(to)]);
  assert.ok(Math.abs(first![0]! - 1_000) <= 1 && Math.abs(first![1]! - 2_000) <= 1, `${first}`);
  assert.equal(last![1], Number.POSITIVE_INFINITY);
  assert.deepEqual(rest, []);
});

test('what was counted belongs to an outage, or it is a fault', () => {
  const calls = new Map([['r', [made('before', 10_000), made('during', 20_000), made('after', 40_000)]]]);
  const outages = [{ from: 20_000, to: 21_000 }];
  assert.deepEqual(findCountedOutside(calls, ['during'], outages), []);
  assert.match(findCountedOutside(calls, ['before'], outages).join(), /before was counted, and made from 10000/);
  assert.match(findCountedOutside(calls, ['after'], outages).join(), /after was counted/);
  assert.match(findCountedOutside(calls, ['strange'], outages).join(), /never made/);
});
