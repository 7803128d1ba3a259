// OpenFences and the queues behind them at proxied connections: what is sent to the bridge, what the client never sees, and in which order
// it gets what had waited.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { allRooms } from '../../../src/room-set.ts';
import { nextTurn, setUp } from './proxied.ts';

for (const protocol of ['json', 'messagepack'] as const) {
  test(`${protocol}: the answer to a fence is cut out of the middle of a message, and nothing else`, async () => {
    const { proxied, joined } = setUp();
    const client = joined('r', { protocol });
    const fenced = proxied.fence('f');
    const [before, behind] = [client.invocation('M', ['before']), client.invocation('M', ['behind'])];
    const passed = client.bridgeSends(before, client.fenceAnswer(), behind);
    assert.deepEqual(passed, Buffer.concat([before, behind]));
    await fenced;
  });

  test(`${protocol}: of a message that was nothing but the answer nothing is left`, async () => {
    const { proxied, joined } = setUp();
    const client = joined('r', { protocol });
    const fenced = proxied.fence('f');
    assert.equal(client.fenceComesBack(), undefined);
    await fenced;
  });

  test(`${protocol}: what waited comes right behind the fence, before what the bridge has put behind that into one message`, async () => {
    const { proxied, joined, deliver } = setUp();
    const client = joined('r', { protocol });
    proxied.queue('h', new Set(['r']));
    const fenced = proxied.fence('h');
    await deliver('r', 'new lane 1');
    await deliver('r', 'new lane 2');
    client.bridgeSends(client.invocation('M', ['old lane 1']));
    const answer = client.fenceAnswer();
    client.bridgeSends(
      client.invocation('M', ['old lane 2']),
      answer,
      client.invocation('M', ['newer, by the bridge']),
    );
    await fenced;
    await deliver('r', 'new lane 3');
    assert.deepEqual(client.got, [
      'bridge old lane 1',
      'bridge old lane 2',
      'log new lane 1',
      'log new lane 2',
      'bridge newer, by the bridge',
      'log new lane 3',
    ]);
  });
}

test('each connection goes on when its own fence is back; the fence as a whole when all are, or are gone', async () => {
  const { proxied, joined, connect, open, deliver, metric } = setUp();
  const [first, second, leaving] = [joined('r'), joined('r'), connect('chat')];
  open('chat');
  proxied.queue('h', allRooms);
  let done = false;
  const fenced = proxied.fence('h').then(() => {
    done = true;
  });
  await deliver('r', 'x');
  first.fenceComesBack();
  await nextTurn();
  assert.deepEqual([first.got, second.got, done], [['log x'], [], false]);
  second.fenceComesBack();
  await nextTurn();
  assert.deepEqual([second.got, done], [['log x'], false]);
  leaving.tap.ended();
  await fenced;
  const outcomes = (await metric('crossfade_fences_total')).map(({ labels, value }) => [labels.outcome, value]);
  assert.deepEqual(outcomes, [
    ['back', 2],
    ['gone', 1],
  ]);
});

test('a fence keeps its rooms alone waiting, and no connection that comes after it', async () => {
  const { proxied, joined, deliver } = setUp();
  const before = joined('r');
  const other = joined('other');
  proxied.queue('h', new Set(['r']));
  const between = joined('r');
  void proxied.fence('h');
  const after = joined('r');
  await deliver('r', 'x');
  await deliver('other', 'y');
  assert.deepEqual([before.got, between.got, after.got, other.got], [[], [], ['log x'], ['log y']]);
  before.fenceComesBack();
  between.fenceComesBack();
  await nextTurn();
  assert.deepEqual([before.got, between.got], [['log x'], ['log x']]);
});

test('overlapping fences: the oldest takes a message, its return hands it to the next one, the order stays', async () => {
  const { proxied, joined, deliver, metric } = setUp();
  const client = joined('r');
  proxied.queue('1', new Set(['r']));
  const first = proxied.fence('1');
  await deliver('r', 'a');
  proxied.queue('2', allRooms);
  const second = proxied.fence('2');
  await deliver('r', 'b');
  client.fenceComesBack();
  await first;
  await deliver('r', 'c');
  assert.deepEqual(client.got, []);
  assert.equal((await metric('crossfade_fence_queue_messages'))[0]!.value, 3);
  client.fenceComesBack();
  await second;
  assert.deepEqual(client.got, ['log a', 'log b', 'log c']);
  assert.equal((await metric('crossfade_fence_queue_messages'))[0]!.value, 0);
});

test('two fences in one message come back in their order', async () => {
  const { proxied, joined, deliver } = setUp();
  const client = joined('r');
  proxied.queue('1', new Set(['r']));
  proxied.queue('2', allRooms);
  const fenced = Promise.all([proxied.fence('1'), proxied.fence('2')]);
  await deliver('r', 'x');
  assert.equal(client.bridgeSends(client.fenceAnswer(), client.fenceAnswer()), undefined);
  await fenced;
  assert.deepEqual(client.got, ['log x']);
});

