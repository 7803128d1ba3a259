// The detour of one replica: which rooms are on it, when they return, and what is counted meanwhile.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Note } from '../../src/cutover/control.ts';
import { Detour } from '../../src/cutover/detour.ts';
import type { DetourNews } from '../../src/cutover/elsewhere.ts';
import { Flights } from '../../src/cutover/flights.ts';
import { Gate } from '../../src/cutover/gate.ts';
import { Unfenced } from '../../src/cutover/unfenced.ts';
import type { Entry } from '../../src/log/log.ts';
import { pause } from '../../src/telemetry/clock.ts';
import { silentLogger } from '../../src/telemetry/logger.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { TestClock } from '../support/clock.ts';
import { logLines } from '../support/log-lines.ts';
import { until } from '../support/wait.ts';

function setUp() {
  const { logger, lines } = logLines();
  const clock = new TestClock();
  const gate = new Gate();
  const flights = new Flights();
  const metrics = createMetrics();
  /** What is not shown yet, and when it is. */
  const edge = { events: [] as { room: string; eventId: string }[], shown: Promise.withResolvers<void>() };
  const told: DetourNews[] = [];
  const fenced: { id: string; rooms: string[] | 'all' }[] = [];
  /** What a test may put in the way. */
  const log = { answers: true, notes: true };
  const peers = { take: async () => {} };
  const windows = { flush: async () => {}, emitting: [] as string[] };
  const detour: Detour = new Detour({
    instance: 'a',
    gate,
    flights,
    unfenced: new Unfenced({
      instance: 'a',
      edge: {
        unshown: (covers) => edge.events.filter(({ room }) => covers(room)),
        untilShown: (_, limitMs) => Promise.race([edge.shown.promise, pause(clock, limitMs)]),
      },
      logger: silentLogger,
      metrics,
    }),
    emitting: () => windows.emitting,
    flush: () => windows.flush(),
    logAnswers: () => log.answers,
    beforeReturn: async () => {},
    async tell(note: Note) {
      if (note.kind !== 'fence') return;
      fenced.push({ id: note.id, rooms: note.rooms });
      if (log.notes) setImmediate(() => detour.onFence(note.id, note.rooms));
    },
    post(news) {
      told.push(news);
      return peers.take();
    },
    timeoutMs: 200,
    showMs: () => 200,
    clock,
    logger,
  });
  const unfenced = async () => (await metrics.unfenced.get()).values.reduce((sum, { value }) => sum + value, 0);
  let reads = 0;
  const read = (room: string, instance: string) =>
    detour.noteRead({ room, instance, eventId: `read ${++reads}` } as Entry, false);
  /** The rooms of each. */
  const roomsOf = (each: { rooms: string[] | 'all' }[]) => each.map(({ rooms }) => rooms);
  return { clock, gate, flights, edge, told, fenced, log, peers, windows, detour, unfenced, read, roomsOf, lines };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

const newsOf = (instance: string, id: string, rooms = ['r']): DetourNews => ({ instance, id, rooms });

test('a replica that has taken the state over without a fence asks for one at once, and holds its calls until then', async () => {
  const { gate, fenced, detour, roomsOf } = setUp();
  detour.takeAll('connection_lost');
  await turn();
  assert.ok(gate.waitFor('r') !== undefined || detour.roomCount === 0);
  await until(() => detour.roomCount === 0);
  assert.deepEqual(roomsOf(fenced), ['all']);
  assert.equal(detour.of('r'), undefined);
  detour.close();
});

test('one slow call at the bridge keeps its own room on the detour, not all of them', async () => {
  const { clock, flights, detour } = setUp();
  const land = flights.start('slow');
  detour.takeAll('connection_lost');
  await turn();
  clock.advance(200);
  await turn();
  clock.advance(10);
  await until(() => detour.roomCount === 1);
  assert.deepEqual([detour.of('slow')?.reason, detour.of('r')], ['connection_lost', undefined]);
  land();
  clock.advance(100);
  await until(() => detour.roomCount === 0);
  detour.close();
});

test('what the windows of a room still hold goes to the bridge before the room is back', async () => {
  const { clock, fenced, windows, detour, roomsOf } = setUp();
  const flushed = Promise.withResolvers<void>();
  windows.flush = () => flushed.promise;
  void detour.take('r', 'timeout');
  clock.advance(100);
  await turn();
  assert.deepEqual(fenced, []);
  flushed.resolve();
  await until(() => detour.roomCount === 0);
  assert.deepEqual(roomsOf(fenced), [['r']]);
  detour.close();
});

test('a call goes to the bridge when every other replica knows that its room does', async () => {
  const { clock, told, peers, detour, roomsOf } = setUp();
  const taken = Promise.withResolvers<void>();
  peers.take = () => taken.promise;
  let isReady = false;
  const ready = Promise.all([detour.take('r', 'timeout'), detour.take('s', 'timeout')]).then(() => {
    isReady = true;
  });
  clock.advance(10);
  await turn();
  assert.deepEqual(roomsOf(told), [['r', 's']], 'in one go');
  assert.equal(isReady, false);
  taken.resolve();
  await ready;
  detour.close();
});

test('what was read of a room before is shown before the bridge goes on with it', async () => {
  const { clock, edge, detour, unfenced } = setUp();
  edge.events.push({ room: 'r', eventId: 'e' });
  let isReady = false;
  const ready = detour.take('r', 'timeout').then(() => {
    isReady = true;
  });
  clock.advance(10);
  await turn();
  assert.equal(isReady, false);
  edge.events.pop();
  edge.shown.resolve();
  await ready;
  assert.equal(await unfenced(), 0);
  detour.close();
});

test('what takes too long to be shown is counted, once, here and where another replica has taken the detour', async () => {
  const { clock, edge, detour, unfenced } = setUp();
  edge.events.push({ room: 'r', eventId: 'first' }, { room: 's', eventId: 'second' });
  const ready = [detour.take('r', 'timeout'), detour.takenElsewhere(newsOf('b', 'd', ['s']))];
  clock.advance(200);
  await Promise.all(ready);
  assert.equal(await unfenced(), 2);
  const again = detour.takenElsewhere(newsOf('b', 'd', ['r', 's']));
  clock.advance(200);
  await again;
  assert.equal(await unfenced(), 2);
  detour.close();
});

test('what comes to the connections while older events are awaited is not counted for them', async () => {
  const { clock, edge, detour, unfenced } = setUp();
  edge.events.push({ room: 'r', eventId: 'before' });
  const taken = detour.takenElsewhere(newsOf('b', 'of b'));
  detour.onFence('of b', ['r']);
  edge.events.push({ room: 'r', eventId: 'behind the fence' });
  clock.advance(200);
  await taken;
  assert.equal(await unfenced(), 1);
  detour.close();
});

test('the rooms that took the detour while all were on it are told, and counted', async () => {
  const { clock, log, told, detour, read, unfenced, roomsOf } = setUp();
  log.answers = false;
  detour.takeAll('connection_lost');
  assert.equal(detour.of('r')?.reason, 'connection_lost');
  clock.advance(10);
  assert.deepEqual(roomsOf(told), [['r']]);
  read('r', 'b');
  read('other', 'b');
  assert.equal(await unfenced(), 1);
  await until(() => detour.roomCount === 0);
  detour.close();
});

test('the detours of two replicas end apart, each by its own fence', async () => {
  const { clock, fenced, detour, read, unfenced } = setUp();
  void detour.takenElsewhere(newsOf('b', 'of b'));
  void detour.takenElsewhere(newsOf('c', 'of c'));
  void detour.take('r', 'timeout');
  clock.advance(100);
  await until(() => detour.roomCount === 0);
  assert.equal(fenced.length, 1);
  read('r', 'b');
  detour.onFence('of b', ['r']);
  read('r', 'b');
  assert.equal(await unfenced(), 2);
  detour.onFence('of c', 'all');
  read('r', 'b');
  assert.equal(await unfenced(), 2);
  detour.close();
});

test('a log that answers, but takes nothing, is tried less and less often: each try holds the calls up', async () => {
  const { clock, log, fenced, detour } = setUp();
  log.notes = false;
  void detour.take('r', 'timeout');
  const triesIn = async (ms: number) => {
    const before = fenced.length;
    for (let at = 0; at < ms; at += 10) {
      clock.advance(10);
      await turn();
    }
    return fenced.length - before;
  };
  await triesIn(20_000);
  assert.ok((await triesIn(20_000)) <= 8);
  log.notes = true;
  await triesIn(3_000);
  assert.equal(detour.roomCount, 0);
  log.notes = false;
  void detour.take('r', 'timeout');
  assert.ok((await triesIn(2_000)) >= 2, 'the next one is tried at once again');
  detour.close();
});

test('news that comes twice is answered only when what it overtakes is shown', async () => {
  const { edge, detour } = setUp();
  edge.events.push({ room: 'r', eventId: 'e' });
  void detour.takenElsewhere(newsOf('b', 'of b'));
  let isAnswered = false;
  const answered = detour.takenElsewhere(newsOf('b', 'of b')).then(() => {
    isAnswered = true;
  });
  await turn();
  assert.equal(isAnswered, false);
  edge.shown.resolve();
  await answered;
  detour.close();
});

test('what takes the detour while another one returns is ended by the next fence', async () => {
  const { clock, told, fenced, flights, detour } = setUp();
  const land = flights.start('r');
  void detour.take('r', 'timeout');
  void detour.take('s', 'timeout');
  clock.advance(100);
  await turn();
  void detour.take('late', 'timeout');
  clock.advance(10);
  land();
  clock.advance(200);
  await until(() => fenced.length === 1);
  assert.deepEqual(fenced[0]!.rooms, ['r', 's']);
  assert.notEqual(detour.of('late'), undefined);
  const idsOf = (room: string) => told.filter(({ rooms }) => rooms.includes(room)).map(({ id }) => id);
  assert.deepEqual([idsOf('r').at(-1), idsOf('late').includes(fenced[0]!.id)], [fenced[0]!.id, false]);
  clock.advance(100);
  await until(() => detour.roomCount === 0);
  assert.equal(idsOf('late').at(-1), fenced[1]!.id);
  detour.close();
});

test('a room of whose windows something is still on its way returns another time', async () => {
  const { clock, fenced, windows, detour, roomsOf } = setUp();
  windows.emitting = ['r'];
  void detour.take('r', 'timeout');
  void detour.take('s', 'timeout');
  const passing = (isSo: () => boolean) =>
    until(() => {
      clock.advance(100);
      return isSo();
    });
  await passing(() => fenced.length === 1);
  assert.deepEqual(roomsOf(fenced), [['s']]);
  windows.emitting = [];
  await passing(() => detour.roomCount === 0);
  detour.close();
});

test('what stands behind the fence note is in order again at once', async () => {
  const { clock, log, fenced, detour, read, unfenced } = setUp();
  log.notes = false;
  void detour.take('r', 'timeout');
  clock.advance(100);
  await until(() => fenced.length === 1);
  detour.onFence(fenced[0]!.id, ['r']);
  read('r', 'b');
  assert.equal(await unfenced(), 0);
  detour.close();
});

test('a fence whose note was not read here ends nothing: the room is told anew, and another fence ends that', async () => {
  const { clock, log, told, fenced, detour } = setUp();
  log.notes = false;
  void detour.take('r', 'timeout');
  clock.advance(100);
  await until(() => fenced.length === 1);
  clock.advance(1_000);
  await turn();
  clock.advance(10);
  await turn();
  log.notes = true;
  clock.advance(200);
  await until(() => detour.roomCount === 0);
  assert.deepEqual(
    told.map(({ id }) => id),
    fenced.map(({ id }) => id),
  );
  assert.notEqual(told[0]!.id, told[1]!.id);
  detour.close();
});

test('a room is known to have been on another replica’s detour for a moment after its end', async () => {
  const { clock, detour } = setUp();
  await detour.takenElsewhere(newsOf('b', 'of b'));
  detour.onFence('of b', ['r']);
  clock.advance(1_999);
  assert.deepEqual([detour.hadElsewhere('r'), detour.hadElsewhere('other')], [true, false]);
  clock.advance(1);
  assert.equal(detour.hadElsewhere('r'), false);
  detour.close();
});

test('what is told of a detour that has ended comes too late', async () => {
  const { detour, read, unfenced } = setUp();
  detour.onFence('of b', ['r']);
  await detour.takenElsewhere(newsOf('b', 'of b'));
  read('r', 'b');
  assert.equal(await unfenced(), 0);
  detour.close();
});

test('thousands of rooms are told in messages that the other side takes', async () => {
  const { clock, told, detour, roomsOf } = setUp();
  const rooms = Array.from({ length: 2_500 }, (_, i) => `r${i}`);
  for (const room of rooms) void detour.take(room, 'timeout');
  clock.advance(10);
  assert.deepEqual(roomsOf(told).flat(), rooms);
  assert.deepEqual(
    roomsOf(told).map(({ length }) => length),
    [1_000, 1_000, 500],
  );
  detour.close();
});

test('another replica’s detour counts as long as it tells of it, also where it dies', async () => {
  const { clock, log, told, detour, read, unfenced, roomsOf } = setUp();
  await detour.takenElsewhere(newsOf('b', 'of b'));
  read('r', 'b');
  clock.advance(30_000);
  read('r', 'b');
  assert.equal(await unfenced(), 1);
  log.answers = false;
  void detour.take('mine', 'timeout');
  clock.advance(10_000);
  clock.advance(10);
  assert.deepEqual(roomsOf(told), [['mine'], ['mine']]);
  detour.close();
});

test('only where the log has failed a call is it said that its rooms are back', async () => {
  const { clock, detour, lines } = setUp();
  const said = () => lines.map(({ msg }) => msg);
  detour.takeAll('connection_lost');
  await until(() => detour.roomCount === 0);
  assert.deepEqual(said(), [], 'a start, or a state that is taken over');
  void detour.take('r', 'timeout');
  clock.advance(100);
  await until(() => detour.roomCount === 0);
  assert.deepEqual(said(), ['the log fails: its rooms go to the bridge', 'the log answers: its rooms are back']);
  detour.close();
});
