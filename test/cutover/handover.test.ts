// The handover over several replicas on one log: what is held, for how long, and in which order it goes on.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readNote } from '../../src/cutover/control.ts';
import { Cutover } from '../../src/cutover/cutover.ts';
import { Flights } from '../../src/cutover/flights.ts';
import { Gate } from '../../src/cutover/gate.ts';
import { Handover, type HandoverNote } from '../../src/cutover/handover.ts';
import { type CutoverState, initialState, nextState } from '../../src/cutover/state.ts';
import type { Decision } from '../../src/lanes/lanes.ts';
import { controlStream } from '../../src/log/log.ts';
import { type Clock, systemClock } from '../../src/telemetry/clock.ts';
import { Faults } from '../../src/telemetry/faults.ts';
import { silentLogger } from '../../src/telemetry/logger.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { until } from '../support/wait.ts';
import { SharedLog } from './shared-log.ts';

const timeoutMs = 200;
const by = { who: 'test', what: 'set', nowMs: 0 };
const entry = { eventIds: [], eventType: 'e', stream: 's', maxLength: 1, room: 'r', payload: '1', deliveries: [] };
const toPercent = (percent: number) => (from: CutoverState) => nextState(from, { percent }, by);

function startReplica(log: SharedLog, instance: string, clock: Clock = systemClock) {
  const journal: string[] = [];
  const holds = new Map<string, (room: string) => boolean>();
  /** What a test may watch, or put in the way. */
  const ends = { flush() {}, fence: async () => {}, shown: async () => {} };
  const gate = new Gate();
  const flights = new Flights();
  const cutover = new Cutover({
    standalone: false,
    killSwitch: false,
    gate,
    flights,
    detourOf: () => undefined,
    follow: { silentMs: () => 0, reachable: () => true },
    timeoutMs,
    clock,
  });
  cutover.stateIsKnown();
  const handover = new Handover({
    instance,
    log: log.of(instance),
    fences: {
      hold: (id, covers) => void holds.set(id, covers),
      async fence(id) {
        await ends.fence();
        journal.push(`fence ${id.includes(' ') ? 'late' : 'all'}`);
        holds.delete(id);
      },
      fenceMembers() {},
      unshown: () => [],
      async untilShown() {},
    },
    gate,
    flights,
    unfenced: { show: () => ends.shown() },
    flush: async () => void ends.flush(),
    state: () => cutover.state,
    adopt(state) {
      journal.push(`adopt ${state.percent}`);
      cutover.adopt(state);
    },
    timeoutMs,
    settleMs: () => 0,
    clock,
    faults: new Faults(silentLogger, createMetrics()),
    logger: silentLogger,
  });
  log.read(instance, (entry) => {
    if (entry.stream === controlStream) return handover.onNote(readNote(entry) as HandoverNote);
    journal.push(`read ${entry.room}`);
  });
  const call = async (room: string, during: (decision: Decision) => Promise<void> = async () => {}) => {
    let lane = '';
    await cutover.carry(room, async (decision) => {
      lane = decision.lane;
      await during(decision);
    });
    return lane;
  };
  return { cutover, handover, journal, holds, gate, call, ends };
}

function deferred() {
  return Promise.withResolvers<void>();
}

test('all replicas are in the new state when the move resolves, and their connections are fenced', async () => {
  const log = new SharedLog();
  const [a, b] = [startReplica(log, 'a'), startReplica(log, 'b')];
  assert.deepEqual(await a.handover.move(toPercent(100)), { here: ['a', 'b'], silent: [] });
  await until(() => b.cutover.state.percent === 100);
  assert.deepEqual(
    [a.journal, b.journal],
    [
      ['adopt 100', 'fence all'],
      ['adopt 100', 'fence all'],
    ],
  );
  assert.deepEqual([await a.call('r'), await b.call('r')], ['stream', 'stream']);
});

test('a call that comes during the handover waits, and takes the new lane', async () => {
  const log = new SharedLog();
  const [a, b] = [startReplica(log, 'a'), startReplica(log, 'b')];
  const atBridge = deferred();
  const first = b.call('r', () => atBridge.promise);
  const moving = a.handover.move(toPercent(100));
  await until(() => b.gate.waitFor('r') !== undefined);
  const second = b.call('r');
  atBridge.resolve();
  assert.deepEqual([await first, await second], ['bridge', 'stream']);
  await moving;
});

test('a bridge call that is late holds no room beyond the timeout, and the connections wait for it', async () => {
  const log = new SharedLog();
  const [a, b] = [startReplica(log, 'a'), startReplica(log, 'b')];
  const atBridge = deferred();
  const late = a.call('slow', () => atBridge.promise);
  await b.handover.move(toPercent(100));
  assert.equal(await b.call('slow'), 'stream', 'the room itself goes on');
  for (const replica of [a, b]) {
    await until(() => replica.journal.includes('fence all'));
    assert.equal(replica.journal.includes('fence late'), false);
    assert.deepEqual(
      [...replica.holds.values()].map((covers) => [covers('slow'), covers('other')]),
      [[true, false]],
      'only the late room is still held at the connections',
    );
  }
  atBridge.resolve();
  await late;
  for (const replica of [a, b]) await until(() => replica.journal.includes('fence late') && replica.holds.size === 0);
});

