// The handover over several replicas on one log: what waits, for how long, and in which order it goes on.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Note, readNote, tell } from '../../src/cutover/control.ts';
import { Coordinator } from '../../src/cutover/coordinator.ts';
import { Handover, type HandoverNote } from '../../src/cutover/handover.ts';
import type { Decision } from '../../src/lanes/call.ts';
import { controlStream } from '../../src/log/log.ts';
import type { RoomSet } from '../../src/room-set.ts';
import { RoomLanes } from '../../src/rooms/room-lanes.ts';
import { type CutoverState, initialState, nextState } from '../../src/rooms/state.ts';
import { Traffic } from '../../src/rooms/traffic.ts';
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
  const queues = new Map<string, RoomSet>();
  /** What a test may watch, or put in the way. */
  const ends = { stalenessMs: 0, flush() {}, fence: async () => {}, shown: async () => {} };
  const traffic = new Traffic(clock);
  traffic.connect(() => ends.flush());
  const roomLanes = new RoomLanes({
    standalone: false,
    hubs: 'proxy' as const,
    hubNames: ['chat'],
    killSwitch: false,
    traffic,
    follow: { stalenessMs: () => ends.stalenessMs, reachable: () => true },
    timeoutMs,
    clock,
  });
  roomLanes.stateIsKnown();
  roomLanes.onAdopted(({ percent }) => journal.push(`adopt ${percent}`));
  const coordinator = new Coordinator({ log: log.of(instance), roomLanes, timeoutMs, clock, logger: silentLogger });
  const handover = new Handover({
    instance,
    log: log.of(instance),
    roomLanes,
    traffic,
    outage: {
      end() {
        if (roomLanes.outage !== undefined) journal.push('all are back');
        roomLanes.outage = undefined;
      },
    },
    fences: {
      queue: (id, rooms) => void queues.set(id, rooms),
      async fence(id) {
        await ends.fence();
        journal.push(`fence ${id.includes(' ') ? 'late' : 'all'}`);
        queues.delete(id);
      },
    },
    unfenced: { untilShown: () => ends.shown() },
    timeoutMs,
    settleMs: () => 0,
    clock,
    faults: new Faults(silentLogger, createMetrics()),
    logger: silentLogger,
  });
  const onNote = (note: Note) =>
    note.kind === 'here' || note.kind === 'ready' ? coordinator.onAnswer(note) : handover.onNote(note as HandoverNote);
  log.read(instance, (entry) => {
    if (entry.stream === controlStream) return onNote(readNote(entry)!);
    journal.push(`read ${entry.room}`);
  });
  const call = async (room: string, during: (decision: Decision) => Promise<void> = async () => {}) => {
    let lane = '';
    await roomLanes.carry(room, async (decision) => {
      lane = decision.lane;
      await during(decision);
    });
    return lane;
  };
  return { roomLanes, coordinator, journal, queues, traffic, call, ends };
}

function deferred() {
  return Promise.withResolvers<void>();
}

test('all replicas are in the new state when the move resolves, and their connections are fenced', async () => {
  const log = new SharedLog();
  const [a, b] = [startReplica(log, 'a'), startReplica(log, 'b')];
  assert.deepEqual(await a.coordinator.move(toPercent(100)), { here: ['a', 'b'], silent: [] });
  await until(() => b.roomLanes.state.percent === 100);
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
  const moving = a.coordinator.move(toPercent(100));
  await until(() => b.traffic.waitFor('r') !== undefined);
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
  await b.coordinator.move(toPercent(100));
  assert.equal(await b.call('slow'), 'stream', 'the room itself goes on');
  for (const replica of [a, b]) {
    await until(() => replica.journal.includes('fence all'));
    assert.equal(replica.journal.includes('fence late'), false);
    assert.deepEqual(
      [...replica.queues.values()].map((rooms) => [rooms.has('slow'), rooms.has('other')]),
      [[true, false]],
      'only the late room still waits at the connections',
    );
  }
  atBridge.resolve();
  await late;
  for (const replica of [a, b]) await until(() => replica.journal.includes('fence late') && replica.queues.size === 0);
});