test('no fence is sent before the bridge’s handshake reply', async () => {
  const { proxied, open } = setUp();
  proxied.provesConnects = true;
  const client = open('chat');
  client.tap.fromClient(Buffer.from('{"protocol":"json","version":1}\x1e'));
  await proxied.fence('f');
  assert.deepEqual(client.fences, []);
  client.passes(Buffer.from('{}\x1e'));
  assert.equal(client.fences.length, 1, 'the proof of the connect');
});

test('while rooms are on the stream lane a fence proves the connect of each new connection that needs it', () => {
  const { proxied, connect, members } = setUp();
  proxied.provesConnects = true;
  assert.deepEqual(connect('remote-access').fences, [], 'no group depends on it');
  const client = connect('chat');
  assert.equal(members('chat', 'user:u1'), 0);
  assert.equal(client.fenceComesBack(), undefined);
  assert.equal(members('chat', 'user:u1'), 1);
});

test('rooms that wait join the groups of an unproven connect ahead, and everything for them waits until the proof', async () => {
  const { proxied, connect, open, fanout, members } = setUp();
  const client = connect('chat');
  const late = open('chat', { user: 'late' });
  const toUser = (user: string, payload: string) =>
    fanout.deliver([
      {
        room: 'elsewhere',
        payload: JSON.stringify(payload),
        deliveries: [{ hub: 'chat', group: `user:${user}`, method: 'M' }],
        eventId: '',
      },
    ]);
  proxied.queue('h', new Set(['r']));
  late.shakeHands();
  assert.deepEqual([members('chat', 'user:u1'), members('chat', 'user:late')], [1, 1]);
  const fenced = proxied.fence('h');
  await toUser('u1', 'a');
  await toUser('late', 'b');
  assert.deepEqual([client.got, late.got], [[], []]);
  client.bridgeSends(client.invocation('M', ['bridge']), client.fenceAnswer());
  late.bridgeSends(late.invocation('M', ['bridge']), late.completion('0'));
  await nextTurn();
  assert.deepEqual(client.got, ['bridge bridge', 'log a']);
  assert.deepEqual(late.got, ['bridge bridge', 'bridge type 3', 'log b']);
  late.fenceComesBack();
  await fenced;
});

test('who leaves while messages wait for it gets none of them, even after coming back', async () => {
  const { proxied, joined, deliver } = setUp();
  const [stays, leaves, returns] = [joined('r'), joined('r'), joined('r')];
  proxied.queue('h', allRooms);
  const fenced = proxied.fence('h');
  await deliver('r', 'x');
  for (const client of [leaves, returns]) {
    client.invoke('LeaveRoom', ['r'], '1');
    client.bridgeSends(client.invocation('RoomLeft', ['r']));
  }
  returns.invoke('JoinRoom', ['r'], '2');
  returns.bridgeSends(returns.invocation('RoomJoined', ['r']));
  await deliver('r', 'y');
  for (const client of [stays, leaves, returns]) client.fenceComesBack();
  await fenced;
  assert.deepEqual(stays.got, ['log x', 'log y']);
  assert.deepEqual(leaves.got, ['bridge r']);
  assert.deepEqual(returns.got, ['bridge r', 'bridge r', 'log y']);
});

test('what waits is shown before the end of its connection, when nothing older can come any more', async () => {
  const { proxied, joined, deliver, metric } = setUp();
  const client = joined('r');
  proxied.queue('h', allRooms);
  const fenced = proxied.fence('h');
  await deliver('r', 'x');
  client.tap.ended();
  await fenced;
  assert.deepEqual(client.got, ['log x']);
  assert.equal((await metric('crossfade_fence_queue_messages'))[0]!.value, 0);
});

test('what is being written or waits for a fence is undelivered, by room, until it has gone on at every connection', async () => {
  const { proxied, joined, deliver, clock } = setUp();
  const clients = [joined('r'), joined('r')];
  const undelivered = () => proxied.undelivered.of(new Set(['r'])).map(({ eventId }) => eventId);
  proxied.queue('h', allRooms);
  const fenced = proxied.fence('h');
  await deliver('r', 'x', { eventId: 'e' });
  await deliver('other', 'x', { eventId: 'f' });
  assert.deepEqual(undelivered(), ['e']);
  let isShown = false;
  const shown = proxied.untilDelivered(new Set(['r']), 1_000).then(() => {
    isShown = true;
  });
  clients[0]!.fenceComesBack();
  await nextTurn();
  assert.deepEqual([undelivered(), isShown], [['e'], false]);
  clients[1]!.tap.ended();
  await fenced;
  await shown;
  assert.deepEqual(undelivered(), []);

  proxied.queue('i', allRooms);
  await deliver('r', 'y', { eventId: 'g' });
  const bounded = proxied.untilDelivered(allRooms, 1_000);
  clock.advance(1_000);
  await bounded;
  assert.deepEqual(undelivered(), ['g']);
  clients[0]!.readsBridge = false;
  assert.deepEqual(undelivered(), ['g'], 'its fence is not sent');
  void proxied.fence('i');
  assert.deepEqual(undelivered(), [], 'its answer comes before whatever the bridge adds, and neither is read');
});

