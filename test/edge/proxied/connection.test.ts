// The life of a proxied connection: its handshake, what is injected and when, and a client that reads too slowly.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { codecs } from '../../../src/edge/proxied/codec.ts';
import { allRooms } from '../../../src/room-set.ts';
import { type FakeConnection, record, setUp } from './proxied.ts';

test('a connection counts from its handshake to its end', async () => {
  const { proxied, counters, open, metric } = setUp();
  const client = open('chat');
  assert.equal(proxied.count, 0);
  client.shakeHands();
  assert.equal(proxied.count, 1);
  assert.equal(counters.get('proxied'), 1);
  assert.deepEqual(await metric('crossfade_edge_connections'), [{ labels: { hub: 'chat' }, value: 1 }]);
  client.tap.ended();
  client.tap.ended();
  assert.equal(proxied.count, 0);
  assert.equal(counters.get('proxied'), 0);
  assert.deepEqual(await metric('crossfade_edge_connections'), [{ labels: { hub: 'chat' }, value: 0 }]);
});

test('after a refused handshake nothing is tapped, injected or fenced', async () => {
  const { proxied, open, members } = setUp();
  const client = open('chat', { protocol: 'messagepack' });
  client.tap.fromClient(Buffer.from('{"protocol":"messagepack","version":1}\x1e'));
  const refusal = record({ error: "The protocol 'messagepack' is not supported." });
  assert.equal(client.passes(refusal), refusal);
  client.invoke('JoinRoom', ['r'], '0');
  const confirmation = client.invocation('RoomJoined', ['r']);
  assert.equal(client.passes(confirmation), confirmation);
  assert.equal(members('chat', 'request:r'), 0);
  assert.equal(proxied.count, 0);
  await proxied.fence('f');
  assert.deepEqual(client.fences, []);
});

test('a protocol that is not known here passes, and is not counted as one that gets every message', () => {
  const { proxied, open } = setUp();
  const client = open('chat');
  client.tap.fromClient(Buffer.from('{"protocol":"blazorpack","version":1}\x1e'));
  const reply = Buffer.from('{}\x1e');
  assert.equal(client.passes(reply), reply);
  assert.equal(proxied.count, 0);
});

test('the handshake may come in pieces, in any case, with more behind it, and so may the reply', () => {
  const { proxied, open, members } = setUp();
  const client = open('notification');
  client.tap.fromClient(Buffer.from('{"version":2,"proto'));
  client.tap.fromClient(Buffer.from('col":"JSON"}\x1e{"type":6}\x1e'));
  const reply = Buffer.concat([Buffer.from('{}\x1e'), client.invocation('Connected', [{ userId: 'u1' }])]);
  assert.equal(client.passes(reply), reply);
  assert.equal(proxied.count, 1);
  assert.equal(members('notification', 'notifications:u1'), 1);
});

test('what is no whole record passes as it is', () => {
  const { proxied, connect } = setUp();
  const client = connect('chat');
  void proxied.fence('f');
  const broken = Buffer.from(`{"type":3,"invocationId":"${client.fences[0]}"`);
  assert.equal(client.passes(broken), broken);
  const binary = connect('chat', { protocol: 'messagepack' });
  binary.invoke('JoinRoom', ['r'], '0');
  for (const bytes of [Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff]), Buffer.from([5, 0x91])]) {
    assert.equal(binary.passes(bytes), bytes);
  }
});

test('a message is parsed only while something is wanted of it', (t) => {
  const { proxied, joined } = setUp();
  const client = joined('r');
  const reads = t.mock.method(codecs.json, 'readRecord').mock;
  const message = client.invocation('RoomJoined', ['r']);
  client.bridgeSends(message);
  client.bridgeSends(client.completion('0'));
  client.tap.fromClient(record({ type: 6 }));
  client.invoke('SendTyping', ['r', true], '0');
  // The test itself has read what was passed on.
  assert.equal(reads.callCount(), 2);
  client.invoke('LeaveRoom', ['r'], '1');
  void proxied.fence('f');
  client.passes(client.invocation('ReceiveMessage', ['x']));
  assert.equal(reads.callCount(), 4, 'the invocation, and the fence in the test’s own hands');
  client.passes(client.invocation('TypingIndicator', ['RoomLef']));
  assert.equal(reads.callCount(), 4, 'this confirms nothing');
  client.passes(client.completion('1'));
  client.passes(client.fenceAnswer());
  assert.equal(reads.callCount(), 6);
  client.passes(client.invocation('RoomLeft', ['r']));
  assert.equal(reads.callCount(), 6);
});

