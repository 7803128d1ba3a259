// The consumer loop between a hand-made reader and a hand-made audience.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Consumer } from '../../src/consumer/consumer.ts';
import { ReadMemory } from '../../src/consumer/read-memory.ts';
import { BodyFault, type Contract } from '../../src/contract/contract.ts';
import type { OutgoingMessage } from '../../src/edge/audience.ts';
import { type Batch, controlStream, type Entry, probeStream, type Reader } from '../../src/log/log.ts';
import { Faults } from '../../src/telemetry/faults.ts';
import { silentLogger } from '../../src/telemetry/logger.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { TestClock } from '../support/clock.ts';
import { logLines } from '../support/log-lines.ts';
import { until } from '../support/wait.ts';

const startMs = Date.UTC(2026, 0, 1);
const deliveries = [{ hub: 'chat', group: 'request:r1', method: 'ReceiveMessage' }];

function entry(eventId: string, extra: Partial<Entry> = {}): Entry {
  const place = { stream: 'events:chat', position: `${startMs}-0`, room: 'r1' };
  return {
    ...place,
    eventId,
    eventType: 'chat_message',
    publishedAtMs: startMs,
    payload: `"${eventId}"`,
    deliveries,
    ...extra,
  };
}

function batch(entries: Entry[], extra: Partial<Batch> = {}): Batch {
  return { entries, malformed: [], missed: 0, ...extra };
}

/** Returns the batches one by one, then undefined as after close(). */
class ScriptedReader implements Reader {
  readonly position = '0-0';
  readonly stalenessMs = 0;
  readonly acknowledged: Batch[] = [];
  readonly #batches: Batch[];
  readonly #journal: string[];

  constructor(batches: Batch[], journal: string[]) {
    this.#batches = [...batches];
    this.#journal = journal;
  }

  async read(): Promise<Batch | undefined> {
    return this.#batches.shift();
  }

  acknowledge(done: Batch): void {
    this.#journal.push(`acknowledged ${done.entries.map(({ eventId }) => eventId).join()}`);
    this.acknowledged.push(done);
  }

  async close(): Promise<void> {}
}

/** Knows one foreign event type, `note`, whose payload must not be `"bad"`. */
const contract = {
  foreign: (eventType: string) =>
    eventType === 'note'
      ? {
          toEvent(room: string, payload: string) {
            if (payload === '"bad"') throw new BodyFault({ $: ['is bad'] });
            return { payload: `[${payload}]`, deliveries: [{ hub: 'chat', group: `request:${room}`, method: 'Note' }] };
          },
        }
      : undefined,
} as Pick<Contract, 'foreign'> as Contract;

function setUp(batches: Batch[], logger = silentLogger) {
  const journal: string[] = [];
  const shown: OutgoingMessage[] = [];
  const reader = new ScriptedReader(batches, journal);
  const clock = new TestClock(startMs);
  const metrics = createMetrics();
  const reads = new ReadMemory(clock);
  const consumer = new Consumer({
    reader,
    reads,
    audience: {
      async deliver(messages) {
        if (messages.some(({ room }) => room === 'not shown')) throw new Error('a fault of the edge');
        journal.push(`delivered ${messages.map(({ payload }) => payload).join()}`);
        shown.push(...messages);
      },
      countMembers: (groups) => 3 * groups.length,
    },
    contract,
    async onGap(missed) {
      journal.push(`gap of ${missed}`);
    },
    onNote(entry) {
      journal.push(`note ${entry.payload}`);
      if (entry.payload === '"fails"') throw new Error('a fault of ours');
      return entry.payload === 'null' ? 'it is no note' : undefined;
    },
    async onProbe({ payload }) {
      if (payload === '"fails"') throw new Error('a fault of ours');
      journal.push(`probe ${payload}`);
    },
    onRead({ room }) {
      if (room === 'fails') throw new Error('a fault of ours');
    },
    faults: new Faults(silentLogger, metrics),
    clock,
    logger,
    metrics,
  });
  const counted = async (name: keyof typeof metrics & ('withheld' | 'malformed' | 'missed' | 'delivered' | 'faults')) =>
    Object.fromEntries(
      (await metrics[name].get()).values.map(({ labels, value }) => [Object.values(labels).join(), value]),
    );
  return { consumer, reads, reader, journal, shown, clock, metrics, counted };
}

test('entries are delivered in log order, and acknowledged once they were', async () => {
  const { consumer, journal, shown, counted } = setUp([batch([entry('a'), entry('b')]), batch([entry('c')])]);
  await consumer.run();
  assert.deepEqual(journal, ['delivered "a","b"', 'acknowledged a,b', 'delivered "c"', 'acknowledged c']);
  assert.deepEqual(shown[0], { room: 'r1', payload: '"a"', deliveries, eventId: 'a' });
  assert.deepEqual(await counted('delivered'), { 'events:chat': 3 });
});

test('after the log was replaced, notes from before have no effect a second time', async () => {
  const note = (payload: string) => ({ ...entry(payload), stream: controlStream, payload });
  const { consumer, journal } = setUp([batch([{ ...note('"old"'), isHistory: true }, note('"new"')])]);
  await consumer.run();
  assert.deepEqual(
    journal.filter((step) => step.startsWith('note')),
    ['note "new"'],
  );
});

