// The reference bridge's switches, each seen with real clients: what the tests of crossfade make happen really happens.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { WebSocket } from 'ws';
import { apiKey, call, jwtSecret } from '../support/bridge.ts';
import { startRedis } from '../support/redis.ts';
import { noDotnet, startReferenceBridge } from '../support/reference-bridge.ts';
import { startRoundRobin } from '../support/round-robin.ts';
import { type ConnectOptions, type HubClient, makeToken, openRaw, recordSeparator } from '../support/signalr.ts';
import { startProxy } from '../support/tcp-proxy.ts';
import { until } from '../support/wait.ts';
import { join } from './sidecar.ts';

const skip = noDotnet;
const typing = { request_id: 'r1', user_id: 'u9', is_typing: true };
const shown = ['TypingIndicator', { requestId: 'r1', userId: 'u9', isTyping: true }];
const data = { A: [1, -2, 1.5, null, true], 'b c': { d: 'é' }, e: 2 ** 40 };

test('MessagePack clients get what JSON clients get, names, nulls and defaults included', { skip }, async (t) => {
  const { url } = await startReferenceBridge(t, { messagePack: true });
  const message = { id: 'm1', requestId: 'r1', content: 'hé', createdAt: 'now', sequenceNumber: '7' };
  const session = { sessionId: 's1', agentId: 'ag', requestId: 'r1' };
  const calls: [path: string, body: object][] = [
    ['chat/message', { request_id: 'r1', message: { ...message, sender: { id: 'u2', username: 'jo' } } }],
    ['chat/typing', typing],
    ['chat/read-status', { request_id: 'r1', user_id: 'u9', message_ids: ['a', null] }],
    ['ticket/update', { request_id: 'r1', update: { type: 't', data, requestId: 'r1' } }],
    ['ticket/task-status', { request_id: 'r1', status: 'done' }],
    ['ticket/new', { requester_id: 'u1', ticket: 'a text' }],
    ['notification/send', { user_id: 'u1', notification: data }],
    ['remote-access/auto-start', { requester_id: 'u1', session }],
    ['remote-access/ended', { session_id: 's1', reason: 'over' }],
  ];
  const json = await joinEverything(t, url, 'json');
  const messagePack = await joinEverything(t, url, 'messagepack');
  for (const client of json) await forget(client);
  for (const [path, body] of calls) await broadcast(url, path, body);

  for (const client of [...json, ...messagePack]) await catchUp(client);
  assert.deepEqual(messagePack.map(messagesOf), json.map(messagesOf));
  assert.deepEqual(
    json.map(({ received }) => received.length),
    [6, 3, 2, 1],
  );
});

test('JSON values travel natively in MessagePack: integers as integers, other numbers as float64', {
  skip,
}, async (t) => {
  const { url } = await startReferenceBridge(t, { messagePack: true });
  const hubUrl = `${url.replace('http', 'ws')}/hubs/notification?access_token=${await makeToken({ sub: 'u1' }, jwtSecret)}`;
  const socket = new WebSocket(hubUrl);
  t.after(() => socket.terminate());
  const frames: string[] = [];
  socket.on('open', () => socket.send(`{"protocol":"messagepack","version":1}${recordSeparator}`));
  socket.on('message', (bytes: Buffer, isBinary) =>
    frames.push(`${isBinary ? 'binary' : 'text'} ${bytes.toString('hex')}`),
  );
  await until(() => frames.some((frame) => frame.includes(hex('Connected'))), { what: 'the connect to be over' });

  const notification = '{"i":[7,-1,300,0,18446744073709551615],"f":[1.5,1.0,1e3],"n":null,"t":true,"s":"é","i":{}}';
  const body = `{"event_id":"","user_id":"u1","notification":${notification}}`;
  const headers = { 'content-type': 'application/json', 'x-internal-api-key': apiKey };
  await fetch(`${url}/internal/notification/send`, { method: 'POST', headers, body });
  const integers = '9507ffcd012c00cfffffffffffffffff';
  const floats = '93cb3ff8000000000000cb3ff0000000000000cb408f400000000000';
  const map = `86a169${integers}a166${floats}a16ec0a174c3a173a2c3a9a16980`;
  const record = `960180c0ac${hex('Notification')}91${map}90`;
  const expected = `binary ${(record.length / 2).toString(16)}${record}`;
  await until(() => frames.includes(expected), { what: () => `${expected} among\n${frames.join('\n')}` });
});

