// What the load generator counts: messages that were lost, doubled or out of order, and latencies from the time they were due.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DeliveryLedger, type Progress } from '../../src/bench/ledger.ts';

function setUp({ total = 4, members = [2] }: { total?: number; members?: number[] } = {}) {
  const ledger = new DeliveryLedger({ total, members, startedAt: 0, durationMs: 1_000 });
  const member = (room = 0): Progress => ({ room, last: -1, missing: new Set() });
  return { ledger, member };
}

describe('the ledger of the load generator', () => {
  test('a message that one of two members was never shown is one lost', () => {
    const { ledger, member } = setUp();
    ledger.sent(0, 10, 10);
    ledger.accepted(0, 12);
    ledger.show(member(), 0, 13);
    assert.deepEqual(ledger.deliveries, { owed: 2, delivered: 1, lost: 1, doubled: 0, outOfOrder: 0 });
  });

  test('a message that was not accepted is owed to nobody', () => {
    const { ledger } = setUp();
    ledger.sent(0, 10, 10);
    assert.equal(ledger.deliveries.owed, 0);
    assert.equal(ledger.isComplete, true);
  });

  test('a message that came before its answer counts as delivered once it is accepted', () => {
    const { ledger, member } = setUp({ members: [1] });
    ledger.sent(0, 10, 10);
    ledger.show(member(), 0, 11);
    ledger.accepted(0, 12);
    assert.deepEqual(ledger.deliveries, { owed: 1, delivered: 1, lost: 0, doubled: 0, outOfOrder: 0 });
  });

  test('a message that was shown before anybody told that it was sent has its latency all the same', () => {
    const { ledger, member } = setUp({ members: [2] });
    ledger.show(member(), 0, 11);
    ledger.show(member(), 0, 14);
    ledger.sent(0, 10, 10);
    ledger.accepted(0, 12);
    assert.equal(ledger.deliveries.delivered, 2);
    assert.deepEqual([ledger.endToEnd.count, Math.round(ledger.endToEnd.percentiles()!.max)], [2, 4]);
  });

  test('a message that a member is shown twice is one doubled, also if it came late the first time', () => {
    const { ledger, member } = setUp({ members: [1] });
    const reader = member();
    for (const index of [0, 1]) ledger.sent(index, index, index);
    for (const index of [0, 1]) ledger.accepted(index, 5);
    for (const index of [1, 0, 0, 1]) ledger.show(reader, index, 6);
    const { delivered, doubled } = ledger.deliveries;
    assert.deepEqual({ delivered, doubled }, { delivered: 2, doubled: 2 });
  });

  test('who overtakes a message that had its answer before is out of order, who was sent meanwhile is not', () => {
    const { ledger, member } = setUp({ members: [1] });
    const reader = member();
    ledger.sent(0, 0, 0);
    ledger.accepted(0, 1);
    ledger.sent(1, 2, 2);
    ledger.sent(2, 2, 2);
    for (const index of [1, 2]) ledger.accepted(index, 4);
    for (const index of [2, 0, 1]) ledger.show(reader, index, 5);
    assert.equal(ledger.deliveries.outOfOrder, 1);
  });

  test('rooms are numbered in turn, and a message of another room is no gap', () => {
    const { ledger, member } = setUp({ members: [1, 1] });
    const [first, second] = [member(0), member(1)];
    for (const index of [0, 1, 2, 3]) {
      ledger.sent(index, 0, 0);
      ledger.show(index % 2 === 0 ? first : second, index, 1);
      ledger.accepted(index, 2);
    }
    assert.equal(first.missing.size + second.missing.size, 0);
    assert.equal(ledger.isComplete, true);
  });

  test('latencies count from the time a message was due, not from when it was sent', () => {
    const { ledger, member } = setUp({ members: [1] });
    ledger.sent(0, 100, 400);
    ledger.accepted(0, 450);
    ledger.show(member(), 0, 500);
    assert.equal(Math.round(ledger.publish.at(50)), 350);
    assert.equal(Math.round(ledger.endToEnd.at(50)), 400);
  });
});