test('a control note takes effect between what stands before it and what stands behind it', async () => {
  const note = { ...entry('n'), stream: controlStream, payload: '{}' };
  const { consumer, journal } = setUp([batch([entry('a'), note, entry('b')])]);
  await consumer.run();
  assert.deepEqual(journal.slice(0, 3), ['delivered "a"', 'note {}', 'delivered "b"']);
});

test('a probe goes on behind what stands before it, is measured by no metric of events, and ends nothing if it fails', async () => {
  const probe = (payload: string) => ({ ...entry('p'), eventId: '', stream: probeStream, payload });
  const { consumer, reader, journal, shown, counted } = setUp([
    batch([entry('a'), probe('1'), entry('b')]),
    batch([probe('"fails"')]),
  ]);
  await consumer.run();
  assert.deepEqual(journal.slice(0, 3), ['delivered "a"', 'probe 1', 'delivered "b"']);
  assert.deepEqual(
    shown.map(({ payload }) => payload),
    ['"a"', '"b"'],
  );
  assert.deepEqual(await counted('delivered'), { 'events:chat': 2 });
  assert.equal((await counted('faults')).entry, 1);
  assert.equal(reader.acknowledged.length, 2);
});

test('nothing is read or acknowledged while a delivery is under way', async () => {
  const { reader, journal, metrics, clock } = setUp([batch([entry('a')]), batch([entry('b')])]);
  let finish = () => {};
  const delivering = new Promise<void>((resolve) => {
    finish = resolve;
  });
  let deliveredBatches = 0;
  const audience = {
    deliver() {
      deliveredBatches++;
      return delivering;
    },
    countMembers: () => 0,
  };
  const ends = {
    onGap: async () => {},
    onNote: () => undefined,
    onProbe: async () => {},
    onRead() {},
    faults: new Faults(silentLogger, metrics),
  };
  const options = {
    reader,
    reads: new ReadMemory(clock),
    audience,
    contract,
    ...ends,
    clock,
    logger: silentLogger,
    metrics,
  };
  const running = new Consumer(options).run();
  await until(() => deliveredBatches === 1);
  await new Promise(setImmediate);
  assert.deepEqual([deliveredBatches, journal], [1, []]);
  finish();
  await running;
  assert.deepEqual(journal, ['acknowledged a', 'acknowledged b']);
});

test('an event that stands in the log twice is shown once', async () => {
  const { consumer, shown, counted } = setUp([batch([entry('a'), entry('a')]), batch([entry('a'), entry('b')])]);
  await consumer.run();
  assert.deepEqual(
    shown.map(({ payload }) => payload),
    ['"a"', '"b"'],
  );
  assert.deepEqual(await counted('withheld'), { repeat: 2 });
});

test('an entry without an id is never a repeat', async () => {
  const { consumer, shown } = setUp([batch([entry(''), entry('')])]);
  await consumer.run();
  assert.equal(shown.length, 2);
});

test('a typing note behind its sender’s later message is withheld', async () => {
  const message = entry('m', { position: '10-0', endsTypingOf: 'u1' });
  const stale = entry('t1', { position: '11-0', typing: { user: 'u1', openedAt: '9-0' } });
  const fresh = entry('t2', { position: '12-0', typing: { user: 'u1', openedAt: '10-0' } });
  const { consumer, shown, counted } = setUp([batch([message, stale, fresh])]);
  await consumer.run();
  assert.deepEqual(
    shown.map(({ payload }) => payload),
    ['"m"', '"t2"'],
  );
  assert.deepEqual(await counted('withheld'), { typing: 1 });
});

test('of a log that was replaced, what had its effect in the one before is not shown', async () => {
  const { consumer, shown, counted } = setUp([batch([entry('old', { isHistory: true }), entry('new')])]);
  await consumer.run();
  assert.deepEqual(
    shown.map(({ payload }) => payload),
    ['"new"'],
  );
  assert.deepEqual(await counted('withheld'), { history: 1 });
});

test('an entry of another publisher is delivered by its event type', async () => {
  const foreign = { deliveries: undefined, eventType: 'note' };
  const { consumer, shown } = setUp([batch([entry('a', foreign as Partial<Entry>)])]);
  await consumer.run();
  const noted = [{ hub: 'chat', group: 'request:r1', method: 'Note' }];
  assert.deepEqual(shown, [{ room: 'r1', payload: '["a"]', deliveries: noted, eventId: 'a' }]);
});

test('what cannot be understood is set aside, counted and acknowledged, and the rest goes on', async () => {
  const unknown = entry('x', { eventType: 'nobody knows' });
  const misfit = entry('bad', { eventType: 'note' });
  delete unknown.deliveries;
  delete misfit.deliveries;
  const malformed = [{ stream: 'events:ticket', position: '1-0', reason: 'payload is missing' }];
  const { consumer, reader, shown, counted } = setUp([batch([unknown, misfit, entry('a')], { malformed })]);
  await consumer.run();
  assert.deepEqual(
    shown.map(({ payload }) => payload),
    ['"a"'],
  );
  assert.deepEqual(await counted('malformed'), { 'events:chat': 2, 'events:ticket': 1 });
  assert.equal(reader.acknowledged.length, 1);
});

