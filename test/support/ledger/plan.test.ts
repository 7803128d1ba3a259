// What the ledger's plan promises: as many calls as were asked for, many of them identical, typists that end.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { planCalls } from './plan.ts';

const rooms = {
  requests: Array.from({ length: 50 }, (_, i) => `room-${i}`),
  users: Array.from({ length: 10 }, (_, i) => `person-${i}`),
};
const plan = planCalls(rooms, 20_000);
const calls = [...plan.values()].flat();

test('the plan has as many calls as were asked for, each with an id of its own, the same every time', () => {
  assert.equal(calls.length, 20_000);
  assert.equal(new Set(calls.map(({ eventId }) => eventId)).size, 20_000);
  assert.deepEqual(planCalls(rooms, 20_000), plan);
});

test('in every room about half of what is shown is identical but for the event id, and the rest is unique', () => {
  for (const [room, planned] of plan) {
    const labels = planned.flatMap(({ shows }) => shows.slice(0, 1).map(({ label }) => label));
    const same = labels.filter((label) => label.endsWith(' same'));
    const share = same.length / labels.length;
    assert.ok(share > 0.35 && share < 0.7, `${room}: ${share}`);
    const unique = labels.filter((label) => !label.endsWith(' same'));
    assert.equal(new Set(unique).size, unique.length);
    const bodies = planned.filter(({ shows }) => shows[0]?.label === 'ReceiveMessage same' && shows.length === 1);
    const perPath = Map.groupBy(bodies, ({ path }) => path);
    for (const [, of] of perPath) {
      assert.equal(new Set(of.map(({ body }) => JSON.stringify({ ...body, event_id: '' }))).size, 1);
    }
  }
});

test('a typist whose message was sent never types again, and some never send one', () => {
  let endedCount = 0;
  let openCount = 0;
  for (const planned of plan.values()) {
    const ended = new Set<string>();
    for (const { typing, endsTypingOf } of planned) {
      assert.ok(typing === undefined || !ended.has(typing.user));
      if (endsTypingOf !== undefined) ended.add(endsTypingOf);
    }
    const typists = new Set(planned.flatMap(({ typing }) => typing?.user ?? []));
    endedCount += ended.size;
    openCount += typists.size - ended.size;
  }
  assert.ok(endedCount > 100 && openCount > 100, `${endedCount} ended, ${openCount} did not`);
});

test('every kind of call that has a room is there', () => {
  assert.deepEqual([...new Set(calls.map(({ path }) => path))].sort(), [
    'chat/message',
    'chat/read-status',
    'chat/typing',
    'notification/send',
    'notification/subscription-added',
    'remote-access/auto-start',
    'ticket/system-message',
    'ticket/task-status',
    'ticket/update',
  ]);
});