test('the windows of the rooms that move end when the calls under way have entered them', async () => {
  const log = new SharedLog();
  const [a, b] = [startReplica(log, 'a'), startReplica(log, 'b')];
  await a.coordinator.move(toPercent(100));
  await until(() => b.roomLanes.state.percent === 100);
  const steps: string[] = [];
  b.ends.flush = () => void steps.push('flush');
  const claiming = deferred();
  const typing = b.call('r', async () => {
    await claiming.promise;
    steps.push('enters its window');
  });
  const moving = a.coordinator.move(toPercent(0));
  await until(() => b.traffic.waitFor('r') !== undefined);
  claiming.resolve();
  await Promise.all([typing, moving]);
  assert.deepEqual(steps.slice(0, 2), ['enters its window', 'flush']);
});

test('a room that leaves the stream lane waits until every replica has shown what stands before the commit', async () => {
  const log = new SharedLog();
  const [a, b] = [startReplica(log, 'a'), startReplica(log, 'b')];
  await a.coordinator.move(toPercent(100));
  await until(() => b.roomLanes.state.percent === 100);
  log.stop('b');
  const moving = a.coordinator.move(toPercent(0));
  // The roll call and the commit go on without it; it is left out.
  assert.deepEqual((await moving).silent, ['b']);
  assert.equal(await a.call('r'), 'bridge');
  log.continue('b');
  await until(() => b.roomLanes.state.percent === 0);
});

test('a room that leaves the stream lane is not overtaken by the bridge while what it was sent waits at a connection', async () => {
  const log = new SharedLog();
  const [a, b] = [startReplica(log, 'a'), startReplica(log, 'b')];
  const steps: string[] = [];
  b.ends.shown = async () => {
    await new Promise((resolve) => setTimeout(resolve, 50));
    steps.push('shown by stream');
  };
  await a.coordinator.move(toPercent(100));
  await a.coordinator.move(toPercent(0));
  steps.push(await a.call('r'));
  assert.deepEqual(steps, ['shown by stream', 'bridge']);
});

/** Two replicas with every room on the stream lane, which an outage has taken to the bridge. */
async function startInOutage() {
  const log = new SharedLog();
  const [a, b] = [startReplica(log, 'a'), startReplica(log, 'b')];
  await a.coordinator.move(toPercent(100));
  await until(() => b.roomLanes.state.percent === 100 && b.queues.size === 0);
  for (const { roomLanes } of [a, b]) roomLanes.outage = { reason: 'timeout', ready: Promise.resolve() };
  const back = (from: CutoverState) => nextState(from, {}, { ...by, what: '' });
  return { log, a, b, back };
}

test('the rooms that an outage has taken to the bridge come back on all replicas at once, fenced like a raise', async () => {
  const { a, b, back } = await startInOutage();
  for (const { journal } of [a, b]) journal.length = 0;
  const atBridge = deferred();
  const during = b.call('r', () => atBridge.promise);
  const moving = a.coordinator.move(back, { fromBridge: true });
  await until(() => b.traffic.waitFor('r') !== undefined);
  const waiting = b.call('r');
  atBridge.resolve();
  assert.deepEqual([await during, await waiting], ['bridge', 'stream']);
  await moving;
  for (const { journal } of [a, b]) {
    await until(() => journal.length === 3);
    assert.deepEqual(journal, ['adopt 100', 'all are back', 'fence all']);
  }
  await a.coordinator.move(toPercent(50));
  assert.equal(a.roomLanes.state.epoch, 3, 'the state itself has not changed by it, but its epoch has');
});