test('the windows of the rooms that move end when the calls under way have entered them', async () => {
  const log = new SharedLog();
  const [a, b] = [startReplica(log, 'a'), startReplica(log, 'b')];
  await a.handover.move(toPercent(100));
  await until(() => b.cutover.state.percent === 100);
  const steps: string[] = [];
  b.ends.flush = () => void steps.push('flush');
  const claiming = deferred();
  const typing = b.call('r', async () => {
    await claiming.promise;
    steps.push('enters its window');
  });
  const moving = a.handover.move(toPercent(0));
  await until(() => b.gate.waitFor('r') !== undefined);
  claiming.resolve();
  await Promise.all([typing, moving]);
  assert.deepEqual(steps.slice(0, 2), ['enters its window', 'flush']);
});

test('a room that leaves the stream lane waits until every replica has shown what stands before the commit', async () => {
  const log = new SharedLog();
  const [a, b] = [startReplica(log, 'a'), startReplica(log, 'b')];
  await a.handover.move(toPercent(100));
  await until(() => b.cutover.state.percent === 100);
  log.stop('b');
  const moving = a.handover.move(toPercent(0));
  // The roll call and the commit go on without it; it is left out.
  assert.deepEqual((await moving).silent, ['b']);
  assert.equal(await a.call('r'), 'bridge');
  log.continue('b');
  await until(() => b.cutover.state.percent === 0);
});

test('a room that leaves the stream lane is not overtaken by the bridge while what it was sent waits at a connection', async () => {
  const log = new SharedLog();
  const [a, b] = [startReplica(log, 'a'), startReplica(log, 'b')];
  const steps: string[] = [];
  b.ends.shown = async () => {
    await new Promise((resolve) => setTimeout(resolve, 50));
    steps.push('shown by stream');
  };
  await a.handover.move(toPercent(100));
  await a.handover.move(toPercent(0));
  steps.push(await a.call('r'));
  assert.deepEqual(steps, ['shown by stream', 'bridge']);
});

test('a late call is not waited for any more once its room has left the stream lane again', async () => {
  const log = new SharedLog();
  const a = startReplica(log, 'a');
  const atBridge = deferred();
  const late = a.call('slow', () => atBridge.promise);
  await a.handover.move(toPercent(100));
  assert.equal(a.holds.size, 1);
  await a.handover.move(toPercent(0));
  await until(() => a.holds.size === 0);
  atBridge.resolve();
  await late;
});

test('a replica that was stopped across the commit is refused by the log, and decides again', async () => {
  const log = new SharedLog();
  const [a, b] = [startReplica(log, 'a'), startReplica(log, 'b')];
  await a.handover.move(toPercent(100));
  await until(() => b.cutover.state.percent === 100);
  log.stop('b');
  await a.handover.move(toPercent(0));
  const lanes: string[] = [];
  const call = b.cutover.carry('r', async ({ lane, epoch }) => {
    lanes.push(lane);
    if (lane === 'bridge') return;
    assert.equal(await log.of('b').append({ ...entry, epoch: epoch! }), 'stale');
    const { StaleEpoch } = await import('../../src/lanes/lanes.ts');
    throw new StaleEpoch();
  });
  setImmediate(() => log.continue('b'));
  await call;
  assert.deepEqual(lanes, ['stream', 'bridge']);
});

test('of two changes at once both are made, one after the other', async () => {
  const log = new SharedLog();
  const [a, b] = [startReplica(log, 'a'), startReplica(log, 'b')];
  const add = (name: string) => (from: CutoverState) => nextState(from, { killed: [...from.killed, name] }, by);
  await Promise.all([a.handover.move(add('x')), b.handover.move(add('y'))]);
  await until(() => a.cutover.state.epoch === 2 && b.cutover.state.epoch === 2);
  for (const { cutover } of [a, b]) assert.deepEqual([...cutover.state.killed].sort(), ['x', 'y']);
  assert.equal(initialState.epoch, 0);
});

test('calls go on under the old lanes if the one who announced is gone', async () => {
  const log = new SharedLog();
  const [a, b] = [startReplica(log, 'a'), startReplica(log, 'b')];
  const to = nextState(a.cutover.state, { percent: 100 }, by);
  await a.handover.tell({ kind: 'announce', id: 'x', from: a.cutover.state, to });
  await until(() => b.gate.waitFor('r') !== undefined);
  assert.equal(await b.call('r'), 'bridge', 'after the handover is given up');
});

test('one who is stopped before its commit does not make it once the others have gone on', async () => {
  const log = new SharedLog();
  let stoppedMs = 0;
  const clock = { ...systemClock, monotonic: () => systemClock.monotonic() + stoppedMs };
  const [a, b] = [startReplica(log, 'a', clock), startReplica(log, 'b')];
  const ids: string[] = [];
  log.read('watcher', (entry) => {
    const note = readNote(entry)!;
    if (note.kind === 'announce') ids.push(note.id);
    if (note.kind === 'announce' && ids.length === 1) stoppedMs = 10_000;
    if (note.kind === 'commit') assert.equal(note.id, ids[1]);
  });
  await a.handover.move(toPercent(100));
  await until(() => b.cutover.state.percent === 100);
  assert.equal(ids.length, 2);
});
