// Negotiation and its tokens, with time in the test's hand.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Negotiated, Negotiations } from '../../../src/edge/native/negotiate.ts';
import { TestClock } from '../../support/clock.ts';

const asked = (version: string) => new URLSearchParams(`NegotiateVersion=${version}`);

test('version 1 gives an id and another token, version 0 one id for both, higher ones are version 1', () => {
  const negotiations = new Negotiations(new TestClock(), 15_000, () => '');
  const one = negotiations.negotiate(asked('7'), 'u1', {}) as Record<string, string>;
  assert.equal(one.negotiateVersion, 1);
  assert.match(one.connectionId!, /^[\w-]{22}$/);
  assert.match(one.connectionToken!, /^[\w-]{22}$/);
  assert.notEqual(one.connectionId, one.connectionToken);
  const { connectionId, token } = negotiations.take(one.connectionToken) as Negotiated;
  assert.deepEqual([connectionId, token], [one.connectionId, one.connectionToken]);
  const none = negotiations.negotiate(new URLSearchParams(), 'u1', {}) as Record<string, string>;
  assert.equal(none.connectionToken, undefined);
  assert.ok(negotiations.knows(none.connectionId!));
});

test('a token is good for one connection, for 15 s, and for nothing once that has ended', () => {
  const clock = new TestClock();
  const negotiations = new Negotiations(clock, 15_000, () => '');
  const token = () => (negotiations.negotiate(asked('1'), 'u1', {}) as Record<string, string>).connectionToken!;
  const used = token();
  const unused = token();
  assert.equal(typeof negotiations.take(used), 'object');
  assert.equal(negotiations.take(used), 'taken');
  clock.advance(14_999);
  assert.ok(negotiations.knows(unused));
  clock.advance(1);
  assert.equal(negotiations.take(unused), 'unknown');
  assert.equal(negotiations.take(used), 'taken', 'a live one does not expire');
  negotiations.release(used);
  assert.equal(negotiations.take(used), 'unknown');
});

test('without negotiation each connection gets an id of its own', () => {
  const negotiations = new Negotiations(new TestClock(), 15_000, () => '');
  assert.notDeepEqual(negotiations.take(undefined), negotiations.take(undefined));
});
