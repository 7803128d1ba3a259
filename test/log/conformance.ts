// What every engine of the log must do, in sentences: in comes a way to open one, out come the same tests for each.
// Nothing here knows an engine; what only one can show (expiry, a crash, an outage) stands in its own test.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { describe, type TestContext, test } from 'node:test';
import {
  type Batch,
  comparePositions,
  type Entry,
  type Log,
  type LogOptions,
  type NewEntry,
  type Reader,
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