test('a MessagePack client passes any value on to JSON clients', { skip }, async (t) => {
  const { url } = await startReferenceBridge(t, { messagePack: true });
  const json = await join(t, url, 'remote-access', 'u1');
  const messagePack = await join(t, url, 'remote-access', 'u2', { protocol: 'messagepack' });
  for (const { connection } of [json, messagePack]) await connection.invoke('JoinSession', 's1', 'viewer');
  await messagePack.connection.invoke('SendSdpOffer', 's1', data);
  await messagePack.connection.invoke('SendSignal', 's1', 'Custom', null);
  await assert.rejects(messagePack.connection.invoke('SendSdpOffer', 7, data), /Failed to invoke 'SendSdpOffer'/);
  await catchUp(json);
  assert.deepEqual(messagesOf(json).slice(-2), [
    ['SdpOffer', { sessionId: 's1', payload: data, fromUserId: 'u2' }],
    ['Custom', { sessionId: 's1', payload: null, fromUserId: 'u2' }],
  ]);
});

test('with stateful reconnect a lost transport loses neither the connection nor a message', { skip }, async (t) => {
  const { url } = await startReferenceBridge(t, { statefulReconnects: true });
  const proxy = await startProxy(t, Number(new URL(url).port));
  const client = await join(t, `http://127.0.0.1:${proxy.port}`, 'chat', 'u1', { statefulReconnect: true });
  // By handlers: what goes over the wire twice, because its acknowledgement was lost, is theirs once.
  const handled: unknown[][] = [];
  for (const method of ['RoomJoined', 'TypingIndicator']) {
    client.connection.on(method, (...args) => handled.push([method, ...args]));
  }
  let reconnects = 0;
  client.connection.onreconnecting(() => reconnects++);
  await client.connection.invoke('JoinRoom', 'r1');
  proxy.stall();
  await broadcast(url, 'chat/typing', typing);
  proxy.cut();
  proxy.pass();
  await until(() => handled.length > 1, { what: 'what was on its way when the transport was lost' });
  await catchUp(client);
  assert.deepEqual(handled, [['RoomJoined', 'r1'], shown]);
  assert.equal(client.connection.state, 'Connected');
  assert.equal(reconnects, 0);
});

test('without its switch stateful reconnect is not offered', { skip }, async (t) => {
  const { url } = await startReferenceBridge(t);
  const headers = { authorization: `Bearer ${await makeToken({ sub: 'u1' }, jwtSecret)}` };
  const address = `${url}/hubs/chat/negotiate?negotiateVersion=1&useStatefulReconnect=true`;
  const answer = await fetch(address, { method: 'POST', headers });
  assert.equal(((await answer.json()) as { useStatefulReconnect?: boolean }).useStatefulReconnect, undefined);
});

test('two bridges on one backplane reach the clients of both, behind a front that takes turns', { skip }, async (t) => {
  const redis = await startRedis(t);
  const options = { backplane: redis.url };
  const bridges = [await startReferenceBridge(t, options), await startReferenceBridge(t, options)];
  const front = await startRoundRobin(
    t,
    bridges.map(({ url }) => url),
  );
  const clients = [];
  // Without a negotiate there is only one connection to be given away.
  for (const user of ['u1', 'u2']) clients.push(await join(t, front.url, 'chat', user, { skipNegotiation: true }));
  assert.deepEqual(front.given, [1, 1]);
  for (const { connection } of clients) await connection.invoke('JoinRoom', 'r1');
  await broadcast(bridges[0]!.url, 'chat/typing', typing);
  for (const client of clients) {
    await until(() => client.received.length === 2, { what: 'the broadcast at both bridges' });
    assert.deepEqual(messagesOf(client), [['RoomJoined', 'r1'], shown]);
  }
});