test('rooms do not come back without a replica that is in the outage, as its calls may still be at the bridge', async () => {
  const { log, a, b, back } = await startInOutage();
  const comeBack = () => a.coordinator.move(back, { fromBridge: true, needs: ['b'] });
  log.stop('b');
  await assert.rejects(comeBack(), { code: 'CUTOVER_CONFLICT', message: 'b did not answer in time' });
  log.continue('b');
  // It takes part, and stands still behind the roll call.
  log.read('watcher', (entry) => {
    const note = readNote(entry)!;
    if (note.kind === 'here' && note.instance === 'b') log.stop('b');
  });
  await assert.rejects(comeBack(), { code: 'CUTOVER_CONFLICT' });
  assert.equal(await a.call('r'), 'bridge', 'and nothing waits for it');
  log.readers.delete('watcher');
  log.continue('b');
  await comeBack();
  assert.equal(await b.call('r'), 'stream');
});

test('who took no part in the return stays in the outage, as nobody has waited for its calls at the bridge', async () => {
  const { log, a, b, back } = await startInOutage();
  log.stop('b');
  await a.coordinator.move(back, { fromBridge: true });
  // It reads of its announcement and its commit when the announced doors are long open.
  await until(() => a.traffic.waitFor('r') === undefined);
  b.roomLanes.adopt(nextState(b.roomLanes.state, {}, by), 'together');
  log.continue('b');
  await until(() => b.journal.filter((line) => line.startsWith('adopt')).length === 2);
  assert.deepEqual([await a.call('r'), await b.call('r')], ['stream', 'bridge']);
});

test('a change of some rooms ends no outage', async () => {
  const a = startReplica(new SharedLog(), 'a');
  await a.coordinator.move(toPercent(50));
  a.roomLanes.outage = { reason: 'timeout', ready: Promise.resolve() };
  await a.coordinator.move(toPercent(100));
  assert.equal(await a.call('r'), 'bridge');
  assert.ok(!a.journal.includes('all are back'));
});

test('a late call is not waited for any more once its room has left the stream lane again', async () => {
  const log = new SharedLog();
  const a = startReplica(log, 'a');
  const atBridge = deferred();
  const late = a.call('slow', () => atBridge.promise);
  await a.coordinator.move(toPercent(100));
  assert.equal(a.queues.size, 1);
  await a.coordinator.move(toPercent(0));
  await until(() => a.queues.size === 0);
  atBridge.resolve();
  await late;
});

test('a replica that was stopped across the commit is refused by the log, and decides again', async () => {
  const log = new SharedLog();
  const [a, b] = [startReplica(log, 'a'), startReplica(log, 'b')];
  await a.coordinator.move(toPercent(100));
  await until(() => b.roomLanes.state.percent === 100);
  log.stop('b');
  await a.coordinator.move(toPercent(0));
  const lanes: string[] = [];
  const call = b.roomLanes.carry('r', async ({ lane, epoch }) => {
    lanes.push(lane);
    if (lane === 'bridge') return;
    assert.equal(await log.of('b').append({ ...entry, epoch: epoch! }), 'stale');
    const { StaleEpoch } = await import('../../src/lanes/call.ts');
    throw new StaleEpoch();
  });
  setImmediate(() => log.continue('b'));
  await call;
  assert.deepEqual(lanes, ['stream', 'bridge']);
});

test('a replica that stood still as the roll was called knows which rooms have left the stream lane without it: nobody waited for its windows', async () => {
  const log = new SharedLog();
  const [a, b] = [startReplica(log, 'a'), startReplica(log, 'b')];
  const haveLeftAlone = () => [a, b].map(({ roomLanes }) => roomLanes.hasLeftAlone('r'));
  await a.coordinator.move(toPercent(100));
  await a.coordinator.move(toPercent(0));
  await until(() => b.roomLanes.state.epoch === 2);
  assert.deepEqual(haveLeftAlone(), [false, false]);
  await a.coordinator.move(toPercent(100));
  log.stop('b');
  await a.coordinator.move(toPercent(0));
  log.continue('b');
  await until(() => b.roomLanes.state.epoch === 4);
  assert.deepEqual(haveLeftAlone(), [false, true]);
});

