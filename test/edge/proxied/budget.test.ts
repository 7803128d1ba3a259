// What one client of a proxied hub can cost crossfade: what it says is the bridge's to judge, what is looked for in it is not.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defaultClientLimits } from '../../../src/edge/budget.ts';
import { codecs } from '../../../src/edge/proxied/codec.ts';
import { setUp } from './proxied.ts';

const separator = '\x1e';

function typing(room: string): string {
  return `${JSON.stringify({ type: 1, target: 'SendTyping', arguments: [room, true] })}${separator}`;
}

test('a record of a million brackets passes by unread, whatever it says that it is', (t) => {
  const { proxied, joined, typings } = setUp();
  proxied.provesConnects = true;
  const client = joined('r', { user: 'mallory' });
  client.invoke('JoinRoom', ['pending'], '0');
  const reads = t.mock.method(codecs.json, 'readRecord').mock;
  const brackets = `${'['.repeat(7_000_000)}${']'.repeat(7_000_000)}`;
  for (const target of ['SendTyping', 'JoinRoom']) {
    client.tap.fromClient(Buffer.from(`{"type":1,"target":"${target}","arguments":[${brackets}]}${separator}`));
  }
  client.tap.fromClient(Buffer.from(typing('x'.repeat(1_000_000))));
  assert.equal(reads.callCount(), 0);
  assert.deepEqual(typings, []);
  assert.equal(client.wasCut, false);
});

test('nested small records are read within a budget, then their connection is cut', async () => {
  const { proxied, joined, metric } = setUp();
  proxied.provesConnects = true;
  const client = joined('r');
  const nested = `{"type":1,"target":"SendTyping","arguments":[${'['.repeat(4_000)}${']'.repeat(4_000)}]}${separator}`;
  const before = process.cpuUsage();
  client.tap.fromClient(Buffer.from(nested.repeat(1_800)));
  assert.ok(process.cpuUsage(before).user < 500_000);
  assert.equal(client.wasCut, true);
  const counted = await metric('crossfade_budget_exceeded_total');
  assert.equal(counted.find(({ labels }) => labels.budget === 'client_bytes')!.value, 1);
});

test('a message of more records than any client sends at once cuts its connection', async () => {
  const { proxied, joined, typings, metric } = setUp();
  proxied.provesConnects = true;
  for (const message of [typing('r').repeat(50_000), separator.repeat(4_000_000)]) {
    const client = joined('r');
    client.tap.fromClient(Buffer.from(message));
    assert.equal(client.wasCut, true);
  }
  assert.deepEqual(typings, []);
  const counted = await metric('crossfade_budget_exceeded_total');
  assert.equal(counted.find(({ labels }) => labels.budget === 'client_records')!.value, 2);
  const ended = await metric('crossfade_edge_connections_closed_total');
  assert.deepEqual(ended, [{ labels: { hub: 'chat', reason: 'budget' }, value: 2 }]);
});

test('a handshake that comes byte by byte, without an end, cuts its connection long before it is too long', () => {
  const { open } = setUp();
  const client = open('chat');
  let sent = 0;
  for (; sent < 32_000 && !client.wasCut; sent++) client.tap.fromClient(Buffer.from('{'));
  assert.ok(sent < 7_000, `${sent} were taken`);
});

test('typing faster than anybody types is told of once more, without its room, and not read', () => {
  const { proxied, joined, typings } = setUp();
  proxied.provesConnects = true;
  const client = joined('r', { user: 'mallory' });
  client.tap.fromClient(Buffer.from(Array.from({ length: 4_000 }, (_, i) => typing(`r${i}`)).join('')));
  assert.equal(client.wasCut, false);
  assert.deepEqual([typings[63]!.room, typings[64]!.room, typings.length], ['r63', undefined, 4_000]);
});

test('a room with a name longer than 256 characters: to join it cuts the connection, to type in it tells nobody', () => {
  const { proxied, joined, typings } = setUp();
  proxied.provesConnects = true;
  const client = joined('r');
  client.tap.fromClient(Buffer.from(typing('x'.repeat(257))));
  assert.deepEqual([typings.length, client.wasCut], [0, false]);
  client.tap.fromClient(Buffer.from(typing('é'.repeat(256))));
  assert.equal(typings.length, 1);
  client.invoke('JoinRoom', ['x'.repeat(257)], '1');
  assert.equal(client.wasCut, true);
});

test('a connection in more rooms than any client is cut; one that joins all of its own again is not', () => {
  const { connect, clock, groups } = setUp();
  const client = connect('chat');
  const join = (i: number) => {
    if (i % 500 === 0) clock.advance(1_000);
    client.invoke('JoinRoom', [`r${i}`], `${i}`);
    client.bridgeSends(client.invocation('RoomJoined', [`r${i}`]), client.completion(`${i}`));
  };
  // One is the user's own group.
  for (let i = 1; i < defaultClientLimits.rooms; i++) join(i);
  for (let i = 1; i < defaultClientLimits.rooms; i++) join(i);
  assert.equal(client.wasCut, false);
  assert.equal(groups.members('chat', 'request:r4999')!.size, 1);
  join(0);
  assert.equal(client.wasCut, true);
  assert.equal(groups.members('chat', 'request:r4999'), undefined);
});