test('broadcasts, methods and connects are as slow as they are told to be', { skip }, async (t) => {
  const slowMs = 600;
  const bridge = await startReferenceBridge(t, { slowMs, testSwitches: true });
  const client = await join(t, bridge.url, 'chat', 'u1');
  const joinMs = () => msOf(() => client.connection.invoke('JoinRoom', 'r1'));
  const broadcastMs = () => msOf(() => broadcast(bridge.url, 'chat/typing', typing));
  // A timer may be a millisecond early by another clock.
  const isSlow = (ms: number) => ms >= slowMs - 1;
  assert.equal(isSlow(await joinMs()), false);
  assert.equal(isSlow(await broadcastMs()), true);

  await bridge.slow(0);
  await bridge.slow(slowMs, 'JoinRoom');
  await bridge.slow(slowMs, 'connect');
  assert.equal(isSlow(await broadcastMs()), false);
  assert.equal(isSlow(await joinMs()), true);
  const other = await join(t, bridge.url, 'notification', 'u2');
  assert.equal(other.received.length, 0, 'the handshake is over, the connect is not');
  await until(() => other.of('Connected').length === 1, { what: 'the slow connect' });
});

test('the delays cannot be set where tests have no business', { skip }, async (t) => {
  const bridge = await startReferenceBridge(t);
  await assert.rejects(bridge.slow(1), /answered 404/);
});

test('rooms are refused by an exception or in silence, users on connect', { skip }, async (t) => {
  const refuse = { throwing: ['throws'], silent: ['silent', 'hush'], users: ['u2'] };
  const { url } = await startReferenceBridge(t, { refuse });
  const joins = { chat: 'JoinRoom', ticket: 'SubscribeToTicket', 'remote-access': 'JoinSession' };
  for (const [hub, method] of Object.entries(joins)) {
    const client = await join(t, url, hub, 'u1');
    const rest = hub === 'remote-access' ? ['viewer'] : [];
    const text = new RegExp(`An unexpected error occurred invoking '${method}' on the server\\.$`);
    await assert.rejects(client.connection.invoke(method, 'throws', ...rest), text);
    for (const room of ['silent', 'hush', 'open']) {
      assert.equal(await client.connection.invoke(method, room, ...rest), null);
    }
    assert.equal(client.received.length, 1, `${hub}: the open room alone is confirmed`);
    await client.connection.stop();
  }

  const client = await join(t, url, 'chat', 'u1');
  for (const room of ['silent', 'open']) await client.connection.invoke('JoinRoom', room);
  await assert.rejects(client.connection.invoke('JoinRoom', 'throws'));
  for (const room of ['throws', 'silent', 'open']) await broadcast(url, 'chat/typing', { ...typing, request_id: room });
  await catchUp(client);
  const openIndicator = ['TypingIndicator', { requestId: 'open', userId: 'u9', isTyping: true }];
  assert.deepEqual(messagesOf(client), [['RoomJoined', 'open'], openIndicator]);

  const refused = await openRaw(t, `${url}/hubs/notification`, await makeToken({ sub: 'u2' }, jwtSecret));
  refused.shakeHands();
  await until(() => refused.closed, { what: 'the refused connection to end' });
  assert.deepEqual(refused.records, ['{}', '{"type":7}']);
});