test('a replica that stands still after it has answered the roll knows so, too: the others have waited in vain', async () => {
  const log = new SharedLog();
  const [a, b] = [startReplica(log, 'a'), startReplica(log, 'b')];
  await a.coordinator.move(toPercent(100));
  await until(() => b.roomLanes.state.epoch === 1);
  b.ends.stalenessMs = 600;
  await a.coordinator.move(toPercent(0));
  await until(() => b.roomLanes.state.epoch === 2);
  assert.deepEqual(
    [a, b].map(({ roomLanes }) => roomLanes.hasLeftAlone('r')),
    [false, true],
  );
});

test('a busy replica that has no others waits for itself: its typing stays in order', async () => {
  const a = startReplica(new SharedLog(), 'a');
  await a.coordinator.move(toPercent(100));
  a.ends.stalenessMs = 600;
  await a.coordinator.move(toPercent(0));
  assert.equal(a.roomLanes.hasLeftAlone('r'), false);
});

test('a commit whose answer is lost is made where it is read: its operator is not told of a failure', async () => {
  const log = new SharedLog();
  const [a, b] = [startReplica(log, 'a'), startReplica(log, 'b')];
  log.losesAnswer = true;
  await a.coordinator.move(toPercent(100));
  await until(() => b.roomLanes.state.percent === 100);
  assert.deepEqual([await a.call('r'), await b.call('r')], ['stream', 'stream']);
  // A return after an outage is no step of the history, by which it could be told from another state of its epoch.
  const returning = (from: CutoverState) => nextState(from, {}, { ...by, what: '' });
  await assert.rejects(a.coordinator.move(returning), { code: 'LOG_APPEND_UNKNOWN' });
  await until(() => b.roomLanes.state.epoch === 2);
  // Nobody reads the next one: whether it is made stays unknown.
  log.stop('a');
  const refused = assert.rejects(b.coordinator.move(toPercent(50)), { code: 'LOG_APPEND_UNKNOWN' });
  log.stop('b');
  await refused;
});

test('of two changes at once both are made, one after the other', async () => {
  const log = new SharedLog();
  const [a, b] = [startReplica(log, 'a'), startReplica(log, 'b')];
  const add = (name: string) => (from: CutoverState) => nextState(from, { killed: [...from.killed, name] }, by);
  await Promise.all([a.coordinator.move(add('x')), b.coordinator.move(add('y'))]);
  await until(() => a.roomLanes.state.epoch === 2 && b.roomLanes.state.epoch === 2);
  for (const { roomLanes } of [a, b]) assert.deepEqual([...roomLanes.state.killed].sort(), ['x', 'y']);
  assert.equal(initialState.epoch, 0);
});

test('calls go on under the old lanes if the one who announced is gone', async () => {
  const log = new SharedLog();
  const [a, b] = [startReplica(log, 'a'), startReplica(log, 'b')];
  const to = nextState(a.roomLanes.state, { percent: 100 }, by);
  await tell(log.of('a'), { kind: 'announce', id: 'x', from: a.roomLanes.state, to });
  await until(() => b.traffic.waitFor('r') !== undefined);
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
  await a.coordinator.move(toPercent(100));
  await until(() => b.roomLanes.state.percent === 100);
  assert.equal(ids.length, 2);
});

test('rooms that are at the bridge as the log fails come back, fenced, where a hub becomes native: its clients hear nothing of the bridge', async () => {
  const log = new SharedLog();
  const [a, b] = [startReplica(log, 'a'), startReplica(log, 'b')];
  await a.coordinator.move(toPercent(100));
  await until(() => b.roomLanes.state.percent === 100);
  b.roomLanes.outage = { reason: 'timeout', ready: Promise.resolve() };
  assert.equal(await b.call('r'), 'bridge');
  const hubs = { native: ['chat'], overMs: 100 };
  await a.coordinator.move((from) => nextState(from, { hubs }, by));
  await until(() => b.roomLanes.hasNativeHubs);
  assert.equal(await b.call('r'), 'stream');
  await until(() => b.queues.size === 0);
  assert.deepEqual(b.journal, ['adopt 100', 'fence all', 'adopt 100', 'all are back', 'fence all']);
  assert.deepEqual(a.journal, ['adopt 100', 'fence all', 'adopt 100'], 'nothing was at the bridge there');
});
