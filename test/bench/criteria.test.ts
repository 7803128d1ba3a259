// The verdicts of `crossfade verify`: each criterion fails by the number that breaks it, and by nothing else.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type Criterion, judge, type Kept, type Measurements } from '../../src/bench/criteria.ts';
import type { Percentiles } from '../../src/bench/ledger.ts';

const ms = (p50: number, p95: number): Percentiles => ({ p50, p95, p99: p95, max: p95 });
const whole: Kept = { owed: 10, delivered: 10, lost: 0, doubled: 0, outOfOrder: 0, refused: 0 };

const good: Measurements = {
  lanes: [
    { load: 'calm', bridge: ms(1, 2), stream: ms(1, 2) },
    { load: 'hard', bridge: ms(20, 100), stream: ms(2, 60) },
  ],
  noBaseline: undefined,
  hundredUsers: ms(199, 499),
  growth: [
    { users: 50, p50: 10, p95: 20 },
    { users: 200, p50: 11.9, p95: 23.9 },
  ],
  fiveHundredUsers: whole,
  typing: { accepted: 100, uncoalesced: 200, shown: 140, wrongAtEnd: 0 },
  kept: whole,
  percentMoves: 4,
  killSwitch: { ...whole, byBridge: 5, byStream: 0 },
  metrics: { replicas: 2, expected: 72, missing: [] },
};

function verdicts(change: Partial<Measurements>): Record<string, Criterion['ok']> {
  return Object.fromEntries(judge({ ...good, ...change }).map(({ id, ok }) => [id, ok]));
}

const faults: [what: string, id: string, change: Partial<Measurements>][] = [
  [
    'the load that hurts the bridge most is only 39% faster',
    'SC-001',
    { lanes: [...good.lanes.slice(0, 1), { load: 'hard', bridge: ms(20, 100), stream: ms(2, 61) }] },
  ],
  ['P50 is 200 ms', 'SC-002', { hundredUsers: ms(200, 300) }],
  ['P95 is 500 ms', 'SC-002', { hundredUsers: ms(100, 500) }],
  ['nothing arrived', 'SC-002', { hundredUsers: undefined }],
  ['P95 grows by 20%', 'SC-003', { growth: [good.growth[0]!, { users: 200, p50: 10, p95: 24.1 }] }],
  ['500 users have calls refused', 'SC-003', { fiveHundredUsers: { ...whole, refused: 1 } }],
  ['29% of the typing is saved', 'SC-004', { typing: { ...good.typing!, shown: 142 } }],
  ['a typist is shown typing for ever', 'SC-004', { typing: { ...good.typing!, wrongAtEnd: 1 } }],
  ['a message is lost', 'SC-005', { kept: { ...whole, delivered: 9, lost: 1 } }],
  ['a message is doubled', 'SC-005', { kept: { ...whole, doubled: 1 } }],
  ['a message is out of order', 'SC-005', { kept: { ...whole, outOfOrder: 1 } }],
  [
    'a call goes by stream in spite of the kill switch',
    'SC-006',
    { killSwitch: { ...whole, byBridge: 5, byStream: 1 } },
  ],
  ['no call goes by the bridge', 'SC-006', { killSwitch: { ...whole, byBridge: 0, byStream: 0 } }],
  ['a metric is not scraped', 'SC-007', { metrics: { replicas: 1, expected: 72, missing: ['crossfade_x'] } }],
];

describe('the success criteria', () => {
  test('all hold where every number is within its bound', () => {
    assert.deepEqual(Object.values(verdicts({})), Array(7).fill(true));
  });

  for (const [what, id, change] of faults) {
    test(`${id} fails, alone, where ${what}`, () => {
      const failed = Object.entries(verdicts(change)).filter(([, ok]) => ok !== true);
      assert.deepEqual(failed, [[id, false]]);
    });
  }

  test('what was not measured is neither held nor failed, and says why', () => {
    const change = { noBaseline: 'not measured: no bridge', killSwitch: { not: 'not measured: a restart' } };
    const open = judge({ ...good, ...change }).filter(({ ok }) => ok === null);
    assert.deepEqual(
      open.map(({ id, measured }) => [id, measured]),
      [
        ['SC-001', 'not measured: no bridge'],
        ['SC-006', 'not measured: a restart'],
      ],
    );
  });

  test('every load is shown, also those under which the bridge does not hurt', () => {
    const [faster] = judge(good);
    assert.match(faster!.details[0]!, /^calm: P50 1 ms → 1 ms/);
    assert.equal(faster!.details.length, 2);
    assert.match(faster!.measured, /hard$/);
  });
});
