// What one client of a native hub can cost: each test is one way in which a client with a token has hurt the others.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defaultClientLimits } from '../../../src/edge/budget.ts';
import { connect, openRaw } from '../../support/signalr.ts';
import { until } from '../../support/wait.ts';
import { joined, shaken, startEdge } from './setup.ts';

const separator = '\x1e';
const overBudget = /EDGE_OVER_BUDGET/;

function invocation(target: string, ...args: unknown[]): string {
  return JSON.stringify({ type: 1, target, arguments: args }) + separator;
}

test('a message of more records than any client sends at once is not looked into, and closes its connection', async (t) => {
  const { url, token, exceeded } = await startEdge(t);
  const client = await shaken(t, `${url}/chat`, token);
  client.send(separator.repeat(1_500_000));
  await until(() => client.closed);
  assert.deepEqual(JSON.parse(client.records.at(-1)!), {
    type: 7,
    error: 'A message holds more than 4096 records. (EDGE_OVER_BUDGET)',
    allowReconnect: true,
  });
  assert.equal(await exceeded('client_records'), 1);
});

test('a message of more than 2 MiB is refused before it is taken in', async (t) => {
  const { url, token, exceeded } = await startEdge(t);
  const client = await shaken(t, `${url}/chat`, token);
  client.send(separator.repeat(3_000_000));
  await until(() => client.closed);
  assert.equal(await exceeded('client_bytes'), 1);
});

test('many records are handled in turns: others are served in between', async (t) => {
  const { url, clock, token, published, log } = await startEdge(t, {}, { publishes: { burst: 5_000, perSecond: 1 } });
  // Each takes 2 ms.
  log.keep = async () => clock.advance(2);
  const client = await shaken(t, `${url}/chat`, token);
  let turns = 0;
  let counts = true;
  const count = () => {
    turns++;
    if (counts) setImmediate(count);
  };
  t.after(() => {
    counts = false;
  });
  client.send(Array.from({ length: 1_000 }, (_, i) => invocation('MarkRead', `r${i}`, ['m'])).join(''));
  await until(() => published.length > 0);
  count();
  await until(() => published.length === 1_000, { what: 'all of them to be handled' });
  assert.ok(turns > 200, `${turns} turns of the event loop for 2,000 ms`);
});

test('records beyond the rate close the connection with a reason, pings too', async (t) => {
  const { url, clock, token, exceeded } = await startEdge(t, {}, { records: { burst: 10, perSecond: 5 } });
  const client = await shaken(t, `${url}/chat`, token);
  for (let i = 0; i < 9; i++) client.sendRecord({ type: 6 });
  client.sendRecord({ type: 1, invocationId: '1', target: 'Nope', arguments: [] });
  await until(() => client.records.length === 2);
  clock.advance(1_000);
  for (let i = 0; i < 6; i++) client.sendRecord({ type: 6 });
  await until(() => client.closed);
  assert.match(client.records.at(-1)!, overBudget);
  assert.equal(await exceeded('client_invocations'), 1);
});

test('bytes beyond the rate close the connection with a reason', async (t) => {
  const { url, token, exceeded } = await startEdge(t);
  const client = await shaken(t, `${url}/remote-access`, token);
  const offer = 'x'.repeat(1_000_000);
  for (let i = 0; i < 6; i++) client.send(invocation('SendSdpOffer', 's', offer));
  await until(() => client.closed);
  assert.match(client.records.at(-1)!, overBudget);
  assert.equal(await exceeded('client_bytes'), 1);
});

test('messages to others beyond the rate fail with a reason; the rest of the connection goes on', async (t) => {
  const { url, clock, token, published, exceeded } = await startEdge(t, {}, { publishes: { burst: 3, perSecond: 1 } });
  const { connection } = await connect(t, `${url}/chat`, token);
  for (let i = 0; i < 3; i++) await connection.invoke('SendTyping', `r${i}`, true);
  await assert.rejects(connection.invoke('SendTyping', 'r3', true), overBudget);
  assert.equal(await connection.invoke('JoinRoom', 'r'), null);
  clock.advance(1_000);
  await connection.invoke('SendTyping', 'r4', true);
  assert.deepEqual(
    published.map(({ room }) => room),
    ['r0', 'r1', 'r2', 'r4'],
  );
  assert.equal(await exceeded('client_publishes'), 1);
});