test('what waits for a connect that was never proven is dropped: the bridge may have refused it', async () => {
  const { proxied, connect, fanout, members } = setUp();
  const client = connect('chat');
  proxied.queue('h', allRooms);
  assert.equal(members('chat', 'user:u1'), 1);
  const deliveries = [{ hub: 'chat', group: 'user:u1', method: 'M' }];
  void fanout.deliver([{ room: 'u1', payload: '"x"', deliveries, eventId: '' }]);
  client.tap.ended();
  assert.deepEqual(client.got, []);
});

test('a completion of the client’s own is none of ours', async () => {
  const { proxied, joined } = setUp();
  const client = joined('r');
  void proxied.fence('f');
  const fence = client.fences[0]!;
  assert.match(fence, /^[\w-]{16}-\d+$/);
  const message = client.completion(`x${fence}`);
  assert.equal(client.bridgeSends(message), message);
});

test('a connection whose bridge answers none of its fences is cut before they pile up; all of them end with it', async () => {
  const { proxied, joined } = setUp();
  const silent = joined('r');
  const fences = Array.from({ length: 1_007 }, (_, i) => proxied.fence(`f${i}`));
  assert.equal(silent.wasCut, false);
  await Promise.all([...fences, proxied.fence('one more')]);
  assert.equal(silent.wasCut, true);
});

test('a fence that is asked for between two halves of a client’s record goes to the bridge behind the second one', async () => {
  for (const protocol of ['json', 'messagepack'] as const) {
    const { proxied, joined } = setUp();
    const client = joined('r', { protocol });
    for (const size of [10, 20_000]) {
      const record = client.invocation('Other', ['x'.repeat(size)]);
      client.tap.fromClient(record.subarray(0, 5));
      client.tap.fromClient(record.subarray(5, -1));
      const fenced = proxied.fence(`f${size}`);
      assert.equal(client.fences.length, 0);
      client.tap.fromClient(record.subarray(-1));
      assert.equal(client.fences.length, 0, 'the transport hands it on first');
      await nextTurn();
      assert.equal(client.fences.length, 1);
      client.fenceComesBack();
      await fenced;
    }
  }
});

test('a fence does not wait for a record that never ends', async () => {
  const { proxied, joined, clock } = setUp();
  const client = joined('r');
  client.tap.fromClient(Buffer.from('\n'));
  const fenced = proxied.fence('f');
  for (let second = 0; second < 3 && client.fences.length === 0; second++) {
    proxied.sweep(clock.monotonic());
    clock.advance(1_000);
  }
  client.fenceComesBack();
  await fenced;
});

test('hundreds of fences that are asked for at once are a few invocations, and each is answered by one that was sent behind its asking', async () => {
  const { proxied, joined } = setUp();
  const client = joined('r');
  let ended = 0;
  const fences = Array.from({ length: 300 }, (_, i) => proxied.fence(`f${i}`).then(() => ended++));
  assert.equal(client.fences.length, 8);
  client.fenceComesBack();
  await nextTurn();
  assert.deepEqual([ended, client.fences.length], [1, 8], 'and one for all that wait');
  for (let i = 0; i < 8; i++) client.fenceComesBack();
  await Promise.all(fences);
  assert.equal(client.fences.length, 0);
});

test('what the bridge shows is not shown by the log as well, wherever its copy waits, and what was gathered with it is', async () => {
  for (const protocol of ['json', 'messagepack'] as const) {
    const { proxied, joined, fanout } = setUp();
    const client = joined('r', { protocol });
    proxied.queue('older', allRooms);
    proxied.queue('uncertain', new Set(['r']));
    const deliveries = [{ hub: 'chat', group: 'request:r', method: 'M' }];
    const message = (payload: string, eventId: string) => ({
      room: 'r',
      payload: JSON.stringify(payload),
      deliveries,
      eventId,
    });
    await fanout.deliver([message('by the bridge', 'e'), message('next', 'f')]);
    proxied.withhold('e');
    for (const id of ['older', 'uncertain']) {
      const fence = proxied.fence(id);
      client.fenceComesBack();
      await fence;
    }
    assert.deepEqual(client.got, ['log next']);
  }
});
