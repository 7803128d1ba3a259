import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeEntry, encodeEntry, eventIdOf } from '../../src/log/entry.ts';
import type { NewEntry } from '../../src/log/log.ts';

const origin = { eventId: 'e-1', timestamp: '2026-01-02T03:04:05.678Z', instance: 'a', version: '1.2.3' };
const entry: NewEntry = {
  eventIds: ['e-1', 'e-2'],
  eventType: 'typing_start',
  stream: 'events:chat',
  maxLength: 100,
  room: 'r-1',
  payload: '{"n":1.10,"a":1,"a":2}',
  deliveries: [{ hub: 'chat', group: 'request:r-1', method: 'TypingIndicator', except: 'c-1' }],
  coalescedCount: 3,
  traceId: 't-1',
  typing: { user: 'u-1', openedAt: '5-1', statedAt: 1750000000000.123 },
  epoch: 7,
};

function decode(fields: Record<string, string>) {
  return decodeEntry('events:chat', '7-0', Object.entries(fields).flat());
}

const foreign = { event_id: 'x', event_type: 'chat_message', room_id: 'r', payload: '{}' };

test('an entry comes back as it went, its payload letter by letter', () => {
  assert.deepEqual(decodeEntry('events:chat', '7-0', encodeEntry(entry, origin)), {
    stream: 'events:chat',
    position: '7-0',
    eventId: 'e-1',
    eventType: 'typing_start',
    publishedAtMs: Date.parse(origin.timestamp),
    room: 'r-1',
    payload: entry.payload,
    deliveries: entry.deliveries,
    typing: entry.typing,
    instance: 'a',
    epoch: 7,
  });
});

test('the wire has exactly the six fields, and metadata the names that other programs read', () => {
  const fields = encodeEntry({ ...entry, endsTypingOf: 'u-2' }, origin);
  const names = fields.filter((_, index) => index % 2 === 0);
  assert.deepEqual(names, ['event_id', 'event_type', 'timestamp', 'room_id', 'payload', 'metadata']);
  assert.deepEqual(JSON.parse(fields.at(-1)!), {
    trace_id: 't-1',
    source_instance: 'a',
    coalesced_count: 3,
    deliveries: entry.deliveries,
    version: '1.2.3',
    typing: { user: 'u-1', opened_at: '5-1', stated_at: 1750000000000.123 },
    ends_typing_of: 'u-2',
    epoch: 7,
  });
});

test('the first id is the event id; without ids each entry gets a fresh one', () => {
  assert.equal(eventIdOf(entry), 'e-1');
  const [first, second] = [eventIdOf({ eventIds: [] }), eventIdOf({ eventIds: [] })];
  assert.match(first, /^[0-9a-f-]{36}$/);
  assert.notEqual(first, second);
});

test('an entry of another publisher is read without id, time and metadata', () => {
  const { event_id: _, ...withoutId } = foreign;
  const read = decode(withoutId);
  assert.ok(!('reason' in read));
  assert.equal(read.eventId, '');
  assert.ok(Number.isNaN(read.publishedAtMs));
  assert.equal(read.deliveries, undefined);
});

test('an instance that another publisher names is not a replica', () => {
  const read = decode({ ...foreign, metadata: '{"source_instance":"backend-1"}' });
  assert.ok(!('reason' in read));
  assert.equal(read.instance, undefined);
});

test('a time without a zone is UTC', () => {
  const read = decode({ ...foreign, timestamp: '2026-01-02T03:04:05.678901' });
  assert.ok(!('reason' in read));
  assert.equal(read.publishedAtMs, Date.parse('2026-01-02T03:04:05.678Z'));
});

const delivery = { hub: 'chat', group: 'g', method: 'm' };
const broken: [why: string, fields: Record<string, string>][] = [
  ['no event_type', { room_id: 'r', payload: '{}' }],
  ['no room_id', { event_type: 'x', payload: '{}' }],
  ['no payload', { event_type: 'x', room_id: 'r' }],
  ['a payload that is not JSON', { ...foreign, payload: '{"a":' }],
  ['metadata that is not JSON', { ...foreign, metadata: 'no' }],
  ['metadata that is no object', { ...foreign, metadata: '[1]' }],
  ['deliveries that are no list', { ...foreign, metadata: JSON.stringify({ deliveries: delivery }) }],
  ['a delivery without a hub', { ...foreign, metadata: JSON.stringify({ deliveries: [{ ...delivery, hub: 1 }] }) }],
  [
    'a delivery of a method without a name',
    { ...foreign, metadata: JSON.stringify({ deliveries: [{ ...delivery, method: '' }] }) },
  ],
  ['a delivery that is null', { ...foreign, metadata: '{"deliveries":[null]}' }],
  ['typing without a time', { ...foreign, metadata: '{"typing":{"user":"u","opened_at":"5-1","stated_at":"x"}}' }],
  ['typing without a position', { ...foreign, metadata: '{"typing":{"user":"u","opened_at":"x"}}' }],
  ['an epoch that is no whole number', { ...foreign, metadata: '{"epoch":1.5}' }],
  ['ends_typing_of that is no text', { ...foreign, metadata: '{"ends_typing_of":1}' }],
];
for (const [why, fields] of broken) {
  test(`${why} makes an entry malformed, never an exception`, () => {
    const read = decode(fields);
    assert.ok('reason' in read);
    assert.equal(read.position, '7-0');
  });
}

test('whatever another program writes, an entry with its types comes out, or why there is none', () => {
  const names = ['event_id', 'event_type', 'timestamp', 'room_id', 'payload', 'metadata', '__proto__'];
  const shaped = fc.record(
    {
      deliveries: fc.oneof(fc.constant(entry.deliveries), fc.array(fc.jsonValue()), fc.jsonValue()),
      typing: fc.oneof(fc.constant({ user: 'u', opened_at: '5-1' }), fc.jsonValue()),
      ends_typing_of: fc.jsonValue(),
      epoch: fc.oneof(fc.integer(), fc.jsonValue()),
      source_instance: fc.jsonValue(),
    },
    { requiredKeys: [] },
  );
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.json(),
    shaped.map((metadata) => JSON.stringify(metadata)),
  );
  const fields = fc.array(fc.tuple(fc.oneof(fc.constantFrom(...names), fc.string()), text));
  const whole = fc.record(Object.fromEntries(names.slice(0, 6).map((name) => [name, text]))).map(Object.entries);
  const isText = (value: unknown) => typeof value === 'string';
  fc.assert(
    fc.property(fc.oneof(fields, whole), fc.boolean(), (pairs, isCut) => {
      const flat = pairs.flat() as string[];
      const decoded = decodeEntry('events:chat', '7-0', isCut ? flat.slice(1) : flat);
      if ('reason' in decoded) return assert.ok(isText(decoded.reason) && !('payload' in decoded));
      const {
        eventId,
        eventType,
        room,
        payload,
        publishedAtMs,
        deliveries = [],
        typing,
        endsTypingOf,
        epoch,
      } = decoded;
      assert.ok([eventId, eventType, room, payload].every(isText) && typeof publishedAtMs === 'number');
      JSON.parse(payload);
      for (const { hub, group, method, except = '' } of deliveries)
        assert.ok([hub, group, method, except].every(isText));
      assert.ok(typing === undefined || (isText(typing.user) && /^\d+-\d+$/.test(typing.openedAt)));
      assert.ok(endsTypingOf === undefined || isText(endsTypingOf));
      assert.ok(epoch === undefined || (Number.isSafeInteger(epoch) && epoch >= 0));
    }),
    { seed: 9, numRuns: 3_000 },
  );
});
