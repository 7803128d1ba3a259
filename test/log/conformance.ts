// What every engine of the log must do, in sentences: in comes a way to open one, out come the same tests for each.
// Nothing here knows an engine; what only one can show (expiry, a crash, an outage) stands in its own test.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { describe, type TestContext, test } from 'node:test';
import {
  type Batch,
  comparePositions,
  controlStream,
  type Entry,
  type Log,
  type LogOptions,
  type NewEntry,
  probeStream,
  type Reader,
  typingStream,
} from '../../src/log/log.ts';
import { systemClock } from '../../src/telemetry/clock.ts';
import { silentLogger } from '../../src/telemetry/logger.ts';
import { until } from '../support/wait.ts';

/** Opens an empty log; the test that opened it closes it, or leaves that to `t.after`. */
export type OpenLog = (t: TestContext, overrides?: Partial<LogOptions>) => Promise<Log>;

export const streams = ['events:chat', 'events:ticket', 'events:notification'];

export function logOptions(overrides: Partial<LogOptions> = {}): LogOptions {
  return {
    group: 'signalr-consumers',
    instance: 'replica-1',
    publishTimeoutMs: 2_000,
    version: '0.1.0-test',
    clock: systemClock,
    logger: silentLogger,
    onOverBytes: () => {},
    onInstanceLost: () => assert.fail('the instance name was lost'),
    ...overrides,
  };
}

export function newEntry(overrides: Partial<NewEntry> = {}): NewEntry {
  return {
    eventIds: [randomUUID()],
    eventType: 'chat_message',
    stream: 'events:chat',
    maxLength: 10_000,
    room: 'r1',
    payload: '{"content":"hello"}',
    deliveries: [{ hub: 'chat', group: 'request:r1', method: 'ReceiveMessage' }],
    ...overrides,
  };
}

/** A replica's note to the others. */
export function newNote(payload: string): NewEntry {
  const place = { stream: controlStream, maxLength: 1_000, room: '' };
  return newEntry({ ...place, eventIds: [], eventType: 'control', payload, deliveries: [] });
}

/** Reads and acknowledges until `count` entries have come, or were missed. */
export async function readEntries(reader: Reader, count: number): Promise<Entry[]> {
  const entries: Entry[] = [];
  while (entries.length < count) {
    const batch = await reader.read();
    assert.ok(batch, 'the reader was closed');
    assert.deepEqual(batch.malformed, []);
    assert.equal(batch.missed, 0);
    entries.push(...batch.entries);
    reader.acknowledge(batch);
  }
  assert.equal(entries.length, count);
  return entries;
}