test('who asks for no answer is closed with the reason', async (t) => {
  const { url, token, published } = await startEdge(t);
  const client = await shaken(t, `${url}/chat`, token);
  client.send(Array.from({ length: 300 }, (_, i) => invocation('SendTyping', `r${i}`, true)).join(''));
  await until(() => client.closed);
  assert.match(client.records.at(-1)!, overBudget);
  assert.equal(published.length, defaultClientLimits.publishes.burst);
});

test('a client is in as many rooms as it may be, however often it joins them; the roster gets their number', async (t) => {
  const { url, token, counters, exceeded } = await startEdge(t, {}, { rooms: 4 });
  const { connection } = await connect(t, `${url}/chat`, token);
  // One is the user's own group.
  for (const room of ['a', 'b', 'c', 'a', 'b']) await connection.invoke('JoinRoom', room);
  await assert.rejects(connection.invoke('JoinRoom', 'd'), overBudget);
  await connection.invoke('LeaveRoom', 'a');
  await connection.invoke('JoinRoom', 'd');
  assert.deepEqual(Object.fromEntries(counters), { connections: 1, 'user:u1': 1, rooms: 3 });
  assert.equal(await exceeded('client_rooms'), 1);
});

test('five hundred rooms on one client are an ordinary thing, joined at once', async (t) => {
  const { url, token, counters } = await startEdge(t);
  const client = await shaken(t, `${url}/chat`, token);
  client.send(Array.from({ length: 500 }, (_, i) => invocation('JoinRoom', `room-${i}`)).join(''));
  await until(() => counters.get('rooms') === 500);
  const twin = await joined(t, url, token, 'room-1');
  assert.equal(counters.get('rooms'), 500);
  client.socket.terminate();
  await until(() => counters.get('rooms') === 1);
  twin.socket.terminate();
  await until(() => counters.size === 0);
});

test('sessions whose others are told of a client’s end are few', async (t) => {
  const { url, token, published } = await startEdge(t, {}, { farewells: 2 });
  const { connection } = await connect(t, `${url}/remote-access`, token);
  for (const session of ['a', 'b', 'a']) await connection.invoke('JoinSession', session, 'agent');
  await assert.rejects(connection.invoke('JoinSession', 'c', 'agent'), overBudget);
  await connection.invoke('LeaveSession', 'a');
  await connection.invoke('JoinSession', 'c', 'agent');
  const before = published.length;
  await connection.stop();
  await until(() => published.length === before + 2, { what: 'the farewells of b and c' });
});

test('a name longer than 256 characters is refused: of a room, a session, a method, in the URL', async (t) => {
  const { url, token, counters, presence, published, exceeded } = await startEdge(t);
  const long = 'x'.repeat(257);
  const { connection } = await connect(t, `${url}/chat`, token);
  for (const target of ['JoinRoom', 'LeaveRoom']) await assert.rejects(connection.invoke(target, long), overBudget);
  await assert.rejects(connection.invoke('SendTyping', long, true), overBudget);
  await connection.invoke('JoinRoom', 'é'.repeat(256));
  const remote = await connect(t, `${url}/remote-access`, token);
  await assert.rejects(remote.connection.invoke('SendSignal', 's', long, {}), overBudget);
  await remote.connection.invoke('SendSignal', 's', 'offer', { sdp: long });
  assert.equal(counters.get('rooms'), 1);
  assert.equal(published.length, 1);
  assert.equal(await exceeded('name_length'), 4);
  const desktop = await openRaw(t, `${url}/chat?sessionId=${long}`, token);
  desktop.shakeHands();
  await until(() => desktop.closed);
  assert.match(desktop.records.at(-1)!, overBudget);
  assert.deepEqual(presence, []);
});