test('a connection that began elsewhere passes; while the stream lane is used it is ended, so that it begins here', () => {
  const { proxied, open, connect } = setUp();
  const middles = [
    (client: FakeConnection) => client.invocation('ReceiveMessage', ['x']),
    // Its handshake went another way.
    () => Buffer.from('{}\x1e'),
  ];
  for (const protocol of ['json', 'messagepack'] as const) {
    for (const middle of middles) {
      for (const used of [false, true]) {
        proxied.provesConnects = used;
        const client = open('chat', { protocol });
        const message = middle(client);
        assert.equal(client.passes(message), message);
        assert.equal(client.wasCut, used);
      }
    }
  }
  assert.equal(proxied.count, 0, 'none of them gets every message');
  const refused = open('chat');
  refused.passes(Buffer.from('{"error":"Handshake was canceled."}\x1e'));
  assert.equal(refused.wasCut, false);
  assert.equal(connect('chat').wasCut, false);
});

test('messages of the log reach the members of their group, in the form of each one’s protocol', async () => {
  const { joined, connect, deliver } = setUp();
  const members = [joined('r'), joined('r', { protocol: 'messagepack' })];
  const other = connect('chat');
  await deliver('r', { n: 1 });
  for (const client of members) assert.deepEqual(client.got, ['log {"n":1}']);
  assert.deepEqual(other.got, []);
});

test('a client is cut when more waits for it than the bound, counting what waits for a fence', async () => {
  const { proxied, joined, deliver, metric } = setUp({ maxBufferedBytes: 1_000 });
  const slow = joined('r');
  const fenced = joined('fenced');
  slow.backlogBytes = 1_000;
  await deliver('r', 'x');
  assert.deepEqual(slow.got, ['log x'], 'at the bound it is still served');
  slow.backlogBytes = 1_001;
  await deliver('r', 'y');
  assert.equal(slow.wasCut, true);
  assert.deepEqual(slow.got, ['log x']);

  proxied.queue('h', allRooms);
  fenced.backlogBytes = 500;
  await deliver('fenced', 'x'.repeat(600));
  assert.equal(fenced.wasCut, false, 'one large message passes');
  await deliver('fenced', 'y');
  assert.equal(fenced.wasCut, true);
  assert.equal(proxied.count, 0);
  assert.equal((await metric('crossfade_fence_queue_messages'))[0]!.value, 0);
  assert.equal((await metric('crossfade_edge_slow_clients_total'))[0]!.value, 2);
  assert.deepEqual(await metric('crossfade_edge_connections_closed_total'), [
    { labels: { hub: 'chat', reason: 'slow' }, value: 2 },
  ]);
});

test('a client is cut when it is behind for 30 s, by its socket or by its fence', async () => {
  const { proxied, joined, deliver, clock } = setUp();
  const [backlogged, fenced, good] = [joined('r'), joined('r'), joined('other')];
  const sweepAfter = (ms: number) => {
    clock.advance(ms);
    proxied.sweep(clock.monotonic());
  };
  proxied.queue('h', new Set(['r']));
  await deliver('r', 'x');
  backlogged.backlogBytes = 1;
  good.backlogBytes = 1;
  sweepAfter(29_000);
  good.backlogBytes = 0;
  sweepAfter(1_000);
  good.backlogBytes = 1;
  assert.deepEqual([backlogged.wasCut, fenced.wasCut, good.wasCut], [false, false, false]);
  sweepAfter(1_000);
  assert.deepEqual([backlogged.wasCut, fenced.wasCut, good.wasCut], [true, true, false]);
});

test('a client that asks for all that waits, again and again, is not behind, however much waits whenever it is looked at', async () => {
  const { proxied, joined, deliver, clock } = setUp();
  const [polls, fenced] = [joined('r'), joined('s')];
  proxied.queue('h', new Set(['s']));
  for (const room of ['r', 's']) await deliver(room, 'x');
  for (let s = 0; s < 60; s++) {
    for (const client of [polls, fenced]) {
      client.backlogBytes = 1;
      clock.advance(500);
      proxied.sweep(clock.monotonic());
      client.tap.caughtUp();
    }
    await deliver('r', 'x');
  }
  assert.deepEqual([polls.wasCut, fenced.wasCut], [false, true]);
});

test('a client that takes its time with the bridge’s own messages is the bridge’s to judge', async () => {
  const { proxied, joined, deliver, clock } = setUp();
  const client = joined('r');
  const sweepAfter = (ms: number) => {
    clock.advance(ms);
    proxied.sweep(clock.monotonic());
  };
  await deliver('r', 'x');
  sweepAfter(1_000);
  client.backlogBytes = 100_000;
  for (let s = 0; s < 100; s++) sweepAfter(1_000);
  assert.equal(client.wasCut, false);
  await deliver('r', 'y');
  sweepAfter(30_000);
  assert.equal(client.wasCut, false);
  sweepAfter(1_000);
  assert.equal(client.wasCut, true, 'what the log has for it waits for 30 s');
});
