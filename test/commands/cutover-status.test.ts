// What the operator reads: the slider, and a line for whatever keeps the percent from being what was asked for.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stripVTControlCharacters } from 'node:util';
import { type Status, statusText } from '../../src/commands/cutover-status.ts';

const calm: Status = {
  epoch: 5,
  percent: 25,
  pins: {},
  mirror: false,
  effective: { percent: 25 },
  operated: true,
  wish: { percent: 0, mirror: false },
  outage: null,
  bridges: [{ bridge: 'http://bridge:5000', reachable: true, detail: 'answers 200' }],
  log: { reachable: true, isCutOff: false },
  guard: { ok: true, reasons: [] },
  replicas: [
    { instance: 'one', epoch: '5' },
    { instance: 'three', epoch: '5' },
  ],
  history: [{ who: 'ops', when: '2026-01-16T10:30:00.123Z', what: 'set 25', from: 0, to: 25 }],
};

function linesOf(status: Status): string[] {
  return stripVTControlCharacters(statusText(status)).split('\n');
}

test('a calm cutover is a slider and a few facts', () => {
  assert.deepEqual(linesOf(calm), [
    'bridge ━━━━━●─────────────── stream   25% by stream',
    '',
    'bridge    http://bridge:5000 answers 200',
    'log       reachable',
    'guard     no client is left out',
    'mirror    off',
    'replicas  one     epoch 5',
    '          three   epoch 5',
    'changes   2026-01-16 10:30:00Z   0% → 25%    set 25, by ops',
  ]);
});

test('what stands in the way is named: kill switch, guard, log', () => {
  const lines = linesOf({
    ...calm,
    effective: { percent: 0, why: 'the kill switch of two', held: 'one reason; another' },
    log: { reachable: false, isCutOff: false },
    outage: { since: '2026-01-02T03:04:05.000Z', reason: 'timeout', fails: ['a'] },
    guard: { ok: false, reasons: ['one reason', 'another'] },
    pins: { r1: 'stream' },
    replicas: [],
    history: [],
  });
  assert.deepEqual(lines, [
    'bridge ●──────────────────── stream   0% by stream',
    '',
    'set to    25%, but the kill switch of two',
    'held      one reason; another',
    'bridge    http://bridge:5000 answers 200',
    'log       not reachable',
    'outage    all rooms go to the bridge since 2026-01-02 03:04:05Z (timeout): the log fails at a',
    'guard     one reason',
    '          another',
    'pins      r1 by stream',
    'mirror    off',
    'epoch     5',
  ]);
});

test('a replica that does not follow is seen', () => {
  const lines = linesOf({
    ...calm,
    replicas: [
      { instance: 'one', epoch: '5' },
      { instance: 'two', epoch: '4' },
    ],
  });
  assert.ok(lines.includes('          two   epoch 4, behind 5'), lines.join('\n'));
});

test('only the latest five changes are shown, the latest first', () => {
  const history = Array.from({ length: 7 }, (_, n) => ({ ...calm.history[0]!, what: `set ${n}` }));
  const shown = linesOf({ ...calm, history }).filter((line) => line.includes('by ops'));
  assert.deepEqual(
    shown.map((line) => /set \d/.exec(line)![0]),
    ['set 6', 'set 5', 'set 4', 'set 3', 'set 2'],
  );
});

test('flags that ask for something else than what an operator has set have a line, those that ask for nothing have none', () => {
  const withWish = (percent: number) => linesOf({ ...calm, wish: { percent, mirror: false } });
  assert.ok(withWish(50).includes("flags     ask for 50%, but an operator's word stands"));
  for (const percent of [0, 25]) assert.ok(!withWish(percent).some((line) => line.startsWith('flags')));
});

test('where no bridge answers the guard’s last word counts no more', () => {
  const lines = linesOf({ ...calm, bridges: [{ ...calm.bridges[0]!, reachable: false, detail: 'ECONNREFUSED' }] });
  assert.ok(lines.includes('bridge    http://bridge:5000 is not there: ECONNREFUSED'), lines.join('\n'));
  assert.ok(lines.includes('guard     cannot look: no bridge answers'));
});

test('a replica that others leave behind at the log says so', () => {
  const lines = linesOf({ ...calm, log: { reachable: false, isCutOff: true } });
  assert.ok(lines.includes('log       read by others, not by this replica: its clients miss the stream lane'));
});
