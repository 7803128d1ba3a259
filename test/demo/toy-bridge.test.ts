// What the recording does not show of the toy bridge: real clients over each transport, and the hooks that tests use.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { call, jwtSecret, startBridge } from '../support/bridge.ts';
import { connect, HttpTransportType, makeToken, openRaw } from '../support/signalr.ts';
import { until } from '../support/wait.ts';

const typing = { request_id: 'r1', user_id: 'u9', is_typing: true };

for (const transport of ['WebSockets', 'ServerSentEvents', 'LongPolling'] as const) {
  test(`a real client gets its rooms' messages over ${transport}`, async (t) => {
    const bridge = await startBridge(t);
    const token = await makeToken({ sub: 'u1' }, jwtSecret);
    const client = await connect(t, `${bridge.url}/hubs/chat`, token, { transport: HttpTransportType[transport] });
    assert.equal(await client.connection.invoke('JoinRoom', 'r1'), null);
    assert.deepEqual(await call(bridge.url, 'chat/typing', { event_id: 'e1', ...typing }), {
      status: 200,
      body: { broadcast: true },
    });
    const [message] = await until(() => client.of('TypingIndicator').length > 0 && client.of('TypingIndicator'));
    assert.deepEqual(message?.args, [{ requestId: 'r1', userId: 'u9', isTyping: true }]);
    await client.connection.stop();
    await until(async () => (await stats(bridge.url)).connections === 0, { what: 'the connection to be forgotten' });
  });
}

test('a member has its frames before the call is answered', async (t) => {
  const bridge = await startBridge(t);
  const client = await openRaw(t, `${bridge.url}/hubs/chat`, await makeToken({ sub: 'u1' }, jwtSecret));
  client.shakeHands();
  client.sendRecord({ type: 1, target: 'JoinRoom', arguments: ['r1'] });
  await until(() => client.records.length === 2, { what: 'the room to be joined' });
  bridge.delayMs = 60_000;
  void call(bridge.url, 'chat/typing', { event_id: 'e1', ...typing }).catch(() => {});
  await until(() => client.records.length === 3, { what: 'the frame of a call that is not answered yet' });
});

test('a call fails as the test wants it to, and delivers nothing then', async (t) => {
  const bridge = await startBridge(t);
  const body = { event_id: 'e1', ...typing };
  bridge.onCall = () => ({ status: 503 });
  assert.equal((await call(bridge.url, 'chat/typing', body)).status, 503);
  bridge.onCall = () => 'reset';
  await assert.rejects(call(bridge.url, 'chat/typing', body));
  bridge.onCall = undefined;
  assert.deepEqual((await call(bridge.url, 'chat/typing', body)).body, { broadcast: true });
  assert.equal(bridge.calls.length, 3);
  assert.deepEqual(JSON.parse(bridge.calls[0]!.body.toString()), body);
});

test('a call that hangs ends with the bridge', async (t) => {
  const bridge = await startBridge(t);
  bridge.onCall = () => 'hang';
  const hanging = assert.rejects(call(bridge.url, 'chat/typing', { event_id: 'e1', ...typing }));
  await until(() => bridge.calls.length === 1, { what: 'the call to arrive' });
  await bridge.close();
  await hanging;
});

test('a room is refused by an exception or in silence, and the others stay open', async (t) => {
  const bridge = await startBridge(t);
  bridge.onInvoke = ({ method, args: [room] }) => {
    if (method !== 'JoinRoom') return undefined;
    return room === 'throws' ? 'throw' : room === 'silent' ? 'skip' : undefined;
  };
  const client = await connect(t, `${bridge.url}/hubs/chat`, await makeToken({ sub: 'u1' }, jwtSecret));
  await assert.rejects(
    client.connection.invoke('JoinRoom', 'throws'),
    /An unexpected error occurred invoking 'JoinRoom' on the server\.$/,
  );
  assert.equal(await client.connection.invoke('JoinRoom', 'silent'), null);
  assert.equal(await client.connection.invoke('JoinRoom', 'open'), null);
  for (const room of ['throws', 'silent', 'open']) {
    await call(bridge.url, 'chat/typing', { event_id: `e-${room}`, ...typing, request_id: room });
  }
  await until(() => client.received.length >= 2, { what: 'what the open room owes' });
  assert.deepEqual(
    client.received.map(({ method, args }) => [method, ...args]),
    [
      ['RoomJoined', 'open'],
      ['TypingIndicator', { requestId: 'open', userId: 'u9', isTyping: true }],
    ],
  );
});

test('a user is refused on connect, after the handshake and before any join', async (t) => {
  const bridge = await startBridge(t);
  bridge.onConnect = (hub, user) => (hub === 'notification' && user === 'u1' ? 'abort' : undefined);
  const refused = await openRaw(t, `${bridge.url}/hubs/notification`, await makeToken({ sub: 'u1' }, jwtSecret));
  refused.shakeHands();
  await until(() => refused.closed, { what: 'the connection to be ended' });
  assert.deepEqual(refused.records, ['{}', '{"type":7}']);
  assert.equal((await stats(bridge.url)).connections, 0);
  await connect(t, `${bridge.url}/hubs/notification`, await makeToken({ sub: 'u2' }, jwtSecret));
  await connect(t, `${bridge.url}/hubs/chat`, await makeToken({ sub: 'u1' }, jwtSecret));
});

async function stats(url: string): Promise<{ connections: number }> {
  const response = await fetch(`${url}/internal/stats`, { headers: { 'x-internal-api-key': 'test-api-key' } });
  return (await response.json()) as { connections: number };
}
