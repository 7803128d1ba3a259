// The coalescing windows with time in the test's hand: a trailing-edge throttle per room, kind and user.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Event } from '../../src/contract/event.ts';
import { Coalescer, type CoalescerOptions } from '../../src/lanes/coalesce.ts';
import type { NewEntry } from '../../src/log/log.ts';
import { allRooms } from '../../src/room-set.ts';
import { TestClock } from '../support/clock.ts';

const windowMs = 100;

/** A typing event whose payload is its state; a later one stands for all. */
function typing(state: string, { room = 'r1', user = 'u1' } = {}): Event {
  const coalescing = { key: `typing ${user}`, typingOf: user };
  const place = { stream: 'events:chat', maxLength: 100, room, deliveries: [] };
  return { eventIds: [state], eventType: 'typing', ...place, payload: state, coalescing };
}

/** Like typing, but kept apart from it, with a list instead of a typing note. */
function receipt(...items: string[]): Event {
  const payloadOf = (united: Iterable<string>) => [...united].join();
  return { ...typing(items.join()), coalescing: { key: 'receipt u1', union: { items, payloadOf } } };
}

function setUp(options: Partial<CoalescerOptions<string>> = {}) {
  const clock = new TestClock();
  const emitted: { entry: NewEntry; origins: string[] }[] = [];
  const merged: string[] = [];
  const reader = { position: '7-0' };
  const coalescer = new Coalescer<string>({
    windowMs,
    clock,
    position: () => reader.position,
    emit: (entry, origins) => emitted.push({ entry, origins }),
    onMerged: (event) => merged.push(event.payload),
    ...options,
  });
  const payloads = () => emitted.map(({ entry }) => entry.payload);
  return { clock, coalescer, emitted, merged, payloads, reader };
}

test('the first event opens a window, and the latest state is sent once at its end', () => {
  const { clock, coalescer, emitted, merged, payloads } = setUp();
  assert.ok(coalescer.add(typing('a'), 'call a'));
  clock.advance(60);
  assert.ok(coalescer.add(typing('b'), 'call b'));
  clock.advance(39);
  assert.ok(coalescer.add(typing('c'), 'call c'));
  assert.deepEqual(payloads(), []);
  assert.equal(coalescer.openWindows, 1);
  clock.advance(1);
  assert.deepEqual(payloads(), ['c']);
  assert.deepEqual(emitted[0]!.origins, ['call a', 'call b', 'call c']);
  assert.deepEqual(emitted[0]!.entry.eventIds, ['a', 'b', 'c']);
  assert.deepEqual(merged, ['b', 'c']);
  assert.equal(coalescer.openWindows, 0);
  clock.advance(1_000);
  assert.equal(emitted.length, 1);
});

test('steady typing shows in every window: an event does not make its window longer', () => {
  const { clock, coalescer, payloads } = setUp();
  for (let i = 0; i < 50; i++) {
    coalescer.add(typing(`${i}`), '');
    clock.advance(20);
  }
  assert.deepEqual(payloads(), ['4', '9', '14', '19', '24', '29', '34', '39', '44', '49']);
});

test('rooms, users and kinds have windows of their own', () => {
  const { clock, coalescer, payloads } = setUp();
  coalescer.add(typing('r1 u1'), '');
  coalescer.add(typing('r2 u1', { room: 'r2' }), '');
  coalescer.add(typing('r1 u2', { user: 'u2' }), '');
  coalescer.add(receipt('receipt'), '');
  assert.equal(coalescer.openWindows, 4);
  clock.advance(windowMs);
  assert.deepEqual(payloads(), ['r1 u1', 'r2 u1', 'r1 u2', 'receipt']);
});

test('a room is flushed at once, in the order in which its windows were opened, and nothing is sent twice', () => {
  const { clock, coalescer, payloads } = setUp();
  coalescer.add(typing('first'), '');
  coalescer.add(typing('elsewhere', { room: 'r2' }), '');
  coalescer.add(receipt('second'), '');
  coalescer.flushRoom('r1');
  assert.deepEqual(payloads(), ['first', 'second']);
  coalescer.flushRoom('r1');
  coalescer.flushRoom('nowhere');
  coalescer.add(typing('after'), '');
  clock.advance(windowMs);
  assert.deepEqual(payloads(), ['first', 'second', 'elsewhere', 'after']);
  assert.equal(clock.timers, 0);
});

test('a window that follows a flush lasts its whole time', () => {
  const { clock, coalescer, payloads } = setUp();
  coalescer.add(typing('a'), '');
  clock.advance(90);
  coalescer.flushRoom('r1');
  coalescer.add(typing('b'), '');
  clock.advance(99);
  assert.deepEqual(payloads(), ['a']);
  clock.advance(1);
  assert.deepEqual(payloads(), ['a', 'b']);
});

