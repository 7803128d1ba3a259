// A dry run: it finds what the command would find, and changes nothing.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ChangeOf } from '../../src/cutover/changes.ts';
import { type DryRun, DryRuns, type DryRunsParts } from '../../src/cutover/dry-runs.ts';
import { addsNative, initialState } from '../../src/rooms/state.ts';
import { TestClock } from '../support/clock.ts';

const moves = { rooms: { known: 8, moving: 2, exact: true }, connections: { known: 9, moving: 3 }, biggest: null };

const noHubs = { nativeHubs: [], nativeUnder: () => [], takesHubs: addsNative };

function setUp(more: Partial<DryRunsParts> = {}) {
  const asked: string[] = [];
  const parts = {
    roomLanes: {
      state: { ...initialState, epoch: 40, percent: 10, operated: true },
      isFresh: true,
      standalone: false,
      ...noHubs,
    },
    shared: { follows: true },
    guard: {
      check: async () => {
        asked.push('guard');
        return { ok: true, reasons: [] };
      },
    },
    survey: {
      look: async () => [{ view: { clients: 5 } }, { view: { clients: 6 } }, { view: undefined }],
      forecast: async () => moves,
      reach: async () =>
        new Map([
          ['a', []],
          ['b', []],
        ]),
    },
    hubMoves: { allowed: (change: ChangeOf) => change },
    traffic: { closedMs: [12, 38, 20] },
    callRoll: async () => ({ here: ['b', 'a'], silent: [] }),
    bridgeStates: () => [{ bridge: 'http://b', reachable: true, detail: 'answers 200' }],
    log: { reachable: true },
    timeoutMs: 200,
    settleMs: () => 0,
    clock: new TestClock(),
    ...more,
  } as unknown as DryRunsParts;
  const dryRuns = new DryRuns(parts);
  const set = (percent: number, force = false) => dryRuns.set({ percent }, { who: 'ada', force });
  return { parts, dryRuns, set, rollback: () => dryRuns.rollback(), asked };
}

const failed = ({ findings }: DryRun) =>
  findings.filter(({ status }) => status !== 'ok').map(({ name, status, hint }) => [name, status, hint !== undefined]);

test('what is possible is told with what would move, who takes part, and the command that is bound to it', async () => {
  const { parts, set } = setUp();
  const { state } = parts.roomLanes;
  const found = await set(25);
  assert.deepEqual(
    [found.possible, found.changes, found.epoch, found.from, found.to, found.fences, found.callsWait],
    [true, true, 40, 10, 25, 11, { longestMs: 38, atMostMs: 1_200 }],
  );
  assert.deepEqual(failed(found), []);
  assert.equal(found.next, 'crossfade cutover set 25 --if-epoch 40');
  assert.match(found.findings.find(({ name }) => name === 'replicas')!.detail, /^a, b have answered in 0 ms$/);
  assert.deepEqual(parts.roomLanes.state, state, 'nothing is changed');
});

test('what lowers asks no guard and fences nobody', async () => {
  const { set, asked } = setUp();
  const found = await set(5);
  assert.deepEqual([found.possible, found.fences, asked], [true, 0, []]);
});

test('whatever the command would be refused for is found, with what to do', async () => {
  const hold = { who: 'ada', when: '2026-01-01T00:00:00.000Z', why: 'lunch' };
  const held = setUp({
    roomLanes: { state: { ...initialState, percent: 10, hold }, isFresh: true, standalone: false, ...noHubs },
  });
  const guard = { check: async () => ({ ok: false, reasons: ['1 client is past crossfade'] }) };
  const cases: [ReturnType<typeof setUp>, string][] = [
    [held, 'hold'],
    [setUp({ guard }), 'guard'],
    [setUp({ shared: { follows: false } }), 'log'],
    [setUp({ callRoll: async () => Promise.reject(new Error('the log is away')) }), 'replicas'],
    [setUp({ bridgeStates: () => [{ bridge: 'http://b', reachable: false, detail: 'ECONNREFUSED' }] }), 'way back'],
  ];
  for (const [{ set }, name] of cases) {
    const found = await set(25);
    assert.deepEqual([found.possible, found.next, failed(found)], [false, null, [[name, 'fail', true]]], name);
    assert.equal(found.moves.rooms.moving, 2, 'what would move is told all the same');
  }
  const forced = await setUp({ guard }).set(25, true);
  assert.deepEqual([forced.possible, failed(forced)], [true, [['guard', 'warn', true]]]);
  assert.equal(forced.next, 'crossfade cutover set 25 --force --if-epoch 40');
});

test('a replica that is silent, or that others do not reach, is a warning', async () => {
  const found = await setUp({
    callRoll: async () => ({ here: ['a'], silent: ['b'] }),
    survey: {
      ...setUp().parts.survey,
      reach: async () =>
        new Map<string, string[] | undefined>([
          ['a', ['b']],
          ['b', undefined],
        ]),
    },
  }).set(25);
  assert.deepEqual(
    [found.possible, failed(found)],
    [
      true,
      [
        ['replicas', 'warn', true],
        ['way back', 'warn', true],
      ],
    ],
  );
  assert.match(found.findings.at(-1)!.detail, /a does not reach b; b does not answer/);
});

test('a hub becomes native at all replicas or at none: one that is silent is found, and may be left out by force', async () => {
  const { dryRuns } = setUp({
    callRoll: async () => ({ here: ['a'], silent: ['b'] }),
    hubMoves: { allowed: (change: ChangeOf) => change, plan: async () => () => ({ hubs: native }) },
  });
  const native = { native: ['chat'], overMs: 100 };
  const of = (force: boolean) => dryRuns.set({ hubs: { chat: 'native' } }, { who: 'ada', force });
  const refused = await of(false);
  assert.deepEqual([refused.possible, refused.next, failed(refused)], [false, null, [['replicas', 'fail', true]]]);
  const forced = await of(true);
  assert.deepEqual([forced.possible, failed(forced)], [true, [['replicas', 'warn', true]]]);
});

test('a rollback says whether it could keep the order, and is possible also without the log', async () => {
  const found = await setUp().rollback();
  assert.deepEqual([found.kept, found.from, found.to, found.next], ['in order', 10, 0, 'crossfade cutover rollback']);
  const without = await setUp({ log: { reachable: false } }).rollback();
  assert.deepEqual([without.kept, without.possible, failed(without)], ['at once', true, [['order', 'warn', true]]]);
});

test('a command that changes nothing says so', async () => {
  const found = await setUp().set(10);
  assert.deepEqual([found.possible, found.changes, found.next], [true, false, null]);
});
