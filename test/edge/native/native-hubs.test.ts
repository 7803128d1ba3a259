// The edge over real sockets with the built-in contract, a hand-made roster and log, and time in the test's hand.

import assert from 'node:assert/strict';
import { connect as connectTcp } from 'node:net';
import { test } from 'node:test';
import { connect, openRaw } from '../../support/signalr.ts';
import { until } from '../../support/wait.ts';
import { joined, shaken, startEdge } from './setup.ts';

const unexpected = '{"type":7,"error":"Connection closed with an error.","allowReconnect":true}';
const reconnect = '{"type":7,"allowReconnect":true}';

test('who does not shake hands within 15 s is sent away', async (t) => {
  const { url, clock, token } = await startEdge(t);
  const client = await openRaw(t, `${url}/chat`, token);
  clock.advance(17_000);
  await until(() => client.closed);
  assert.deepEqual(client.records, ['{"error":"Handshake was canceled."}']);
  assert.equal(client.closed!.code, 1000);
});

test('the server pings every 15 s; a client that has pinged and falls silent is closed after 30 s, another is not', async (t) => {
  const { url, clock, token } = await startEdge(t);
  const silent = await shaken(t, `${url}/chat`, token);
  const pinger = await shaken(t, `${url}/chat`, token);
  pinger.sendRecord({ type: 6 });
  pinger.sendRecord({ type: 1, invocationId: '0', target: 'Nope', arguments: [] });
  await until(() => pinger.records.length === 2);
  clock.advance(16_000);
  const pings = () => silent.frames.filter((frame) => frame === '{"type":6}\x1e').length;
  await until(() => pings() === 1, { what: 'a ping' });
  clock.advance(16_000);
  await until(() => pinger.closed && pings() === 2);
  assert.equal(pinger.records.at(-1), unexpected);
  assert.equal(silent.closed, undefined);
});

test('a token is good for one connection: the second use is a 409, after the end a 404', async (t) => {
  const { url, token } = await startEdge(t);
  const negotiated = await fetch(`${url}/chat/negotiate?negotiateVersion=1`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}` },
  });
  const { connectionToken } = (await negotiated.json()) as { connectionToken: string };
  const statusOf = async (id: string) => {
    const { status } = await upgrade(`${url}/chat?id=${id}&access_token=${token}`);
    return status;
  };
  const client = await openRaw(t, `${url}/chat?id=${connectionToken}`, token);
  assert.equal(await statusOf(connectionToken), 409);
  client.socket.terminate();
  await until(async () => (await statusOf(connectionToken)) === 404);
});

function upgrade(url: string): Promise<{ status: number }> {
  const { hostname, port, pathname, search } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = connectTcp(Number(port), hostname);
    let text = '';
    socket.on('error', reject);
    socket.on('data', (data) => {
      text += data;
    });
    socket.on('close', () => resolve({ status: Number(/^HTTP\/1.1 (\d+)/.exec(text)?.[1]) }));
    socket.write(
      `GET ${pathname}${search} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
        'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
    );
  });
}

test('a WebSocket asked for behind a request without its answer ends its connection, and no other', async (t) => {
  const { url, token } = await startEdge(t);
  const bystander = await shaken(t, `${url}/chat`, token);
  const socket = connectTcp(Number(new URL(url).port), '127.0.0.1');
  let closed = false;
  socket
    .on('error', () => {})
    .on('close', () => {
      closed = true;
    });
  socket.write(
    'GET /hubs/chat HTTP/1.1\r\nHost: x\r\n\r\nGET /hubs/chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n' +
      'Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
  );
  await until(() => closed);
  bystander.sendRecord({ type: 1, invocationId: '0', target: 'Nope', arguments: [] });
  await until(() => bystander.records.length === 2);
});

