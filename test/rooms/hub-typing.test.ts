// Who has typed through a hub lately, with time in the test's hand.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HubTypings } from '../../src/rooms/hub-typing.ts';
import { TestClock } from '../support/clock.ts';

test('typing is told once in a while, and known for longer than that', () => {
  const clock = new TestClock();
  const typings = new HubTypings(clock);
  assert.deepEqual(
    [typings.typed('r', 'ada'), typings.typed('r', 'ada'), typings.typed('r', 'ben')],
    ['room', 'nothing', 'room'],
  );
  typings.note('ada', 'r');
  clock.advance(4_000);
  assert.equal(typings.typed('r', 'ada'), 'room', 'told again before it is forgotten');
  assert.equal(typings.mayBeOnItsWay('r', 'ada'), true);
  typings.note('ada', 'r');
  clock.advance(9_999);
  assert.equal(typings.mayBeOnItsWay('r', 'ada'), true, 'each note counts from its own time');
  clock.advance(1);
  assert.equal(typings.mayBeOnItsWay('r', 'ada'), false);
  assert.equal(typings.mayBeOnItsWay('other', 'ada'), false);
});

test('who types in many rooms at once is told of once for all of them, and fenced in each', () => {
  const clock = new TestClock();
  const typings = new HubTypings(clock);
  const tellings = (from: number) => Array.from({ length: 3_000 }, (_, i) => typings.typed(`r${from + i}`, 'mallory'));
  const told = tellings(0).filter((telling) => telling !== 'nothing');
  assert.deepEqual(told, [...Array(8).fill('room'), 'user']);
  typings.note('mallory');
  assert.equal(typings.mayBeOnItsWay('whatever', 'mallory'), true);
  assert.equal(typings.mayBeOnItsWay('whatever', 'ada'), false);
  assert.equal(typings.typed('r', 'ada'), 'room', 'others are told of as ever');
  clock.advance(4_000);
  assert.equal(tellings(3_000).filter((telling) => telling !== 'nothing').length, 5);
});

test('all users together are told of within a rate; beyond it this replica alone fences', () => {
  const clock = new TestClock();
  const typings = new HubTypings(clock);
  const tellings = Array.from({ length: 600 }, (_, i) => typings.typed('r', `u${i}`));
  assert.deepEqual([tellings.indexOf('unheard'), tellings.lastIndexOf('room')], [500, 499]);
  assert.equal(typings.mayBeOnItsWay('r', 'u599'), true);
  clock.advance(1_000);
  assert.equal(typings.typed('r', 'u600'), 'room');
});
