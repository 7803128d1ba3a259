// Events that come by both lanes: which copy is shown, which one is withheld, and when both are.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Delivery } from '../../../src/contract/event.ts';
import type { FakeConnection } from './proxied.ts';
import { setUp } from './proxied.ts';

const argument = { requestId: 'r', text: 'hi' };

function setUpTwins() {
  const parts = setUp();
  const deliveries: Delivery[] = [{ hub: 'chat', group: 'request:r', method: 'M' }];
  const expect = (eventId = 'e', payload: unknown = argument) =>
    parts.proxied.expectTwin({ eventId, room: 'r', payload: JSON.stringify(payload), deliveries });
  const log = (payload: unknown = argument, eventId = 'e') => parts.deliver('r', payload, { eventId });
  const bridge = (client: FakeConnection, payload: unknown = argument, method = 'M') =>
    client.bridgeSends(client.invocation(method, [payload]));
  return { ...parts, fromLog: parts.log, expect, log, bridge };
}

/** How often a client was shown this argument, by lane. */
function shown({ got }: FakeConnection, payload: unknown = argument): string[] {
  const text = typeof payload === 'string' ? payload : JSON.stringify(payload);
  return got.filter((line) => line.endsWith(` ${text}`)).map((line) => line.split(' ')[0]!);
}

for (const protocol of ['json', 'messagepack'] as const) {
  test(`${protocol}: the log's copy first: the bridge's is cut out, once, and nothing else of its message`, async () => {
    const { joined, expect, log, bridge, metric } = setUpTwins();
    const client = joined('r', { protocol });
    expect();
    await log();
    const [before, behind] = [client.invocation('Other', ['before']), client.invocation('Other', ['behind'])];
    const passed = client.bridgeSends(before, client.invocation('M', [argument]), behind);
    assert.deepEqual(passed, Buffer.concat([before, behind]));
    assert.deepEqual(await metric('crossfade_twins_withheld_total'), [{ labels: { lane: 'bridge' }, value: 1 }]);
    assert.notEqual(bridge(client), undefined, 'the next one is another event');
  });

  test(`${protocol}: the bridge's copy first: the log's is withheld, and not what was gathered with it`, async () => {
    const { joined, expect, fanout, bridge, metric } = setUpTwins();
    const client = joined('r', { protocol });
    expect();
    bridge(client);
    const deliveries = [{ hub: 'chat', group: 'request:r', method: 'M' }];
    const message = (payload: unknown, eventId: string) => ({
      room: 'r',
      payload: JSON.stringify(payload),
      deliveries,
      eventId,
    });
    await fanout.deliver([message(argument, 'e'), message('next', 'f')]);
    assert.deepEqual(client.got, [`bridge ${JSON.stringify(argument)}`, 'log next']);
    assert.deepEqual(await metric('crossfade_twins_withheld_total'), [{ labels: { lane: 'stream' }, value: 1 }]);
  });
}

test('the order and the whitespace of a copy’s members do not matter, their values do', async () => {
  const { joined, expect, log, bridge } = setUpTwins();
  const client = joined('r');
  expect();
  await log();
  assert.notEqual(bridge(client, { text: 'ho', requestId: 'q' }), undefined);
  assert.equal(
    client.bridgeSends(
      Buffer.from('{ "type": 1, "target": "M", "arguments": [ { "text" : "h\\u0069", "requestId": "r" } ] }\x1e'),
    ),
    undefined,
  );
});

test('each connection is shown one copy, whichever reached it first', async () => {
  const { joined, expect, log, bridge } = setUpTwins();
  const [bridgeFirst, logFirst, bridgeOnly] = [joined('r'), joined('r'), joined('other')];
  expect();
  bridge(bridgeFirst);
  await log();
  bridge(logFirst);
  bridge(bridgeOnly);
  assert.deepEqual(shown(bridgeFirst), ['bridge']);
  assert.deepEqual(shown(logFirst), ['log']);
  assert.deepEqual(shown(bridgeOnly), ['bridge']);
});

