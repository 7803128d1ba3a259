// What the operator reads: the slider, and a line for whatever keeps the percent from being what was asked for.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stripVTControlCharacters } from 'node:util';
import { statusText } from '../../src/commands/cutover-status.ts';
import type { ReplicaStatus } from '../../src/cutover/status.ts';
import type { PlannedStatus } from '../../src/plan/report.ts';

const quiet = { perSecond: 0, p50: null, p95: null, p99: null, failures: 0 };
const at = '2026-01-16T10:30:00.123Z';

function replica(instance: string, more: Partial<ReplicaStatus> = {}): ReplicaStatus {
  const numbers = { clients: 812, rooms: 1, lag: 0, unfenced: 0, draining: false, bridges: { up: 1, of: 1 } };
  return { instance, epoch: '5', answers: true, heardMs: 0, ...numbers, ...more };
}

const calm: PlannedStatus = {
  stage: 'shift',
  standstill: [],
  next: 'crossfade cutover set 50 --dry-run',
  epoch: 5,
  percent: 25,
  pins: {},
  mirror: false,
  mirrorPercent: 100,
  hold: null,
  effective: { percent: 25 },
  operated: true,
  killed: [],
  hubs: {},
  completed: false,
  wish: { percent: 0, mirror: false },
  outage: null,
  bridges: [{ bridge: 'http://bridge:5000', reachable: true, detail: 'answers 200' }],
  log: { reachable: true, followed: true, isCutOff: false },
  guard: { ok: true, reasons: [], at },
  lanes: {
    windowMs: 10_000,
    bridge: { ...quiet, perSecond: 187, p50: 20.04, p95: 62, p99: 70 },
    stream: quiet,
    fallbacks: 0,
  },
  replicas: [replica('one'), replica('three', { clients: 1, rooms: 4021 })],
  history: [{ epoch: 5, who: 'ops', when: at, what: 'set 25', from: 0, to: 25 }],
  plan: null,
  compare: 'SAME: 41,203 events in 2 h',
};

function linesOf(status: PlannedStatus, suffix?: string): string[] {
  return stripVTControlCharacters(statusText(status, suffix)).split('\n');
}

test('a calm cutover is a slider, its stage, a few facts, and the next command', () => {
  assert.deepEqual(linesOf(calm), [
    'bridge ━━━━━●─────────────── stream   25% by stream',
    '',
    'stage     observe mirror [shift] full native, epoch 5',
    'why       nothing holds it: it waits for a command since 2026-01-16 10:30:00Z',
    'bridge    http://bridge:5000 answers 200',
    'log       reachable',
    'guard     no client is left out (seen 2026-01-16 10:30:00Z)',
    'lanes     by bridge  187.0/s   P50   20.0 ms   P95   62.0 ms   no errors',
    '          by stream    0.0/s   nothing delivered               no errors',
    'mirror    off',
    'compare   SAME: 41,203 events in 2 h',
    'replicas  one     epoch 5   812 clients, 1 room, lag 0',
    '          three   epoch 5   1 client, 4,021 rooms, lag 0',
    'changes   2026-01-16 10:30:00Z   0% → 25%    set 25, by ops',
    'next      crossfade cutover set 50 --dry-run',
  ]);
});

test('what stands in the way is named, with what would release it: hold, kill switch, guard, log', () => {
  const lines = linesOf(
    {
      ...calm,
      effective: { percent: 0, why: 'the kill switch of two' },
      standstill: [
        { why: 'ada holds it: lunch', release: 'crossfade cutover release' },
        { why: 'two has the kill switch', release: 'start two without it' },
      ],
      next: 'crossfade cutover release',
      log: { reachable: false, followed: false, isCutOff: false },
      guard: { ok: false, reasons: ['one reason', 'another'], at },
      lanes: { ...calm.lanes, stream: { ...quiet, failures: 1 }, fallbacks: 3 },
      pins: { r1: 'stream' },
      mirror: true,
      mirrorPercent: 10,
      replicas: [],
      history: [],
    },
    ' --admin http://there',
  );
  assert.deepEqual(lines.slice(2), [
    'stage     observe mirror [shift] full native, epoch 5',
    'set to    25%, but the kill switch of two',
    'why       ada holds it: lunch',
    '            → crossfade cutover release --admin http://there',
    '          two has the kill switch',
    '            → start two without it',
    'bridge    http://bridge:5000 answers 200',
    'log       not reachable',
    'guard     one reason (seen 2026-01-16 10:30:00Z)',
    '          another (seen 2026-01-16 10:30:00Z)',
    'lanes     by bridge  187.0/s   P50   20.0 ms   P95   62.0 ms   no errors',
    '          by stream    0.0/s   nothing delivered               1 error, 3 fell back',
    'pins      r1 by stream',
    'mirror    on for 10% of the rooms',
    'compare   SAME: 41,203 events in 2 h',
    'next      crossfade cutover release --admin http://there',
  ]);
});