test('other transports are told what ASP.NET tells them, with CORS also on refusals', async (t) => {
  const { url, token } = await startEdge(t);
  const headers = { authorization: `Bearer ${token}`, origin: 'https://app.example' };
  const ask = async (method: string, query: string) => {
    const response = await fetch(`${url}/chat${query}`, { method, headers });
    assert.equal(response.headers.get('access-control-allow-origin'), 'https://app.example');
    return [response.status, await response.text()];
  };
  assert.deepEqual(await ask('GET', ''), [400, 'Connection ID required']);
  assert.deepEqual(await ask('POST', '?id=nope'), [404, 'No Connection with that ID']);
  const negotiated = await fetch(`${url}/chat/negotiate`, { method: 'POST', headers });
  const { connectionId } = (await negotiated.json()) as { connectionId: string };
  assert.deepEqual(await ask('DELETE', `?id=${connectionId}`), [
    400,
    'Cannot terminate this connection using the DELETE endpoint.',
  ]);
  const socket = await openRaw(t, `${url}/chat?id=${connectionId}`, token);
  const other = 'Cannot change transports mid-connection';
  assert.deepEqual(await ask('GET', `?id=${connectionId}`), [400, other]);
  assert.deepEqual(await ask('POST', `?id=${connectionId}`), [
    405,
    'POST requests are not allowed for WebSocket connections.',
  ]);
  socket.socket.terminate();
  assert.deepEqual(await ask('PATCH', ''), [405, '']);
  const foreign = await fetch(`${url}/chat/negotiate`, { method: 'POST', headers: { origin: 'https://evil.example' } });
  assert.equal(foreign.status, 401);
  assert.equal(foreign.headers.get('access-control-allow-origin'), null);
  for (const path of ['', '/../internal/stats', '/nope/negotiate']) {
    assert.equal((await fetch(`${url}${path}`, { method: 'POST', headers })).status, 404, path);
  }
});

test('connections, rooms and presence are counted, and gone when the connection is', async (t) => {
  const { url, counters, presence, token } = await startEdge(t);
  const client = await joined(t, url, token, 'r');
  const desktop = await shaken(t, `${url}/chat?sessionId=desk`, token);
  assert.deepEqual(Object.fromEntries(counters), { connections: 2, 'user:u1': 2, rooms: 1 });
  client.socket.terminate();
  await until(() => counters.get('user:u1') === 1);
  assert.deepEqual(Object.fromEntries(counters), { connections: 1, 'user:u1': 1 });
  desktop.socket.close(1000);
  await until(() => counters.size === 0);
  assert.deepEqual(presence, ['hold u1 desk', 'release u1 user:u1']);
});

test('a connection that ends while its method waits for the log joins nothing afterwards', async (t) => {
  const { url, counters, published, log, token } = await startEdge(t);
  const kept = Promise.withResolvers<void>();
  log.keep = () => kept.promise;
  const client = await shaken(t, `${url}/chat`, token);
  client.sendRecord({ type: 1, invocationId: '0', target: 'SendTyping', arguments: ['r', true] });
  client.sendRecord({ type: 1, invocationId: '1', target: 'JoinRoom', arguments: ['r'] });
  await until(() => published.length === 1);
  client.socket.terminate();
  await until(() => counters.size === 0);
  kept.resolve();
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(counters.size, 0);
});

test('a method whose event the log does not take fails with ASP.NET’s text; the connection goes on', async (t) => {
  const { url, log, token } = await startEdge(t);
  log.keep = () => Promise.reject(new Error('no log'));
  const { connection } = await connect(t, `${url}/chat`, token);
  await assert.rejects(connection.invoke('SendTyping', 'r', true), {
    message: "An unexpected error occurred invoking 'SendTyping' on the server.",
  });
  assert.equal(await connection.invoke('JoinRoom', 'r'), null);
});