export function conformance(name: string, open: OpenLog): void {
  /** Keeps one entry and reads it back. */
  async function roundTrip(t: TestContext, entry: NewEntry): Promise<Entry> {
    const log = await open(t);
    const reader = await log.openReader(streams);
    assert.equal(await log.append(entry), 'appended');
    return (await readEntries(reader, 1))[0]!;
  }

  describe(`${name}: order`, () => {
    test('entries are read in the order in which they were appended, over all streams', async (t) => {
      const log = await open(t);
      const reader = await log.openReader(streams);
      const sent: string[] = [];
      for (let i = 0; i < 60; i++) {
        const entry = newEntry({ stream: streams[i % streams.length] });
        await log.append(entry);
        sent.push(entry.eventIds[0]!);
      }
      const entries = await readEntries(reader, 60);
      assert.deepEqual(
        entries.map(({ eventId }) => eventId),
        sent,
      );
      assertRising(entries);
    });

    test('what is appended at once while a reader waits is read in one order over all streams', async (t) => {
      const log = await open(t);
      const reader = await log.openReader(streams);
      const [chat, ticket] = streams;
      for (let i = 0; i < 20; i++) {
        // The reader begins to wait when it has been given everything that was there.
        const reading = readEntries(reader, 4);
        await until(() => reader.stalenessMs < 50);
        const wanted = [chat, ticket, chat, ticket].map((stream) => newEntry({ stream }));
        await Promise.all(wanted.map((entry) => log.append(entry)));
        const entries = await reading;
        assertRising(entries);
        assert.deepEqual(
          entries.map(({ eventId }) => eventId),
          wanted.map(({ eventIds: [id] }) => id),
        );
      }
    });

    test('a thousand appends at once are all kept once and in one order, as they were asked for', async (t) => {
      const log = await open(t);
      const reader = await log.openReader(streams);
      const wanted = Array.from({ length: 1_000 }, (_, i) => newEntry({ stream: streams[i % streams.length] }));
      const results = await Promise.all(wanted.map((entry) => log.append(entry)));
      assert.deepEqual(new Set(results), new Set(['appended']));
      const entries = await readEntries(reader, 1_000);
      assertRising(entries);
      assert.deepEqual(
        entries.map(({ eventId }) => eventId),
        wanted.map(({ eventIds }) => eventIds[0]),
      );
    });

    test('of the same event appended many times at once one is kept', async (t) => {
      const log = await open(t);
      const reader = await log.openReader(streams);
      const entry = newEntry();
      const results = await Promise.all(Array.from({ length: 50 }, () => log.append(entry)));
      assert.equal(results.filter((result) => result === 'appended').length, 1);
      assert.equal(results.filter((result) => result === 'duplicate').length, 49);
      await log.append(newEntry({ eventIds: ['last'] }));
      assert.deepEqual(
        (await readEntries(reader, 2)).map(({ eventId }) => eventId),
        [entry.eventIds[0], 'last'],
      );
    });
  });

  describe(`${name}: repeats`, () => {
    test('an id is a duplicate in any stream and room', async (t) => {
      const log = await open(t);
      assert.equal(await log.append(newEntry({ eventIds: ['a'] })), 'appended');
      assert.equal(await log.append(newEntry({ eventIds: ['a'], stream: 'events:ticket', room: 'r2' })), 'duplicate');
    });

    test('each of several ids is remembered, and one that is known makes the entry a duplicate', async (t) => {
      const log = await open(t);
      assert.equal(await log.append(newEntry({ eventIds: ['a', 'b', 'c'] })), 'appended');
      for (const id of ['a', 'b', 'c']) assert.equal(await log.append(newEntry({ eventIds: [id] })), 'duplicate');
      assert.equal(await log.append(newEntry({ eventIds: ['d', 'b'] })), 'duplicate');
      assert.equal(await log.append(newEntry({ eventIds: ['d'] })), 'appended', 'a refused entry keeps no id');
    });

    test('ids are compared exactly', async (t) => {
      const log = await open(t);
      for (const id of ['a', 'A', ' a', 'a ', 'ä', 'a\u0308', '1', '01', '*', '%'])
        assert.equal(await log.append(newEntry({ eventIds: [id] })), 'appended', JSON.stringify(id));
    });

    test('an event without an id is never a duplicate, and is given an id', async (t) => {
      const log = await open(t);
      const reader = await log.openReader(streams);
      assert.equal(await log.append(newEntry({ eventIds: [] })), 'appended');
      assert.equal(await log.append(newEntry({ eventIds: [] })), 'appended');
      const [first, second] = await readEntries(reader, 2);
      assert.notEqual(first!.eventId, '');
      assert.notEqual(first!.eventId, second!.eventId);
    });

    test('ids that are settled elsewhere are neither compared nor kept', async (t) => {
      const log = await open(t);
      const reader = await log.openReader(streams);
      assert.equal(await log.append(newEntry({ eventIds: ['a'], idsSettled: true })), 'appended');
      assert.equal(await log.append(newEntry({ eventIds: ['a'] })), 'appended');
      assert.equal(await log.append(newEntry({ eventIds: ['a'], idsSettled: true })), 'appended');
      assert.deepEqual(
        (await readEntries(reader, 3)).map(({ eventId }) => eventId),
        ['a', 'a', 'a'],
      );
    });
  });

  describe(`${name}: claims`, () => {
    test('an open claim leaves a repeat undecided, on either lane', async (t) => {
      const log = await open(t);
      assert.equal(await log.claim('a'), 'claimed');
      assert.equal(await log.claim('a'), 'undecided');
      assert.equal(await log.append(newEntry({ eventIds: ['a'] })), 'undecided');
      assert.equal(await log.append(newEntry({ eventIds: ['x', 'a'] })), 'undecided');
      assert.equal(await log.append(newEntry({ eventIds: ['x'] })), 'appended', 'an undecided entry keeps no id');
    });

    test('its time is later for whoever asks after another’s answer', async (t) => {
      const log = await open(t);
      const times = [await log.time(), await log.time(), await log.time()];
      assert.ok(times[0]! <= times[1]! && times[1]! <= times[2]!, times.join());
      assert.ok(times[0]! < times[2]!, times.join());
    });

    test('a claim that was kept is a duplicate', async (t) => {
      const log = await open(t);
      await log.claim('a');
      await log.settle('a', true);
      assert.equal(await log.claim('a'), 'duplicate');
      assert.equal(await log.append(newEntry({ eventIds: ['a'] })), 'duplicate');
    });

    test('a claim that was not kept is new again', async (t) => {
      const log = await open(t);
      await log.claim('a');
      await log.settle('a', false);
      assert.equal(await log.claim('a'), 'claimed');
      await log.settle('a', false);
      assert.equal(await log.append(newEntry({ eventIds: ['a'] })), 'appended');
    });

    test('an appended id cannot be claimed, nor be ended as if it were a claim', async (t) => {
      const log = await open(t);
      await log.append(newEntry({ eventIds: ['a'] }));
      assert.equal(await log.claim('a'), 'duplicate');
      await log.settle('a', false);
      assert.equal(await log.claim('a'), 'duplicate');
    });

    test('an id can be settled without a claim', async (t) => {
      const log = await open(t);
      await log.settle('a', true);
      assert.equal(await log.append(newEntry({ eventIds: ['a'] })), 'duplicate');
    });

    test('of many claims at once one is given', async (t) => {
      const log = await open(t);
      const results = await Promise.all(Array.from({ length: 20 }, () => log.claim('a')));
      assert.deepEqual(results.toSorted(), ['claimed', ...Array(19).fill('undecided')]);
    });
  });

  describe(`${name}: ids that were accepted elsewhere`, () => {
    test('are duplicates on either lane, however many', async (t) => {
      const log = await open(t);
      const ids = Array.from({ length: 2_600 }, (_, i) => ({ eventId: `id ${i}`, ttlMs: 60_000 }));
      await log.rememberIds(ids);
      assert.equal(await log.claim('id 0'), 'duplicate');
      assert.equal(await log.append(newEntry({ eventIds: ['id 2599'] })), 'duplicate');
      assert.equal(await log.append(newEntry({ eventIds: ['id 2600'] })), 'appended');
    });

    test('settle an open claim, and whoever holds it cannot undo that', async (t) => {
      const log = await open(t);
      await log.claim('a');
      await log.rememberIds([{ eventId: 'a', ttlMs: 60_000 }]);
      assert.equal(await log.claim('a'), 'duplicate');
      await log.settle('a', false);
      assert.equal(await log.claim('a'), 'duplicate');
    });

    test('are passed over where they are empty or their time is over', async (t) => {
      const log = await open(t);
      await log.rememberIds([
        { eventId: '', ttlMs: 60_000 },
        { eventId: 'old', ttlMs: 0 },
        { eventId: 'older', ttlMs: -5 },
        { eventId: 'young', ttlMs: 60_000.5 },
      ]);
      assert.equal(await log.claim('old'), 'claimed');
      assert.equal(await log.claim('older'), 'claimed');
      assert.equal(await log.claim('young'), 'duplicate');
      await log.rememberIds([]);
    });
  });

  describe(`${name}: the shared state`, () => {
    const commit = (log: Log, epoch: number, { over = epoch - 1, value = `"${epoch}"` } = {}) =>
      log.commitState({ epoch, value }, { over, note: newNote(`{"epoch":${epoch}}`), withinMs: 2_000 });

    test('is none at first, then what was committed, letter by letter', async (t) => {
      const log = await open(t);
      assert.equal(await log.readState(), undefined);
      const value = '{"percent":25,"by":"ö😀\\u2028","pins":{"r 1":"stream"}}';
      assert.equal(await commit(log, 1, { value }), 'committed');
      assert.deepEqual(await log.readState(), { epoch: 1, value });
      assert.equal(await commit(log, 2, { value: '{}' }), 'committed');
      assert.deepEqual(await log.readState(), { epoch: 2, value: '{}' });
    });

    test('changes where its note stands in the order of the events', async (t) => {
      const log = await open(t);
      const reader = await log.openReader([...streams, controlStream]);
      await log.append(newEntry({ eventIds: ['before'], epoch: 0 }));
      await commit(log, 1);
      await log.append(newEntry({ eventIds: ['after'], epoch: 1 }));
      const [before, note, after] = await readEntries(reader, 3);
      assert.deepEqual([before!.eventId, after!.eventId], ['before', 'after']);
      assert.deepEqual([before!.epoch, note!.epoch, after!.epoch], [0, undefined, 1]);
      const { stream, eventType, room, payload, deliveries, instance } = note!;
      const told = { stream: controlStream, eventType: 'control', room: '', payload: '{"epoch":1}', deliveries: [] };
      assert.deepEqual({ stream, eventType, room, payload, deliveries }, told);
      assert.equal(instance, 'replica-1');
      assertRising([before!, note!, after!]);
    });

    test('is replaced only over the epochs that its committer knew, and only by a higher one', async (t) => {
      const log = await open(t);
      const reader = await log.openReader([controlStream]);
      assert.equal(await commit(log, 5, { over: 0 }), 'committed', 'numbers may be left out');
      assert.equal(await commit(log, 6, { over: 4 }), 'conflict');
      assert.equal(await commit(log, 5, { over: 9 }), 'conflict');
      assert.equal(await commit(log, 4, { over: 9 }), 'conflict');
      assert.deepEqual(await log.readState(), { epoch: 5, value: '"5"' });
      assert.equal(await commit(log, 7, { over: 9 }), 'committed');
      const notes = await readEntries(reader, 2);
      assert.deepEqual(
        notes.map(({ payload }) => payload),
        ['{"epoch":5}', '{"epoch":7}'],
        'a conflict leaves no note',
      );
    });

    test('of many states at once for one epoch one is committed', async (t) => {
      const log = await open(t);
      const results = await Promise.all(Array.from({ length: 20 }, (_, i) => commit(log, 1, { value: `${i}` })));
      assert.deepEqual(results.toSorted(), ['committed', ...Array(19).fill('conflict')]);
      assert.deepEqual(await log.readState(), { epoch: 1, value: String(results.indexOf('committed')) });
    });

    test('refuses an entry of an older one: nothing is kept, and its ids are not remembered', async (t) => {
      const log = await open(t);
      const reader = await log.openReader([...streams, controlStream]);
      assert.equal(await log.append(newEntry({ eventIds: ['a'], epoch: 1 })), 'appended', 'ahead of no state');
      await commit(log, 2);
      assert.equal(await log.append(newEntry({ eventIds: ['b'], epoch: 1 })), 'stale');
      assert.equal(await log.append(newEntry({ eventIds: [], epoch: 0 })), 'stale');
      assert.equal(await log.append(newEntry({ eventIds: ['b'], epoch: 2 })), 'appended');
      assert.equal(await log.append(newEntry({ eventIds: ['c'], epoch: 3 })), 'appended');
      assert.equal(await log.append(newEntry({ eventIds: ['d'] })), 'appended', 'no epoch is never stale');
      const entries = (await readEntries(reader, 5)).filter(({ stream }) => stream !== controlStream);
      assert.deepEqual(
        entries.map(({ eventId, epoch }) => [eventId, epoch]),
        [
          ['a', 1],
          ['b', 2],
          ['c', 3],
          ['d', undefined],
        ],
      );
    });

    test('refuses a claim of an older one, which is not opened', async (t) => {
      const log = await open(t);
      await commit(log, 2);
      assert.equal(await log.claim('a', 1), 'stale');
      assert.equal(await log.claim('a', 2), 'claimed');
      assert.equal(await log.claim('b'), 'claimed');
    });
  });

  describe(`${name}: small shared values`, () => {
    test('are read back until another takes their place', async (t) => {
      const log = await open(t);
      assert.equal(await log.shared('token 1'), undefined);
      log.share('token 1', 'http://bridge-1', 60_000);
      log.share('token 2', '', 60_000);
      assert.equal(await log.shared('token 1'), 'http://bridge-1');
      assert.equal(await log.shared('token 2'), '');
      log.share('token 1', 'http://bridge-2', 60_000);
      assert.equal(await log.shared('token 1'), 'http://bridge-2');
    });

    test('are swapped by one of several that try at once, and by nobody who knows an older one', async (t) => {
      const log = await open(t);
      const tries = ['a', 'b', 'c'].map((each) => log.swap('leader', undefined, each, 60_000));
      assert.deepEqual(await Promise.all(tries), [true, false, false]);
      assert.equal(await log.shared('leader'), 'a');
      assert.equal(await log.swap('leader', 'b', 'd', 60_000), false);
      assert.equal(await log.swap('leader', 'a', '', 60_000), true);
      assert.equal(await log.shared('leader'), '');
      assert.equal(await log.swap('leader', undefined, 'e', 60_000), false);
      assert.equal(await log.swap('leader', '', 'e', 1), true);
      await until(async () => (await log.shared('leader')) === undefined, { what: 'its time to be over' });
      assert.equal(await log.swap('leader', undefined, 'f', 60_000), true);
    });
  });

  describe(`${name}: the reader`, () => {
    test('starts at the tail', async (t) => {
      const log = await open(t);
      await log.append(newEntry({ eventIds: ['before'] }));
      const reader = await log.openReader(streams);
      await log.append(newEntry({ eventIds: ['after'] }));
      const [entry] = await readEntries(reader, 1);
      assert.equal(entry!.eventId, 'after');
    });

    test('says where it stands', async (t) => {
      const log = await open(t);
      await log.append(newEntry());
      const reader = await log.openReader(streams);
      const tail = reader.position;
      await log.append(newEntry());
      assert.equal(reader.position, tail);
      const [entry] = await readEntries(reader, 1);
      assert.equal(reader.position, entry!.position);
      assert.ok(comparePositions(entry!.position, tail) > 0);
    });

    test('is silent for less than 500 ms while it lives', async (t) => {
      const log = await open(t);
      const reader = await log.openReader(streams);
      const reading = (async () => {
        while ((await reader.read()) !== undefined);
      })();
      await until(() => reader.stalenessMs < 500, { what: 'the first answer' });
      let longest = 0;
      const end = performance.now() + 1_000;
      for (let nextAt = 0; performance.now() < end; ) {
        if (performance.now() > nextAt) {
          await log.append(newEntry());
          nextAt = performance.now() + 350;
        }
        longest = Math.max(longest, reader.stalenessMs);
        await new Promise((resolve) => setImmediate(resolve));
      }
      assert.ok(longest < 500, `silent for ${longest} ms`);
      await reader.close();
      await reading;
    });

    test('gets the few entries of one stream in their place among the many of the others', async (t) => {
      const log = await open(t);
      const reader = await log.openReader([...streams, controlStream]);
      const wanted = Array.from({ length: 2_000 }, (_, i) =>
        i % 300 === 150 ? newNote(`${i}`) : newEntry({ stream: streams[i < 1_200 ? 0 : 1], payload: `${i}` }),
      );
      const appending = Promise.all(wanted.map((entry) => log.append(entry)));
      const entries = await readEntries(reader, 2_000);
      await appending;
      assert.deepEqual(
        entries.map(({ payload }) => payload),
        wanted.map(({ payload }) => payload),
      );
      assertRising(entries);
    });

    test('misses nothing of a stream that is trimmed behind it', async (t) => {
      const log = await open(t);
      const reader = await log.openReader([...streams, controlStream]);
      for (let i = 0; i < 25; i++) {
        const notes = Array.from({ length: 100 }, (_, n) => log.append(newNote(`${i * 100 + n}`)));
        await Promise.all([...notes, log.append(newEntry())]);
        await readEntries(reader, 101);
      }
      const control = (await log.streamStates()).find(({ stream }) => stream === controlStream);
      assert.ok(control!.depth < 2_500, `${control!.depth} notes are there`);
      assert.equal(control!.lag, 0);
    });

    test('a waiting read wakes promptly', async (t) => {
      const log = await open(t);
      const reader = await log.openReader(streams);
      for (let i = 0; i < 5; i++) {
        const reading = readEntries(reader, 1).then(() => performance.now());
        await log.append(newEntry());
        const appendedAt = performance.now();
        assert.ok((await reading) - appendedAt < 250);
      }
    });

    test('a waiting read ends with undefined at close, and so does every later one', async (t) => {
      const log = await open(t);
      const reader = await log.openReader(streams);
      const reading = reader.read();
      await reader.close();
      assert.equal(await reading, undefined);
      assert.equal(await reader.read(), undefined);
    });

    test('closing the log closes the reader', async (t) => {
      const log = await open(t);
      const reader = await log.openReader(streams);
      const reading = reader.read();
      await log.close();
      assert.equal(await reading, undefined);
    });

    test('entries that were trimmed before it read them are counted', async (t) => {
      const log = await open(t);
      const reader = await log.openReader(streams);
      let appended = 0;
      const stillUntil = performance.now() + 400;
      while (performance.now() < stillUntil || appended < 600) {
        await Promise.all(Array.from({ length: 100 }, () => log.append(newEntry({ maxLength: 100 }))));
        appended += 100;
      }
      const entries: Entry[] = [];
      let missed = 0;
      while (entries.length + missed < appended) {
        const batch = (await reader.read())!;
        missed += batch.missed;
        entries.push(...batch.entries);
        reader.acknowledge(batch);
      }
      assert.equal(entries.length + missed, appended);
      assert.ok(missed > 0);
      assertRising(entries);
    });

    for (const [what, stream] of [
      ['typing notes, which clients cause, as many as they like,', typingStream],
      ['probes, which say nothing that a later one does not,', probeStream],
    ] as const)
      test(`${what} are no gap when they were trimmed unread`, async (t) => {
        const log = await open(t);
        const reader = await log.openReader(['events:chat', controlStream, stream]);
        const note = { ...newNote('{}'), stream, maxLength: 100 };
        for (let i = 0; i < 10; i++) await Promise.all(Array.from({ length: 200 }, () => log.append(note)));
        await log.append(newEntry({ eventIds: ['last'] }));
        const seen: Entry[] = [];
        while (seen.at(-1)?.eventId !== 'last') {
          const batch = (await reader.read())!;
          assert.equal(batch.missed, 0);
          seen.push(...batch.entries);
          reader.acknowledge(batch);
        }
        assert.ok(seen.length < 2_001, 'some were trimmed');
        assertRising(seen);
        assert.equal((await log.append(newEntry())) && (await readEntries(reader, 1)).length, 1, 'nor later');
      });
  });

  describe(`${name}: a tail`, () => {
    test('gives what is appended behind its opening, in each stream’s order, to as many as read along; nobody waits for it', async (t) => {
      const log = await open(t);
      await log.append(newEntry({ payload: '"before"' }));
      const tails = [await log.openTail(['events:chat', 'events:ticket']), await log.openTail(['events:chat'])];
      t.after(() => {
        for (const tail of tails) tail.close();
      });
      assert.deepEqual(await tails[0]!.read(), [], 'with nothing to read it answers all the same');
      const mirrored = { sentAt: 1.5, answeredAt: 2.25, toLogMs: 1e12, withinMs: 0.5 };
      for (const payload of ['1', '2']) await log.append(newEntry({ payload, mirrored }));
      await log.append(newEntry({ stream: 'events:notification', payload: '3' }));
      for (const tail of tails) {
        const found: Entry[] = [];
        await until(async () => found.push(...(await tail.read())) >= 2, { what: 'two entries' });
        assert.deepEqual(
          found.map(({ payload, mirrored: times }) => [payload, times]),
          [
            ['1', mirrored],
            ['2', mirrored],
          ],
        );
      }
    });
  });

  describe(`${name}: an entry comes back as it was kept`, () => {
    const payloads = {
      'numbers by their text': '{"a":1.10,"b":-0.0,"c":1e3,"d":12345678901234567890}',
      'repeated keys in their order': '{"b":1,"a":2,"b":3,"__proto__":4}',
      'emoji and line separators': '{"t":"😀 \u2028\u2029 \u00e9 e\u0301"}',
      'escapes as they were written': '"\\u00e9\\ud83d\\ude00\\u0000\\/"',
      'a bare string': '"x"',
      'a bare number': '-0.0',
      null: 'null',
      'a long text': JSON.stringify('ä'.repeat(300_000)),
    };
    for (const [what, payload] of Object.entries(payloads)) {
      test(`payload: ${what}`, async (t) => {
        assert.equal((await roundTrip(t, newEntry({ payload }))).payload, payload);
      });
    }

    test('deliveries, with whom they leave out', async (t) => {
      const deliveries = [
        { hub: 'chat', group: 'request:r1', method: 'TypingIndicator', except: 'connection-1' },
        { hub: 'ticket', group: 'ticket:r1', method: 'TicketUpdate' },
      ];
      assert.deepEqual((await roundTrip(t, newEntry({ deliveries }))).deliveries, deliveries);
    });

    test('no deliveries at all are not the same as none given', async (t) => {
      assert.deepEqual((await roundTrip(t, newEntry({ deliveries: [] }))).deliveries, []);
    });

    test('a typing note with the place where its window opened', async (t) => {
      const typing = { user: 'üser "1"', openedAt: '1750000000000-7' };
      const entry = await roundTrip(t, newEntry({ typing, eventType: 'typing_start', coalescedCount: 3 }));
      assert.deepEqual(entry.typing, typing);
      assert.equal(entry.endsTypingOf, undefined);
    });

    test('whose typing it ends', async (t) => {
      const entry = await roundTrip(t, newEntry({ endsTypingOf: 'u1', traceId: '0af7651916cd43dd8448eb211c80319c' }));
      assert.equal(entry.endsTypingOf, 'u1');
      assert.equal(entry.typing, undefined);
    });

    test('stream, type, room, id and time', async (t) => {
      const before = Date.now();
      const wanted = { stream: 'events:ticket', eventType: 'status_change', room: 'räum 😀 {1}' };
      const entry = await roundTrip(t, newEntry({ ...wanted, eventIds: ['id 1', 'id 2'] }));
      const { stream, eventType, room, eventId, publishedAtMs, position } = entry;
      assert.deepEqual({ stream, eventType, room }, wanted);
      assert.equal(eventId, 'id 1');
      assert.ok(publishedAtMs >= before - 1 && publishedAtMs <= Date.now() + 1, String(publishedAtMs - before));
      assert.match(position, /^\d+-\d+$/);
    });

    test('an empty room', async (t) => {
      assert.equal((await roundTrip(t, newEntry({ room: '' }))).room, '');
    });
  });

  describe(`${name}: streams`, () => {
    test("this replica's own reader is no foreign one", async (t) => {
      const log = await open(t);
      const reader = await log.openReader(streams);
      await log.append(newEntry());
      await readEntries(reader, 1);
      assert.deepEqual(await log.foreignReaders([...streams, 'events:none'], 60_000), []);
    });

    test('the state of each stream: how long it is and what is not acknowledged', async (t) => {
      const log = await open(t);
      await log.append(newEntry());
      const reader = await log.openReader(streams);
      for (let i = 0; i < 3; i++) await log.append(newEntry());
      await log.append(newEntry({ stream: 'events:ticket' }));
      const state = async () =>
        new Map((await log.streamStates()).map(({ stream, depth, lag }) => [stream, [depth, lag]]));

      const chatAndTicket = [
        ['events:chat', [4, 3]],
        ['events:ticket', [1, 1]],
        ['events:notification', [0, 0]],
      ] as const;
      assert.deepEqual(await state(), new Map<string, unknown>(chatAndTicket));

      const batches: Batch[] = [];
      let read = 0;
      while (read < 4) {
        const batch = (await reader.read())!;
        read += batch.entries.length;
        batches.push(batch);
      }
      assert.deepEqual(await state(), new Map<string, unknown>(chatAndTicket), 'read is not acknowledged');
      for (const batch of batches) reader.acknowledge(batch);
      await until(async () => [...(await state()).values()].every(([, lag]) => lag === 0), { what: 'no lag' });
    });

    test('a stream is trimmed near its length, the oldest first', async (t) => {
      const log = await open(t);
      await log.openReader(streams);
      await log.append(newEntry({ stream: 'events:ticket' }));
      for (let i = 0; i < 10; i++) {
        await Promise.all(Array.from({ length: 100 }, () => log.append(newEntry({ maxLength: 200 }))));
      }
      const [chat, ticket] = await log.streamStates();
      assert.ok(chat!.depth >= 200 && chat!.depth <= 320, String(chat!.depth));
      assert.equal(ticket!.depth, 1, 'a stream is trimmed by itself');
    });

    test('a stream of large entries is bounded by their bytes, the oldest going first', async (t) => {
      const over: string[] = [];
      const log = await open(t, { maxStreamBytes: 320_000, onOverBytes: (stream) => over.push(stream) });
      await log.openReader(streams);
      await log.append(newEntry({ stream: 'events:ticket' }));
      const payload = JSON.stringify('x'.repeat(10_000));
      for (let i = 0; i < 10; i++) {
        await Promise.all(Array.from({ length: 10 }, () => log.append(newEntry({ payload }))));
        const [chat] = await log.streamStates();
        assert.ok(chat!.depth <= 33, `${chat!.depth} entries of 10 kB are there`);
      }
      const [chat, ticket] = await log.streamStates();
      assert.ok(chat!.depth >= 26, `${chat!.depth} entries of 10 kB are left`);
      assert.equal(ticket!.depth, 1, 'a stream is trimmed by itself');
      assert.deepEqual([...new Set(over)], ['events:chat']);
      await log.append(newEntry({ payload: JSON.stringify('x'.repeat(400_000)) }));
      await log.append(newEntry({ payload }));
      const [last] = await log.streamStates();
      assert.ok(last!.depth <= 2, 'one that is larger than all may be goes with the next');
    });
  });

  describe(`${name}: the roster`, () => {
    /** Counters may be written behind. */
    const eventually = (log: Log, counter: string, value: number | undefined) =>
      until(async () => (await log.roster.read()).some((counters) => counters.get(counter) === value), {
        what: `${counter} to be ${value}`,
      });

    test('counters are set, changed and removed', async (t) => {
      const log = await open(t);
      log.roster.set('user:u1', 1);
      log.roster.set('room:chat:request:r1', 5);
      await eventually(log, 'user:u1', 1);
      await eventually(log, 'room:chat:request:r1', 5);
      log.roster.set('user:u1', 2);
      await eventually(log, 'user:u1', 2);
      log.roster.set('user:u1', 0);
      await eventually(log, 'user:u1', undefined);
      await eventually(log, 'room:chat:request:r1', 5);
    });

    test('a replica is known by its name, its counters and what it last said of itself', async (t) => {
      const log = await open(t);
      assert.deepEqual(await log.roster.replicas(), [{ instance: 'replica-1', facts: {}, counters: new Map() }]);
      log.roster.set('proxied', 3);
      log.roster.describe({ admin: 'http://10.0.0.1:7402', release: '1' });
      log.roster.describe({ release: '2', 'ö 😀': '' });
      log.roster.set('user:u1', 1);
      assert.deepEqual(await log.roster.replicas(['proxied', 'unknown']), [
        { instance: 'replica-1', facts: { release: '2', 'ö 😀': '' }, counters: new Map([['proxied', 3]]) },
      ]);
      log.roster.set('user:u1', 0);
      assert.deepEqual(await log.roster.read(), [new Map([['proxied', 3]])]);
    });

    test('presence can be held and released', async (t) => {
      const log = await open(t);
      log.roster.holdPresence('u1', 's1');
      log.roster.releasePresence('u1', 'user:u1');
      assert.ok(log.reachable);
    });
  });

  describe(`${name}: the end`, () => {
    test('what was appended before close() is answered, what comes after it is refused', async (t) => {
      const log = await open(t);
      const appending = log.append(newEntry());
      await log.close();
      assert.equal(await appending, 'appended');
      await assert.rejects(log.append(newEntry()), { code: 'LOG_APPEND_REFUSED' });
      await assert.rejects(log.claim('a'), { code: 'LOG_UNAVAILABLE' });
      await log.settle('a', true);
      assert.equal(log.reachable, false);
    });

    test('close() may be called twice', async (t) => {
      const log = await open(t);
      await log.close();
      await log.close();
    });
  });
}

function assertRising(entries: Entry[]): void {
  for (const [i, { position }] of entries.entries()) {
    if (i > 0) assert.ok(comparePositions(entries[i - 1]!.position, position) < 0, `${i}: ${position}`);
  }
}
