// Which room a group belongs to, as the built-in contract names both.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { loadContract } from '../../src/contract/load.ts';

const source = readFileSync(new URL('../../src/contract/support-center.yaml', import.meta.url), 'utf8');

test('a group’s room is the one whose events go to it', () => {
  const { roomOf, calls } = loadContract(source, 'support-center.yaml');
  const found = [
    ['chat', 'request:r1'],
    ['chat', 'user:u1'],
    ['ticket', 'ticket:r1'],
    ['ticket', 'user-tickets:u1'],
    ['notification', 'request-notifications:r1'],
    ['notification', 'notifications:u1'],
    ['remote-access', 'remote-access:s1'],
    ['chat', 'request:with:colons and {braces}'],
  ].map(([hub, group]) => roomOf(hub!, group!));
  assert.deepEqual(found, ['r1', 'u1', 'r1', 'u1', 'r1', 'u1', 's1', 'with:colons and {braces}']);
  for (const [hub, group] of [
    ['chat', 'nobody:r1'],
    ['nowhere', 'request:r1'],
    ['chat', 'request'],
  ])
    assert.equal(roomOf(hub!, group!), undefined);

  const message = { id: 'm', requestId: 'r7', content: 'x', createdAt: '2026-01-16T10:30:00Z' };
  const call = calls.find(({ path }) => path === 'chat/message')!;
  const event = call.toEvent(call.read(JSON.stringify({ event_id: 'e', request_id: 'r7', message })));
  for (const { hub, group } of event.deliveries) assert.equal(roomOf(hub, group), event.room);
});

test('a group that is named by another value than its room is no room’s', () => {
  const { roomOf } = loadContract(
    `contract: c
streams: { s: 10 }
calls:
  x: { body: { event_id: string, a: string, b: string }, event: e, stream: s, room: "{a}", argument: "{b}", deliver: [{ hub: h, group: "g:{b}", method: M }] }
  y: { body: { event_id: string, a: string }, event: e, stream: s, room: "room-{a}", argument: "{a}", deliver: [{ hub: h, group: "of {a}!", method: M }] }
hubs: { h: { connect: [], methods: {} } }
`,
    'test.yaml',
  );
  assert.deepEqual([roomOf('h', 'g:1'), roomOf('h', 'of 7!')], [undefined, 'room-7']);
});
