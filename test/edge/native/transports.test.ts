// Native hubs by requests, with time in the test's hand: what ASP.NET promises of server-sent events and long polling, and what one client
// can cost over them.

import assert from 'node:assert/strict';
import { connect as connectTcp, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { jwtSecret } from '../../support/bridge.ts';
import { connect, makeToken, openRaw } from '../../support/signalr.ts';
import { until } from '../../support/wait.ts';
import { HttpClient, handshake, separator } from './http-client.ts';
import { startEdge } from './setup.ts';

const reconnect = '{"type":7,"allowReconnect":true}';
const deliveries = [{ hub: 'chat', group: 'request:r', method: 'M' }];
const unknownId = { status: 404, type: 'text/plain', body: 'No Connection with that ID' };
const over = { status: 204, type: 'text/plain', body: '' };
const taken = { status: 200, type: 'text/plain', body: '' };

type Edge = Awaited<ReturnType<typeof startEdge>>;

async function closeReasons({ metrics }: Edge): Promise<Record<string, number>> {
  const { values } = await metrics.connectionsClosed.get();
  return Object.fromEntries(values.filter(({ value }) => value > 0).map(({ labels, value }) => [labels.reason, value]));
}

async function joinedByPolls(t: TestContext, { url, token }: Pick<Edge, 'url' | 'token'>): Promise<HttpClient> {
  const client = await HttpClient.polling(t, `${url}/chat`, token);
  await client.invoke('JoinRoom', 'r');
  await client.pollUntil('"type":3');
  return client;
}

test('one poll at a time: a newer one ends the one before with 204, and gets what comes', async (t) => {
  const started = await startEdge(t);
  const client = await joinedByPolls(t, started);
  // Of two requests nobody knows which arrives first.
  const polls = [client.poll(), client.poll()];
  const displaced = await Promise.race(polls);
  assert.deepEqual(displaced, over);
  await started.edge.deliver([{ room: 'r', payload: '"hi"', deliveries, eventId: '' }]);
  const bodies = await Promise.all(polls.map(async (poll) => (await poll).body));
  assert.deepEqual(bodies.sort(), ['', '{"type":1,"target":"M","arguments":["hi"]}\x1e']);
});

test('a poll without a message is answered after 90 s; without a poll for 15 s the client is gone', async (t) => {
  const started = await startEdge(t);
  const { clock, edge } = started;
  const client = await joinedByPolls(t, started);
  // The first is ended by the second, which is there then.
  const polls = [client.poll(), client.poll()];
  assert.deepEqual(await Promise.race(polls), over);
  clock.advance(89_000);
  assert.equal(edge.clientCount, 1);
  clock.advance(2_000);
  const answers = await Promise.all(polls);
  assert.ok(answers.some((answer) => answer.status === 200 && answer.body === '' && answer.type === 'text/plain'));
  assert.equal(edge.clientCount, 1);
  clock.advance(17_000);
  await until(() => edge.clientCount === 0);
  assert.deepEqual(await closeReasons(started), { timeout: 1 });
  assert.deepEqual(await client.poll(), unknownId);
});

test('long polling has neither pings nor a time without records: its polls are the sign of life', async (t) => {
  const started = await startEdge(t);
  const client = await joinedByPolls(t, started);
  await client.post(`{"type":6}${separator}`);
  let shown = '';
  for (let s = 0; s < 60; s += 10) {
    await started.edge.deliver([{ room: 'r', payload: '"hi"', deliveries, eventId: '' }]);
    started.clock.advance(10_000);
    shown += await client.pollUntil('hi');
  }
  assert.equal(started.edge.clientCount, 1);
  assert.equal(shown.includes('"type":6'), false);
});

test('a DELETE ends a connection over long polling: its poll with 204, what comes later with 404', async (t) => {
  const started = await startEdge(t);
  const client = await joinedByPolls(t, started);
  const polls = [client.poll(), client.poll()];
  // The other one is there then.
  assert.deepEqual(await Promise.race(polls), over);
  assert.deepEqual(await client.remove(), { ...taken, status: 202 });
  assert.deepEqual(await Promise.all(polls), [over, over]);
  assert.deepEqual(await client.poll(), unknownId);
  assert.deepEqual(await client.post('x'), unknownId);
  assert.deepEqual(await client.remove(), unknownId);
  await until(() => started.edge.clientCount === 0);
});

test('a Close of the client is answered, then the connection is over', async (t) => {
  const started = await startEdge(t);
  const client = await joinedByPolls(t, started);
  await client.post(`{"type":7}${separator}`);
  assert.equal((await client.poll()).body, `{"type":7}${separator}`);
  assert.deepEqual(await client.poll(), over);
  assert.deepEqual(await client.poll(), unknownId);
});

test('what a client posts before its connection is open waits for it', async (t) => {
  const { url, token } = await startEdge(t);
  const client = await HttpClient.negotiate(t, `${url}/chat`, token);
  assert.deepEqual(await client.post(handshake), taken);
  const stream = await client.stream();
  await stream.until('data: {}\x1e\r\n\r\n');
});

test('who posts more than 1 kB before its connection is open is refused, and keeps nothing here', async (t) => {
  const { url, token } = await startEdge(t);
  const client = await HttpClient.negotiate(t, `${url}/chat`, token);
  assert.deepEqual(await client.post('x'.repeat(1_000)), taken);
  assert.deepEqual(await client.post('x'.repeat(30_000)), { ...unknownId, body: '' });
  assert.deepEqual(await client.poll(), unknownId);
  assert.deepEqual(await client.post('x'), unknownId);
});

test('a POST that is still coming when its token is over is answered, and so is the one behind it', async (t) => {
  const { url, token, clock } = await startEdge(t);
  const client = await HttpClient.negotiate(t, `${url}/chat`, token);
  const slow = postSlowly(t, client.address, token);
  const behind = postSlowly(t, client.address, token);
  for (const { answer } of [slow, behind]) await until(() => answer().includes('100 Continue'));
  slow.socket.write('5\r\nhello\r\n');
  clock.advance(17_000);
  for (const { answer } of [slow, behind]) await until(() => answer().includes('HTTP/1.1 404'), { what: answer });
});

/** Sends the head of a POST whose body does not end. */
function postSlowly(t: TestContext, address: string, token: string): { socket: Socket; answer: () => string } {
  const { hostname, port, pathname, search } = new URL(address);
  const socket = connectTcp({ host: hostname, port: Number(port) });
  t.after(() => socket.destroy());
  let answer = '';
  socket.on('error', () => {}).on('data', (bytes) => (answer += bytes));
  const headers = `Authorization: Bearer ${token}\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue`;
  socket.write(`POST ${pathname}${search} HTTP/1.1\r\nHost: x\r\n${headers}\r\n\r\n`);
  return { socket, answer: () => answer };
}

test('a connection’s token is nothing without its user’s own', async (t) => {
  const { url, token } = await startEdge(t);
  const other = await makeToken({ sub: 'u2' }, jwtSecret);
  const unopened = await HttpClient.negotiate(t, `${url}/chat`, token);
  assert.deepEqual(await unopened.as(other).post(handshake), unknownId);
  const client = await HttpClient.polling(t, `${url}/chat`, token);
  for (const ask of ['poll', 'remove'] as const) assert.deepEqual(await client.as(other)[ask](), unknownId);
  assert.deepEqual(await client.as(other).post(handshake), unknownId);
  assert.equal((await client.as('nonsense').poll()).status, 401);
  await client.invoke('Nope');
  assert.match((await client.poll()).body, /"type":3/);
});

test('a connection keeps its transport', async (t) => {
  const { url, token } = await startEdge(t);
  const other = { status: 400, type: 'text/plain', body: 'Cannot change transports mid-connection' };
  const polling = await HttpClient.polling(t, `${url}/chat`, token);
  assert.equal((await polling.stream()).status, 400);
  await assert.rejects(openRaw(t, polling.address, token));
  const streaming = await HttpClient.negotiate(t, `${url}/chat`, token);
  const stream = await streaming.stream();
  assert.deepEqual(await streaming.poll(), other);
  assert.equal((await streaming.stream()).status, 409);
  assert.equal((await streaming.remove()).status, 400);
  await streaming.post(handshake);
  await stream.until('{}\x1e');
});

test('MessagePack over server-sent events, which are text, is refused at the handshake', async (t) => {
  const { url, token } = await startEdge(t);
  const client = await HttpClient.negotiate(t, `${url}/chat`, token);
  const stream = await client.stream();
  assert.deepEqual(await client.post(`{"protocol":"messagepack","version":1}${separator}`), taken);
  await until(() => stream.ended);
  assert.match(stream.text, /^:\r\ndata: \{"error":"Cannot use the 'messagepack' protocol on the current transport\./);
  assert.deepEqual(await client.post('x'), unknownId);
});

test('an event stream is pinged, and closed where its client has pinged and falls silent', async (t) => {
  const { url, token, clock } = await startEdge(t);
  const client = await HttpClient.negotiate(t, `${url}/chat`, token);
  const stream = await client.stream();
  await client.post(`${handshake}{"type":6}${separator}`);
  await stream.until('{}\x1e');
  clock.advance(16_000);
  await stream.until('data: {"type":6}\x1e\r\n\r\n');
  clock.advance(16_000);
  await until(() => stream.ended);
  assert.match(stream.text, /"error":"Connection closed with an error\.","allowReconnect":true/);
});

test('while clients are let go, those of both transports get their last word, and nobody new comes in', async (t) => {
  const { edge, url, token } = await startEdge(t);
  const polling = await HttpClient.polling(t, `${url}/chat`, token);
  const streaming = await HttpClient.negotiate(t, `${url}/chat`, token);
  const unopened = await HttpClient.negotiate(t, `${url}/chat`, token);
  const stream = await streaming.stream();
  await streaming.post(handshake);
  await stream.until('{}\x1e');
  const drained = edge.drain();
  assert.equal((await unopened.poll()).status, 503);
  assert.match(await polling.pollUntil(reconnect), /allowReconnect/);
  assert.deepEqual(await polling.poll(), over);
  await until(() => stream.ended);
  assert.match(stream.text, /data: \{"type":7,"allowReconnect":true\}\x1e\r\n\r\n$/);
  await drained;
  assert.equal(edge.clientCount, 0);
});

for (const [label, transport] of Object.entries({ ServerSentEvents: 2, LongPolling: 4 })) {
  test(`the real client over ${label}: told to come back, it comes back; cut off, it comes back; stopped, it is gone`, async (t) => {
    const started = await startEdge(t);
    const { edge, url, token } = started;
    const { connection } = await connect(t, `${url}/chat`, token, { transport, reconnectMs: [0, 0, 0, 0] });
    let reconnects = 0;
    connection.onreconnected(() => reconnects++);
    await edge.closeClients('gap');
    await until(() => reconnects === 1, { what: 'the client to come back' });
    assert.equal(await connection.invoke('JoinRoom', 'r'), null);
    const oversized = JSON.stringify('x'.repeat(5_000_000));
    await edge.deliver(Array(4).fill({ room: 'r', payload: oversized, deliveries, eventId: '' }));
    await until(() => reconnects === 2, { what: 'the client that was cut to come back' });
    assert.equal((await closeReasons(started)).slow, 1);
    assert.equal(await connection.invoke('JoinRoom', 'r'), null);
    await connection.stop();
    await until(() => edge.clientCount === 0);
    assert.deepEqual(started.counters.size, 0);
  });
}

test('who never polls again when it is told to go is cut', async (t) => {
  const { edge, url, token, clock } = await startEdge(t);
  await HttpClient.polling(t, `${url}/chat`, token);
  const closed = edge.closeClients('gap');
  clock.advance(2_000);
  await closed;
});

/** Its answer is never read. */
function askDeaf(t: TestContext, address: string, token: string, accept: string): Socket {
  const { hostname, port, pathname, search } = new URL(address);
  const socket = connectTcp({ host: hostname, port: Number(port) });
  t.after(() => socket.destroy());
  socket.on('error', () => {});
  socket.pause();
  socket.write(
    `GET ${pathname}${search} HTTP/1.1\r\nHost: x\r\nAccept: ${accept}\r\nAuthorization: Bearer ${token}\r\n\r\n`,
  );
  return socket;
}

test('a client that never reads its event stream is cut off, and no other', async (t) => {
  const started = await startEdge(t, { maxBufferedBytes: 256 * 1024 });
  const { edge, url, token } = started;
  const good = await joinedByPolls(t, started);
  const stuck = await HttpClient.negotiate(t, `${url}/chat`, token);
  askDeaf(t, stuck.address, token, 'text/event-stream');
  await until(() => edge.clientCount === 2);
  await stuck.post(handshake);
  await stuck.invoke('JoinRoom', 'r');
  const payload = JSON.stringify('x'.repeat(200_000));
  for (let sent = 0; edge.clientCount === 2 && sent < 100; sent++) {
    await edge.deliver([{ room: 'r', payload, deliveries, eventId: '' }]);
    await good.pollUntil('xxx');
  }
  await until(async () => (await closeReasons(started)).slow === 1, { what: 'the stuck client to be cut off' });
  assert.equal(edge.clientCount, 1);
});

test('a client that leaves more waiting than it may is cut off, polls or not', async (t) => {
  const started = await startEdge(t, { maxBufferedBytes: 256 * 1024 });
  const client = await joinedByPolls(t, started);
  const payload = JSON.stringify('x'.repeat(200_000));
  for (let sent = 0; sent < 3; sent++) {
    await started.edge.deliver([{ room: 'r', payload, deliveries, eventId: '' }]);
  }
  await until(() => started.edge.clientCount === 0);
  assert.deepEqual(await closeReasons(started), { slow: 1 });
  assert.deepEqual(await client.poll(), unknownId);
});

test('a client for which something always waits between two polls is not behind', async (t) => {
  const started = await startEdge(t);
  const { edge, clock } = started;
  const client = await joinedByPolls(t, started);
  for (let s = 0; s < 60; s += 5) {
    await edge.deliver([{ room: 'r', payload: '"hi"', deliveries, eventId: '' }]);
    clock.advance(5_000);
    assert.match((await client.poll()).body, /hi/);
  }
  assert.equal(edge.clientCount, 1);
});

test('an answer that breaks off ends its connection: nobody knows how much of it has come', async (t) => {
  const started = await startEdge(t);
  const { edge, token } = started;
  const client = await joinedByPolls(t, started);
  const polls = [client.poll(), client.poll()];
  assert.deepEqual(await Promise.race(polls), over);
  const socket = askDeaf(t, client.address, token, '*/*');
  // The deaf one is there then.
  assert.deepEqual(await Promise.all(polls), [over, over]);
  const payload = JSON.stringify('x'.repeat(8_000_000));
  await edge.deliver([{ room: 'r', payload, deliveries, eventId: '' }]);
  assert.equal(edge.clientCount, 1, 'one message larger than the bound passes');
  socket.destroy();
  await until(() => edge.clientCount === 0);
  assert.deepEqual(await client.poll(), unknownId);
});

test('an access token is renewed on every transport, by its user alone; the connection goes on', async (t) => {
  const { url, token } = await startEdge(t);
  const hub = `${url}/chat`;
  const polling = await HttpClient.polling(t, hub, token);
  const streaming = await HttpClient.negotiate(t, hub, token);
  const stream = await streaming.stream();
  const webSocket = await HttpClient.negotiate(t, hub, token);
  const socket = await openRaw(t, webSocket.address, token);
  const renewed = await makeToken({ sub: 'u1' }, jwtSecret);
  const refresh = async (address: string, bearer: string) => {
    const refreshing = address.replace('/chat?', '/chat/refresh?');
    const answer = await fetch(refreshing, { method: 'POST', headers: { authorization: `Bearer ${bearer}` } });
    return { status: answer.status, ...(answer.status === 401 ? {} : ((await answer.json()) as object)) };
  };
  for (const { address } of [polling, streaming, webSocket]) {
    const { status, tokenLifetimeSeconds } = (await refresh(address, renewed)) as Record<string, number>;
    assert.equal(status, 200);
    assert.ok(tokenLifetimeSeconds! > 0);
    const other = await makeToken({ sub: 'u2' }, jwtSecret);
    assert.deepEqual(await refresh(address, other), { status: 403, error: 'user_changed' });
    assert.deepEqual(await refresh(address, 'nonsense'), { status: 401 });
  }
  assert.deepEqual(await refresh(`${hub}?id=x`, renewed), { status: 404, error: 'connection_not_found' });
  assert.deepEqual(await refresh(`${hub}?x=1`, renewed), { status: 400, error: 'missing_connection_token' });
  assert.equal((await polling.as(renewed).invoke('Nope')).status, 200);
  assert.match((await polling.as(renewed).poll()).body, /"type":3/);
  await streaming.as(renewed).post(handshake);
  await stream.until('{}\x1e');
  socket.shakeHands();
  await until(() => socket.records.length === 1);
});

test('negotiate tells how long the access token is good for, as far as it is', async (t) => {
  const { url, clock } = await startEdge(t);
  const lifetimeOf = async (exp: number) => {
    const headers = { authorization: `Bearer ${await makeToken({ sub: 'u1', exp }, jwtSecret)}` };
    const answer = await fetch(`${url}/chat/negotiate?negotiateVersion=1`, { method: 'POST', headers });
    return ((await answer.json()) as { tokenLifetimeSeconds?: number }).tokenLifetimeSeconds;
  };
  const inAnHour = Math.floor(Date.now() / 1000) + 3_600;
  clock.wallMs = Date.now();
  assert.ok(Math.abs((await lifetimeOf(inAnHour))! - 3_600) < 60);
  assert.equal(await lifetimeOf(inAnHour - 3_700), undefined, 'one that has expired is accepted for 5 minutes');
  assert.equal(await lifetimeOf(1e15), 2 ** 31 - 1);
});

test('bytes and records beyond the rate close the connection with a reason, by whatever transport they come', async (t) => {
  const limits = { records: { burst: 10, perSecond: 5 }, bytes: { burst: 100_000, perSecond: 1_000 } };
  const { url, token, exceeded } = await startEdge(t, {}, limits);
  const polling = await HttpClient.polling(t, `${url}/remote-access`, token);
  await polling.post(`{"type":6}${separator}`.repeat(11));
  assert.match(await polling.pollUntil('"type":7'), /EDGE_OVER_BUDGET/);
  const streaming = await HttpClient.negotiate(t, `${url}/remote-access`, token);
  const stream = await streaming.stream();
  await streaming.post(handshake);
  await streaming.invoke('SendSdpOffer', 's', 'x'.repeat(110_000));
  await until(() => stream.ended);
  assert.match(stream.text, /EDGE_OVER_BUDGET/);
  assert.deepEqual([await exceeded('client_invocations'), await exceeded('client_bytes')], [1, 1]);
});

test('a record that comes in pieces, in one body or in two, is one record', async (t) => {
  const started = await startEdge(t);
  const client = await joinedByPolls(t, started);
  const record = `{"type":1,"invocationId":"1","target":"Nope","arguments":[]}${separator}`;
  await client.post(record.slice(0, 20));
  await client.post(record.slice(20) + record);
  assert.equal((await client.pollUntil('"type":3')).split(separator).length, 3);
});