test('an entry with no deliveries at all is not taken for another publisher’s', async () => {
  const { consumer, shown, counted } = setUp([batch([entry('a', { deliveries: [], eventType: 'nobody knows' })])]);
  await consumer.run();
  assert.deepEqual(shown, [{ room: 'r1', payload: '"a"', deliveries: [], eventId: 'a' }]);
  assert.deepEqual(await counted('malformed'), {});
});

test('a gap is reported before what follows it is delivered', async () => {
  const { consumer, journal, counted } = setUp([batch([entry('a')], { missed: 7 })]);
  await consumer.run();
  assert.deepEqual(journal, ['gap of 7', 'delivered "a"', 'acknowledged a']);
  assert.deepEqual(await counted('missed'), { '': 7 });
});

test('the time from publish to broadcast is measured, where it is known, and is never negative', async () => {
  const { consumer, clock, metrics } = setUp([
    batch([entry('a'), entry('b', { publishedAtMs: startMs + 60_000 }), entry('c', { publishedAtMs: Number.NaN })]),
  ]);
  clock.advance(250);
  await consumer.run();
  const { values } = await metrics.deliveryDuration.get();
  const value = (suffix: string) => values.find(({ metricName }) => metricName?.endsWith(suffix))?.value;
  assert.equal(value('_count'), 2);
  assert.equal(value('_sum'), 0.25);
});

test('what fails over one entry or one note ends that one alone: the loop goes on, and all is acknowledged', async () => {
  const note = (payload: string) => ({ ...entry('n'), eventId: '', stream: controlStream, payload });
  const { consumer, reader, journal, counted } = setUp([
    batch([entry('a', { room: 'fails' }), entry('b'), note('"fails"'), entry('c')]),
    batch([entry('d', { room: 'not shown' })]),
    batch([entry('e')]),
  ]);
  await consumer.run();
  assert.deepEqual(
    journal.filter((step) => step.startsWith('delivered')),
    ['delivered "b"', 'delivered "c"', 'delivered "e"'],
  );
  assert.equal(reader.acknowledged.length, 3);
  const faults = await counted('faults');
  assert.deepEqual([faults.entry, faults.note], [2, 1]);
});

test('what stands in the control stream and is no note is set aside and counted', async () => {
  const note = { ...entry('n'), stream: controlStream, payload: 'null' };
  const { consumer, counted } = setUp([batch([note, entry('a')])]);
  await consumer.run();
  assert.deepEqual(await counted('malformed'), { [controlStream]: 1 });
  assert.deepEqual(await counted('delivered'), { 'events:chat': 1 });
});

test('at debug one event can be followed: where it stood, and to how many it went, or why to none', async () => {
  const { logger, lines } = logLines('debug');
  const { consumer } = setUp([batch([entry('a'), entry('a')])], logger);
  await consumer.run();
  const { eventType, room, stream, position } = entry('a');
  const trace = { level: 'debug', eventIds: ['a'], eventType, room, stream, position };
  assert.deepEqual(lines, [
    { ...trace, reason: 'repeat', msg: 'withheld' },
    { ...trace, members: 3 * deliveries.length, msg: 'delivered' },
  ]);
});

test('a program that names ever new event types fills no metric with them', async () => {
  const entries = Array.from({ length: 1_000 }, (_, n) => entry(String(n), { eventType: `type ${n}` }));
  const { consumer, metrics } = setUp([batch(entries)]);
  await consumer.run();
  const { values } = await metrics.deliveryDuration.get();
  assert.equal(new Set(values.map(({ labels }) => labels.event_type)).size, 101);
});

test('an event that the bridge shows is not shown when the log brings it, however much later', async () => {
  const { consumer, reads, shown, clock, counted } = setUp([batch([entry('e'), entry('f')])]);
  reads.withhold('e');
  clock.advance(10 * 60_000);
  await consumer.run();
  assert.deepEqual(
    shown.map(({ eventId }) => eventId),
    ['f'],
  );
  assert.equal((await counted('withheld')).bridge, 1);
});

test('an event whose id the bridge has shown is a new one when its 5 minutes are over', async () => {
  const { consumer, reads, shown, clock } = setUp([batch([entry('e', { publishedAtMs: startMs + 5 * 60_000 })])]);
  reads.withhold('e');
  clock.advance(5 * 60_000);
  await consumer.run();
  assert.equal(shown.length, 1);
});

test('a typing note is not shown behind its sender’s later message that the bridge shows in place of the log', async () => {
  const message = entry('m', { position: '10-0', endsTypingOf: 'u1' });
  const stale = entry('t', { position: '11-0', typing: { user: 'u1', openedAt: '9-0' } });
  const { consumer, reads, shown, counted } = setUp([batch([message, stale])]);
  reads.withhold('m');
  await consumer.run();
  assert.deepEqual([shown, await counted('withheld')], [[], { bridge: 1, typing: 1 }]);
});
