// Why the cutover stands still, and the command that comes next.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type KnownCutover, outlook } from '../../src/cutover/outlook.ts';
import type { ReplicaView } from '../../src/cutover/own-view.ts';
import { type CutoverState, initialState } from '../../src/rooms/state.ts';

const view = {} as ReplicaView;
const calm: KnownCutover = {
  state: initialState,
  standalone: false,
  hubs: 'proxy',
  wish: { percent: 0, mirror: false },
  heldFor: '',
  outage: null,
  guard: undefined,
  bridges: [{ bridge: 'http://b', reachable: true, detail: 'answers 200' }],
  log: { reachable: true, followed: true, isCutOff: false },
  replicas: [{ instance: 'a', view, heardMs: 0 }],
};
const at = (state: Partial<CutoverState>, more: Partial<KnownCutover> = {}) =>
  outlook({ ...calm, state: { ...initialState, ...state }, ...more });
const hold = { who: 'ada', when: '2026-01-01T00:00:00.000Z', why: 'lunch' };

test('where nothing stands in the way, the next command is the next step', () => {
  const mirror = { mirror: true, mirrorPercent: 10 };
  const found = [{}, mirror, { percent: 1 }, { percent: 30 }, { percent: 100 }, { pins: { r: 'stream' } } as const].map(
    (state) => {
      const { stage, standstill, next } = at(state);
      assert.deepEqual(standstill, []);
      return [stage, next];
    },
  );
  assert.deepEqual(found, [
    ['observe', 'crossfade cutover mirror 10'],
    ['mirror', 'crossfade cutover set 1 --dry-run'],
    ['shift', 'crossfade cutover set 5 --dry-run'],
    ['shift', 'crossfade cutover set 50 --dry-run'],
    ['full', 'crossfade cutover hubs native --dry-run'],
    ['shift', 'crossfade cutover set 1 --dry-run'],
  ]);
  assert.deepEqual(outlook({ ...calm, standalone: true, bridges: [] }), {
    stage: 'native',
    standstill: [],
    next: null,
  });
  assert.equal(at({ percent: 100 }, { hubs: 'native' }).stage, 'native');
});

test('whatever keeps it from moving is named with what releases it, and comes before the next step', () => {
  const cases: [found: ReturnType<typeof outlook>, why: RegExp, next: string][] = [
    [at({ hold }), /^ada holds it: lunch$/, 'crossfade cutover release'],
    [at({ killed: ['b'] }), /^b has the kill switch/, 'crossfade check'],
    [
      at({}, { log: { reachable: false, followed: false, isCutOff: false } }),
      /^what stands in the log is not known/,
      'crossfade check',
    ],
    [at({}, { log: { reachable: true, followed: true, isCutOff: true } }), /others read the log/, 'crossfade check'],
    [at({}, { heldFor: '1 client is past crossfade' }), /^held back: 1 client/, 'crossfade check'],
    [at({}, { guard: { ok: false, reasons: ['1 client is past crossfade'] } }), /^1 client/, 'crossfade check'],
    [at({}, { bridges: [] }), /^no bridge answers/, 'crossfade check'],
    [at({ operated: true }, { wish: { percent: 50, mirror: false } }), /flags ask for 50%/, 'crossfade cutover reset'],
    [
      at({}, { outage: { since: '2026-01-01T10:20:30.000Z', reason: 'timeout', fails: ['a', 'b'] } }),
      /^all rooms go to the bridge since 10:20:30Z \(timeout\): the log fails at a, b$/,
      'crossfade check',
    ],
    [
      at({}, { replicas: [{ instance: 'b', view: undefined, heardMs: 7_000 }] }),
      /^b does not answer/,
      'crossfade check',
    ],
  ];
  for (const [{ standstill, next }, why, command] of cases) {
    assert.equal(standstill.length, 1, String(why));
    assert.match(standstill[0]!.why, why);
    assert.equal(next, command, String(why));
  }
});

test('what the flags want while somebody holds it is one reason, not two', () => {
  const { standstill } = at({ hold }, { heldFor: 'ada holds the cutover since …' });
  assert.deepEqual(
    standstill.map(({ release }) => release),
    ['crossfade cutover release'],
  );
});
