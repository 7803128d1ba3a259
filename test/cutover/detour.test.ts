// The detour of one replica: which rooms are on it, when they return, and what is counted meanwhile.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Note } from '../../src/cutover/control.ts';
import { Detour } from '../../src/cutover/detour.ts';
import { Flights } from '../../src/cutover/flights.ts';
import { Gate } from '../../src/cutover/gate.ts';
import type { Entry } from '../../src/log/log.ts';
import { silentLogger } from '../../src/telemetry/logger.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { TestClock } from '../support/clock.ts';
import { until } from '../support/wait.ts';

function setUp() {
  const clock = new TestClock();
  const gate = new Gate();
  const flights = new Flights();
  const metrics = createMetrics();
  const told: string[][] = [];
  const fenced: (string[] | 'all')[] = [];
  const log = { answers: true };
  const windows = { flush: async () => {} };
  const detour: Detour = new Detour({
    instance: 'a',
    gate,
    flights,
    flush: () => windows.flush(),
    logAnswers: () => log.answers,
    beforeReturn: async () => {},
    async tell(note: Note) {
      if (note.kind !== 'fence') return;
      fenced.push(note.rooms);
      setImmediate(() => detour.onFence(note.id, note.rooms));
    },
    tellPeers: (rooms) => told.push(rooms),
    timeoutMs: 200,
    clock,
    logger: silentLogger,
    metrics,
  });
  const unfenced = async () => (await metrics.unfenced.get()).values.reduce((sum, { value }) => sum + value, 0);
  const read = (room: string, instance: string) => detour.noteRead({ room, instance, eventId: 'e' } as Entry, false);
  return { clock, gate, flights, told, fenced, log, windows, detour, unfenced, read };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

test('a replica that has taken the state over without a fence asks for one at once, and holds its calls until then', async () => {
  const { gate, fenced, detour } = setUp();
  detour.takeAll('connection_lost');
  await turn();
  assert.ok(gate.waitFor('r') !== undefined || detour.roomCount === 0);
  await until(() => detour.roomCount === 0);
  assert.deepEqual(fenced, ['all']);
  assert.equal(detour.reasonOf('r'), undefined);
  detour.close();
});

test('one slow call at the bridge keeps its own room on the detour, not all of them', async () => {
  const { clock, flights, detour } = setUp();
  const land = flights.start('slow');
  detour.takeAll('connection_lost');
  await turn();
  clock.advance(200);
  await until(() => detour.roomCount === 1);
  assert.deepEqual([detour.reasonOf('slow'), detour.reasonOf('r')], ['connection_lost', undefined]);
  land();
  clock.advance(100);
  await until(() => detour.roomCount === 0);
  detour.close();
});

test('what the windows of a room still hold goes to the bridge before the room is back', async () => {
  const { clock, fenced, windows, detour } = setUp();
  const flushed = Promise.withResolvers<void>();
  windows.flush = () => flushed.promise;
  detour.take('r', 'timeout');
  clock.advance(100);
  await turn();
  assert.deepEqual(fenced, []);
  flushed.resolve();
  await until(() => detour.roomCount === 0);
  assert.deepEqual(fenced, [['r']]);
  detour.close();
});

test('the rooms that took the detour while all were on it are told, and counted', async () => {
  const { log, told, detour, read, unfenced } = setUp();
  log.answers = false;
  detour.takeAll('connection_lost');
  assert.equal(detour.reasonOf('r'), 'connection_lost');
  assert.deepEqual(told, [['r']]);
  read('r', 'b');
  read('other', 'b');
  assert.equal(await unfenced(), 1);
  await until(() => detour.roomCount === 0);
  detour.close();
});

test('another replica’s detour counts as long as it tells of it, also where it dies', async () => {
  const { clock, log, told, detour, read, unfenced } = setUp();
  detour.takenElsewhere(['r']);
  read('r', 'b');
  clock.advance(30_000);
  read('r', 'b');
  assert.equal(await unfenced(), 1);
  log.answers = false;
  detour.take('mine', 'timeout');
  clock.advance(10_000);
  assert.deepEqual(told, [['mine'], ['mine']]);
  detour.close();
});