test('a replica that does not follow, does not answer, drains or misses a bridge is seen', () => {
  const silent = {
    answers: false,
    clients: null,
    rooms: null,
    lag: null,
    unfenced: null,
    draining: null,
    bridges: null,
  };
  const lines = linesOf({
    ...calm,
    replicas: [
      replica('one', { unfenced: 2, lag: null }),
      replica('two', { epoch: '4', draining: true, bridges: { up: 1, of: 2 } }),
      replica('three', { ...silent, heardMs: 7_400, epoch: undefined as never }),
    ],
  }).filter((line) => /epoch/.test(line) && !/stage/.test(line));
  assert.deepEqual(lines, [
    'replicas  one     epoch 5             812 clients, 1 room, lag not known, 2 unfenced',
    '          two     epoch 4, behind 5   812 clients, 1 room, lag 0, reaches 1 of 2 bridges, draining',
    '          three   epoch not known     does not answer, last did 7 s ago',
  ]);
});

test('a replica of a release that does not know the compare is told without it', () => {
  const { compare: _, ...older } = calm;
  const lines = linesOf(older as typeof calm);
  assert.deepEqual(
    lines.filter((line) => /compare|undefined/.test(line)),
    [],
  );
});

test('hubs that have moved are told one by one, with who is still on his way', () => {
  const hubs = {
    chat: { at: 'native' as const, native: 812, proxied: 3 },
    ticket: { at: 'proxy' as const, native: 0, proxied: 1 },
    notification: { at: 'proxy' as const, native: 2, proxied: 40 },
  };
  const lines = linesOf({ ...calm, hubs });
  const at = lines.findIndex((line) => line.startsWith('hubs'));
  assert.deepEqual(lines.slice(at, at + 3), [
    'hubs      chat           native, 812 clients, 3 still at the bridge',
    '          ticket         at the bridge, 1 client',
    '          notification   at the bridge, 40 clients, 2 still native',
  ]);
});

test('only the latest five changes are shown, the latest first', () => {
  const history = Array.from({ length: 7 }, (_, n) => ({ ...calm.history[0]!, what: `set ${n}` }));
  const shown = linesOf({ ...calm, history }).filter((line) => line.includes('by ops'));
  assert.deepEqual(
    shown.map((line) => /set \d/.exec(line)![0]),
    ['set 6', 'set 5', 'set 4', 'set 3', 'set 2'],
  );
});

test('where no bridge answers the guard’s last word counts no more', () => {
  const lines = linesOf({ ...calm, bridges: [{ ...calm.bridges[0]!, reachable: false, detail: 'ECONNREFUSED' }] });
  assert.ok(lines.includes('bridge    http://bridge:5000 is not there: ECONNREFUSED'), lines.join('\n'));
  assert.ok(lines.includes('guard     cannot look: no bridge answers'));
});

test('a replica that others leave behind at the log says so', () => {
  const lines = linesOf({ ...calm, log: { reachable: false, followed: false, isCutOff: true } });
  assert.ok(lines.includes('log       read by others, not by this replica'));
});

test('a plan stands in its own line, and is why nothing waits for a command; one that has failed says why', () => {
  const plan = { name: 'evening', by: 'ada', state: 'running' as const, line: 'running, step 1 of 2 (25%)', why: '' };
  const lines = linesOf({ ...calm, plan });
  assert.ok(lines.includes('plan      evening: running, step 1 of 2 (25%), by ada'));
  assert.ok(lines.includes('why       the plan goes on by itself'));
  const failed = linesOf({ ...calm, plan: { ...plan, state: 'rolled back', line: 'rolled back', why: 'lag 7' } });
  assert.ok(failed.includes('          lag 7'));
});