test('the bridge’s copy is never cancelled across another event of the same room and method, from either lane', async () => {
  const { joined, expect, log, bridge } = setUpTwins();
  const client = joined('r');
  const between = { requestId: 'r', text: 'between' };
  expect('e');
  await log(argument, 'e');
  bridge(client, between);
  bridge(client);
  assert.deepEqual(shown(client), ['log', 'bridge']);

  expect('f', 'r said f');
  await log('r said f', 'f');
  await log(between, 'g');
  bridge(client, 'r said f');
  assert.equal(shown(client, 'r said f').length, 2);
});

test('the log’s copy has its event’s id: it is withheld whatever came in between, and identical events are not', async () => {
  const { joined, expect, log, bridge } = setUpTwins();
  const client = joined('r');
  expect('e');
  bridge(client);
  bridge(client, { requestId: 'r', text: 'between' });
  bridge(client);
  await log({ requestId: 'r', text: 'of the log' }, 'f');
  await log(argument, 'e');
  await log(argument, 'identical');
  assert.deepEqual(shown(client), ['bridge', 'bridge', 'log']);
});

test('another room, another method and another twin’s withheld copy are no event in between', async () => {
  const { joined, expect, log, bridge, deliver } = setUpTwins();
  const client = joined('r');
  client.invoke('JoinRoom', ['q'], '1');
  client.bridgeSends(client.invocation('RoomJoined', ['q']));
  const second = { requestId: 'r', text: 'second' };
  expect('e');
  expect('f', second);
  await log(second, 'f');
  await log(argument, 'e');
  await deliver('q', { requestId: 'q', text: 'x' });
  bridge(client, { requestId: 'q', text: 'x' });
  bridge(client, { requestId: 'r', text: 'x' }, 'Other');
  await deliver('r', 'x', { method: 'Other' });
  assert.equal(bridge(client, argument), undefined, 'the last one shown: nothing stands between its copies');
  assert.notEqual(bridge(client, second), undefined, 'e stands between the copies of f');
});

test('what another room’s twin says alike is no copy of it', async () => {
  const { proxied, connect, fanout } = setUp();
  const clients = ['ada', 'bob'].map((user) => connect('chat', { user }));
  for (const client of clients) client.bridgeSends(client.completion('0'));
  const twins = ['ada', 'bob'].map((user) => {
    const deliveries: Delivery[] = [{ hub: 'chat', group: `user:${user}`, method: 'M' }];
    return { eventId: user, room: user, payload: '"hi"', deliveries };
  });
  for (const twin of twins) proxied.expectTwin(twin);
  for (const client of clients) client.bridgeSends(client.invocation('M', ['hi']));
  await fanout.deliver(twins);
  for (const client of clients) assert.deepEqual(shown(client, 'hi'), ['bridge']);
});

test('identical events do not stand between each other’s copies', async () => {
  const { joined, expect, log, bridge } = setUpTwins();
  const client = joined('r');
  for (const eventId of ['e', 'f']) {
    expect(eventId);
    await log(argument, eventId);
  }
  await log(argument, 'no twin');
  assert.deepEqual([bridge(client), bridge(client)], [undefined, undefined]);
  assert.notEqual(bridge(client), undefined);
});

test('an event that is delivered twice to a connection cancels twice', async () => {
  const { connect, proxied, members, fanout } = setUpTwins();
  const client = connect('ticket');
  client.invoke('SubscribeToUserTickets', [], '0');
  client.bridgeSends(client.invocation('UserTicketsSubscribed', []), client.completion('0'));
  assert.equal(members('ticket', 'user-tickets:u1'), 1);
  const delivery = { hub: 'ticket', group: 'user-tickets:u1', method: 'NewTicket' };
  const twin = { eventId: 'e', room: 'u1', payload: '"ticket"', deliveries: [delivery, delivery] };
  proxied.expectTwin(twin);
  client.got.length = 0;
  client.bridgeSends(client.invocation('NewTicket', ['ticket']), client.invocation('NewTicket', ['ticket']));
  await fanout.deliver([twin]);
  assert.deepEqual(client.got, ['bridge ticket', 'bridge ticket']);
});

test('the log’s copy was shown before it was known that there might be a second: the bridge’s is withheld', async () => {
  const { joined, expect, log, bridge } = setUpTwins();
  const member = joined('r');
  await log();
  const joinedLater = joined('r');
  expect();
  assert.equal(bridge(member), undefined);
  assert.notEqual(bridge(joinedLater), undefined, 'it was not shown the first copy');
});

