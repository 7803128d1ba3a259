// Which typing notes are still shown once their sender's message has passed.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TypingOrder } from '../../src/consumer/typing.ts';
import type { Entry, Position } from '../../src/log/log.ts';

function entry(position: Position, extra: Partial<Entry>): Entry {
  const base = { stream: 'events:chat', eventId: position, eventType: 'x', publishedAtMs: 0, room: 'r1', payload: '1' };
  return { ...base, position, ...extra };
}

const message = (position: Position, user: string, room = 'r1') => entry(position, { endsTypingOf: user, room });
const note = (position: Position, user: string, openedAt: Position, room = 'r1') =>
  entry(position, { typing: { user, openedAt }, room });

test('a note is shown where its sender has sent no message', () => {
  assert.equal(new TypingOrder().allows(note('5-0', 'u1', '4-0')), true);
});

test('a note whose window opened before the message was read is not shown behind it', () => {
  const order = new TypingOrder();
  assert.equal(order.allows(message('10-0', 'u1')), true);
  assert.equal(order.allows(note('11-0', 'u1', '9-5')), false);
});

test('a note whose window opened when the message had been read is shown', () => {
  const order = new TypingOrder();
  order.allows(message('10-0', 'u1'));
  assert.equal(order.allows(note('11-0', 'u1', '10-0')), true);
  assert.equal(order.allows(note('12-0', 'u1', '10-1')), true);
});

test('places are compared as numbers', () => {
  const order = new TypingOrder();
  order.allows(message('10-9', 'u1'));
  assert.equal(order.allows(note('11-0', 'u1', '9-10')), false);
  assert.equal(order.allows(note('11-0', 'u1', '10-10')), true);
});

test('only the same sender in the same room counts', () => {
  const order = new TypingOrder();
  order.allows(message('10-0', 'u1'));
  order.allows(message('10-1', 'u3', 'r1","u2'));
  assert.equal(order.allows(note('11-0', 'u2', '5-0')), true);
  assert.equal(order.allows(note('11-1', 'u1', '5-0', 'r2')), true);
});

test('the latest message counts', () => {
  const order = new TypingOrder();
  order.allows(message('10-0', 'u1'));
  order.allows(message('20-0', 'u1'));
  assert.equal(order.allows(note('21-0', 'u1', '15-0')), false);
});

const state = (position: Position, statedAt: number, { user = 'u1', room = 'r1' } = {}) =>
  entry(position, { typing: { user, openedAt: '1-0', statedAt }, room });

test('of two states of one sender’s typing the one that was accepted first is not shown behind the other', () => {
  const order = new TypingOrder();
  assert.equal(order.allows(state('20-0', 10.002)), true);
  assert.equal(order.isOver('r1', { user: 'u1', openedAt: '1-0', statedAt: 10.001 }), true);
  assert.equal(order.allows(state('21-0', 10.001)), false);
  assert.equal(order.allows(state('21-1', 10.001, { user: 'u2' })), true);
  assert.equal(order.allows(state('21-2', 10.001, { room: 'r2' })), true);
  assert.equal(order.allows(state('22-0', 10.002)), true, 'in doubt it is shown');
  assert.equal(order.allows(state('23-0', 10.003)), true);
  assert.equal(order.allows(note('24-0', 'u1', '1-0')), true, 'an older release says nothing');
});

test('a state does not outdate others for long: the log’s time may go back', () => {
  const order = new TypingOrder();
  order.allows(state('1000-0', 5_000_000));
  assert.equal(order.allows(state('30999-0', 7)), false);
  assert.equal(order.allows(state('31000-0', 7)), true);
});

test('any other entry is shown', () => {
  assert.equal(new TypingOrder().allows(entry('1-0', {})), true);
});

test('names of any length take as much of its memory as short ones', () => {
  const order = new TypingOrder();
  const long = 'x'.repeat(1_000_000);
  const before = process.memoryUsage().heapUsed;
  for (let i = 0; i < 100; i++) order.allows(message(`${i}-5`, `${long}${i}`));
  assert.equal(order.allows(note('101-0', `${long}99`, '0-0')), false);
  assert.ok(process.memoryUsage().heapUsed - before < 50_000_000);
});

test('its memory is bounded: the senders of the latest messages are remembered', () => {
  const order = new TypingOrder();
  for (let i = 1; i <= 10_001; i++) order.allows(message(`${i}-0`, `u${i}`));
  assert.equal(order.allows(note('20000-0', 'u1', '0-0')), true, 'forgotten: in doubt it is shown');
  assert.equal(order.allows(note('20000-1', 'u2', '0-0')), false);
});