test('everything is flushed at the end', () => {
  const { clock, coalescer, payloads } = setUp();
  for (const room of ['r1', 'r2', 'r3']) coalescer.add(typing(room, { room }), '');
  coalescer.flushRooms(allRooms);
  assert.deepEqual(payloads(), ['r1', 'r2', 'r3']);
  assert.equal(coalescer.openWindows, 0);
  assert.equal(clock.timers, 0);
});

test('a typing note carries where the reader stood when its window opened; a receipt carries none', () => {
  const { clock, coalescer, emitted, reader } = setUp();
  coalescer.add(typing('a'), '');
  coalescer.add(receipt('b'), '');
  reader.position = '8-0';
  coalescer.add(typing('c'), '');
  clock.advance(windowMs);
  assert.deepEqual(emitted[0]!.entry.typing, { user: 'u1', openedAt: '7-0' });
  assert.equal(emitted[1]!.entry.typing, undefined);
});

test('the lists of receipts are united, the other events’ ids and their number are kept', () => {
  const { clock, coalescer, emitted } = setUp();
  for (const list of [['a', 'b'], ['b', 'c'], [], ['a', 'd']]) coalescer.add(receipt(...list), '');
  clock.advance(windowMs);
  const { payload, eventIds, coalescedCount } = emitted[0]!.entry;
  assert.deepEqual([payload, eventIds, coalescedCount], ['a,b,c,d', ['a,b', 'b,c', '', 'a,d'], 4]);
});

test('an event costs by its own list, however many are in its window', () => {
  const { clock, coalescer, emitted } = setUp();
  let written = 0;
  const payloadOf = (united: Iterable<string>) => {
    written++;
    return [...united].join();
  };
  const receipts = Array.from({ length: 40_000 }, (_, i) => ({
    ...receipt(),
    coalescing: { key: 'receipt u1', union: { items: [`"${i}"`], payloadOf } },
  }));
  const before = process.cpuUsage();
  for (const each of receipts) coalescer.add(each, '');
  clock.advance(windowMs);
  // 80 s before: each built the list and the payload of all before it anew.
  assert.ok(process.cpuUsage(before).user < 2_000_000);
  assert.equal(written, emitted.length);
  assert.equal(emitted.flatMap(({ entry }) => entry.payload.split(',')).length, 40_000);
});

test('a window ends early with its 256th event, or with 64 KiB of list', () => {
  const { clock, coalescer, payloads } = setUp();
  for (let i = 0; i < 257; i++) coalescer.add(typing(`${i}`), '');
  assert.deepEqual(payloads(), ['255']);
  const half = 'x'.repeat(40_000);
  coalescer.add(receipt(half), '');
  coalescer.add(receipt(half), '');
  assert.equal(payloads().length, 1);
  coalescer.add(receipt(`${half}y`), '');
  assert.deepEqual(payloads().slice(1), [`${half},${half}y`]);
  clock.advance(windowMs);
  assert.deepEqual(payloads().slice(2), ['256']);
  assert.equal(clock.timers, 0);
});

test('a typing note carries when its last state was accepted; what was accepted before it does not replace it', () => {
  const { clock, coalescer, emitted } = setUp();
  coalescer.add(typing('a'), 'call a', 10);
  coalescer.add(typing('c'), 'call c', 30);
  coalescer.add(typing('b'), 'call b', 20);
  clock.advance(windowMs);
  const [{ entry, origins }] = emitted as [(typeof emitted)[0]];
  assert.equal(origins.at(-1), 'call c', 'which goes to the bridge where the log does not take the note');
  assert.deepEqual([entry.payload, entry.typing?.statedAt, entry.eventIds], ['c', 30, ['a', 'c', 'b']]);
});

test('its ids were remembered when the calls came in', () => {
  const { clock, coalescer, emitted } = setUp();
  coalescer.add(typing('a'), '');
  clock.advance(windowMs);
  assert.equal(emitted[0]!.entry.idsSettled, true);
});

test('windows are bounded: a new one is refused, an open one still takes events', () => {
  const { clock, coalescer, payloads } = setUp({ maxWindows: 2 });
  assert.ok(coalescer.add(typing('a'), ''));
  assert.ok(coalescer.add(typing('b', { user: 'u2' }), ''));
  assert.equal(coalescer.add(typing('c', { user: 'u3' }), ''), false);
  assert.ok(coalescer.add(typing('d'), ''));
  clock.advance(windowMs);
  assert.deepEqual(payloads(), ['d', 'b']);
  assert.ok(coalescer.add(typing('e', { user: 'u3' }), ''));
});

test('an event that comes while its window is being sent opens the next one', () => {
  const clock = new TestClock();
  const sent: string[] = [];
  const coalescer = new Coalescer<string>({
    windowMs,
    clock,
    position: () => '0-0',
    emit(entry) {
      sent.push(entry.payload);
      if (entry.payload === 'a') coalescer.add(typing('b'), '');
    },
  });
  coalescer.add(typing('a'), '');
  clock.advance(windowMs);
  assert.deepEqual(sent, ['a']);
  assert.equal(coalescer.openWindows, 1);
  clock.advance(windowMs);
  assert.deepEqual(sent, ['a', 'b']);
});