test('announced while the log’s copy is being written: each is shown one, also who is written to later', async () => {
  const { joined, expect, log, bridge } = setUpTwins();
  // More than are written in one turn.
  const clients = Array.from({ length: 130 }, () => joined('r'));
  const delivered = log();
  assert.deepEqual([shown(clients[0]!), shown(clients[129]!)], [['log'], []]);
  expect();
  await delivered;
  for (const client of clients) bridge(client);
  for (const client of clients) assert.deepEqual(shown(client), ['log']);
  for (const client of clients) bridge(client);
  for (const client of clients) assert.deepEqual(shown(client), ['log', 'bridge'], 'another event that says the same');
});

test('announced late and with another event in between: twice is better than lost', async () => {
  const { joined, expect, log, bridge } = setUpTwins();
  const client = joined('r');
  await log();
  await log({ requestId: 'r', text: 'between' }, 'f');
  expect();
  assert.notEqual(bridge(client), undefined);
});

test('a copy that waits for a fence is shown behind it, once', async () => {
  const { proxied, joined, expect, log, bridge } = setUpTwins();
  const [before, during] = [joined('r'), joined('r')];
  proxied.hold('h', () => true);
  const fenced = proxied.fence('h');
  await log();
  bridge(before);
  expect();
  bridge(during);
  before.fenceComesBack();
  during.fenceComesBack();
  await fenced;
  assert.deepEqual(shown(before), ['bridge', 'log'], 'it came before anything was expected');
  assert.deepEqual(shown(during), ['bridge']);
});

test('once the bridge has shown its copy, what it says alike is another event; the log’s copy is still withheld', async () => {
  const { proxied, joined, expect, log, bridge } = setUpTwins();
  const client = joined('r');
  expect('e');
  bridge(client);
  proxied.twinShown('e');
  const cameBack = joined('r');
  expect('f');
  for (const each of [client, cameBack]) bridge(each);
  await log(argument, 'f');
  await log(argument, 'e');
  assert.deepEqual(shown(client), ['bridge', 'bridge']);
  assert.deepEqual(shown(cameBack), ['bridge', 'log'], 'it was not shown the first one by the bridge');
});

test('a twin that has waited for 5 minutes withholds nothing; one announced twice is one', async () => {
  const { proxied, joined, expect, log, bridge, clock } = setUpTwins();
  const client = joined('r');
  const sweepAfter = (ms: number) => {
    clock.advance(ms);
    proxied.sweep(clock.monotonic());
  };
  expect('f', 'old');
  await log('old', 'f');
  sweepAfter(5 * 60_000 + 1);
  assert.notEqual(bridge(client, 'old'), undefined);

  expect('g', 'twice');
  await log('twice', 'g');
  expect('g', 'twice');
  sweepAfter(5 * 60_000 - 1);
  assert.equal(bridge(client, 'twice'), undefined);
  assert.notEqual(bridge(client, 'twice'), undefined);
});

test('while the log is away the 5 minutes stand still: its copy comes when it is back', async () => {
  const { proxied, joined, expect, log, bridge, clock, ...parts } = setUpTwins();
  const client = joined('r');
  const sweepAfter = (ms: number) => {
    clock.advance(ms);
    proxied.sweep(clock.monotonic());
  };
  expect();
  bridge(client);
  sweepAfter(1_000);
  parts.fromLog.isRead = false;
  for (let minute = 0; minute < 10; minute++) sweepAfter(60_000);
  parts.fromLog.isRead = true;
  sweepAfter(1_000);
  await log();
  assert.deepEqual(shown(client), ['bridge']);
});

test('what is expected is bounded; the oldest may then be shown twice', async () => {
  const { joined, expect, log, bridge } = setUpTwins();
  const client = joined('r');
  for (let i = 0; i <= 10_000; i++) expect(`e${i}`, `message ${i}`);
  await log('message 0', 'e0');
  assert.notEqual(bridge(client, 'message 0'), undefined);
  await log('message 10000', 'e10000');
  assert.equal(bridge(client, 'message 10000'), undefined);
});