test("the first attempt's consumer shows and acknowledges whatever is in the streams", { skip }, async (t) => {
  const redis = await startRedis(t);
  const { url } = await startReferenceBridge(t, { streamConsumer: redis.url });
  const chat = await join(t, url, 'chat', 'u1');
  const notification = await join(t, url, 'notification', 'u1');
  await chat.connection.invoke('JoinRoom', 'r1');
  const add = (stream: string, type: string, room: string, payload: object) =>
    client.xadd(stream, '*', ...Object.entries(entryOf(type, room, payload)).flat());
  const client = redis.client();
  await add('events:chat', 'chat_message', 'r1', { content: 'hi' });
  await add('events:ticket', 'nobody_knows_it', 'r1', {});
  await add('events:notification', 'notification', 'u1', { n: 1 });

  await until(() => chat.received.length === 2 && notification.of('Notification').length === 1, {
    what: 'the entries to be shown',
  });
  assert.deepEqual(messagesOf(chat)[1], ['ReceiveMessage', { content: 'hi' }]);
  for (const stream of ['events:chat', 'events:ticket', 'events:notification', 'events:remote']) {
    const pending = async () => ((await client.xpending(stream, 'signalr-consumers')) as unknown[])[0];
    await until(async () => (await pending()) === 0, { what: `${stream} to be acknowledged` });
  }
  await redis.kill9();
  await redis.restart();
  await until(async () => {
    const groups = await client.xinfo('GROUPS', 'events:remote').catch(() => []);
    return (groups as unknown[]).length === 1;
  });
});

test('a killed bridge drops its clients abruptly and comes back on its port', { skip }, async (t) => {
  const bridge = await startReferenceBridge(t);
  const { url } = bridge;
  const client = await openRaw(t, `${url}/hubs/chat`, await makeToken({ sub: 'u1' }, jwtSecret));
  await bridge.kill();
  await until(() => client.closed, { what: 'the connection to break' });
  assert.equal(client.closed?.code, 1006);
  await assert.rejects(fetch(`${url}/health`));
  await bridge.restart();
  assert.equal(bridge.url, url);
  assert.equal((await fetch(`${url}/health`)).status, 200);
});

/** A client of each hub, in all that the calls of a test are sent to. */
async function joinEverything(t: TestContext, url: string, protocol: ConnectOptions['protocol']): Promise<HubClient[]> {
  const joins: Record<string, [method: string, ...args: unknown[]][]> = {
    chat: [['JoinRoom', 'r1']],
    ticket: [['SubscribeToTicket', 'r1'], ['SubscribeToUserTickets']],
    notification: [],
    'remote-access': [['JoinSession', 's1', 'viewer']],
  };
  const clients = [];
  for (const [hub, methods] of Object.entries(joins)) {
    const client = await join(t, url, hub, 'u1', { ...(protocol && { protocol }) });
    for (const [method, ...args] of methods) assert.equal(await client.connection.invoke(method, ...args), null);
    await forget(client);
    clients.push(client);
  }
  return clients;
}

/** The answer comes behind all that was sent to the client before. */
async function catchUp({ connection }: HubClient): Promise<void> {
  await assert.rejects(connection.invoke('Nope'), /Method does not exist/);
}

async function forget(client: HubClient): Promise<void> {
  await catchUp(client);
  client.received.length = 0;
}

function messagesOf({ received }: HubClient): unknown[][] {
  return received.map(({ method, args }) => [method, ...args]);
}

async function broadcast(url: string, path: string, body: object): Promise<void> {
  const answer = await call(url, path, { event_id: '', ...body });
  assert.deepEqual(answer, { status: 200, body: { broadcast: true } }, path);
}

async function msOf(run: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await run();
  return performance.now() - start;
}

function hex(text: string): string {
  return Buffer.from(text).toString('hex');
}

function entryOf(eventType: string, room: string, payload: object): Record<string, string> {
  return {
    event_id: crypto.randomUUID(),
    event_type: eventType,
    timestamp: new Date().toISOString(),
    room_id: room,
    payload: JSON.stringify(payload),
  };
}