test('a client that never reads is cut off without delaying the others', async (t) => {
  const { edge, url, token } = await startEdge(t, { maxBufferedBytes: 256 * 1024 });
  const good = await joined(t, url, token, 'r');
  const stuck = await joined(t, url, token, 'r');
  (stuck.socket as unknown as { _socket: { pause(): void } })._socket.pause();
  const deliveries = [{ hub: 'chat', group: 'request:r', method: 'M' }];
  const payload = JSON.stringify('x'.repeat(200_000));
  let sent = 0;
  while (sent < 100) {
    await edge.deliver([{ room: 'r', payload, deliveries, eventId: '' }]);
    sent++;
    await until(() => good.records.length === 3 + sent, { what: 'the other client to have everything' });
  }
  (stuck.socket as unknown as { _socket: { resume(): void } })._socket.resume();
  await until(() => stuck.closed, { what: 'the stuck client to be cut off' });
  assert.equal(stuck.closed!.code, 1006);
  assert.ok(stuck.records.length < 103);
});

test('one message larger than the bound passes to a client that keeps up', async (t) => {
  const { edge, url, token } = await startEdge(t, { maxBufferedBytes: 64 * 1024 });
  const client = await joined(t, url, token, 'r');
  const deliveries = [{ hub: 'chat', group: 'request:r', method: 'M' }];
  await edge.deliver([{ room: 'r', payload: JSON.stringify('x'.repeat(8_000_000)), deliveries, eventId: '' }]);
  await until(() => client.records.length === 4);
  assert.equal(client.closed, undefined);
});

test('a client that stays behind for 30 s is cut off', async (t) => {
  const { edge, url, clock, token } = await startEdge(t);
  const stuck = await joined(t, url, token, 'r');
  const { _socket: socket } = stuck.socket as unknown as { _socket: { pause(): void; resume(): void } };
  socket.pause();
  const deliveries = [{ hub: 'chat', group: 'request:r', method: 'M' }];
  // Past what the kernel takes, and below the bound in bytes.
  for (let i = 0; i < 30; i++) {
    await edge.deliver([{ room: 'r', payload: JSON.stringify('x'.repeat(250_000)), deliveries, eventId: '' }]);
  }
  clock.advance(32_000);
  socket.resume();
  await until(() => stuck.closed, { what: 'the stuck client to be cut off' });
  assert.equal(stuck.closed!.code, 1006);
});

test('closing the clients tells them to come back, and cuts off who does not answer', async (t) => {
  const { edge, url, clock, token } = await startEdge(t);
  const polite = await shaken(t, `${url}/chat`, token);
  const silent = await shaken(t, `${url}/chat`, token);
  (silent.socket as unknown as { _socket: { pause(): void } })._socket.pause();
  const closed = edge.closeClients('gap');
  await until(() => polite.closed);
  assert.equal(polite.records.at(-1), reconnect);
  assert.equal(polite.closed!.code, 1000);
  clock.advance(2_000);
  await closed;
});

test('while the clients are let go nobody new comes in: a 503 that browsers may read, for upgrades too', async (t) => {
  const { edge, url, token } = await startEdge(t);
  const client = await shaken(t, `${url}/chat`, token);
  const drained = edge.drain();
  const { status, headers } = await fetch(`${url}/chat/negotiate?negotiateVersion=1`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, origin: 'https://app.example' },
  });
  assert.deepEqual(
    [status, headers.get('retry-after'), headers.get('access-control-allow-origin')],
    [503, '1', 'https://app.example'],
  );
  assert.equal((await upgrade(`${url}/chat?access_token=${token}`)).status, 503);
  await drained;
  await until(() => client.closed);
  assert.equal(client.records.at(-1), reconnect);
  assert.equal(edge.clientCount, 0);
});

test('several records in one frame are answered in order; a broken one discards all of them', async (t) => {
  const { url, token } = await startEdge(t);
  const client = await shaken(t, `${url}/chat`, token);
  const call = (id: string) => `{"type":1,"invocationId":"${id}","target":"Nope","arguments":[]}\x1e`;
  client.send(call('1') + call('2'));
  await until(() => client.records.length === 3);
  assert.deepEqual(
    client.records.slice(1).map((record) => JSON.parse(record).invocationId),
    ['1', '2'],
  );
  client.send(`${call('3')}broken\x1e`);
  await until(() => client.closed);
  assert.deepEqual(client.records.slice(3), [unexpected]);
});
