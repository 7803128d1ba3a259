// Two replicas on one Redis: every client gets every event once and in order, and reads are true over both.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { apiKey, call } from '../support/bridge.ts';
import { spawnCrossfade } from '../support/process.ts';
import { startRedis } from '../support/redis.ts';
import type { HubClient } from '../support/signalr.ts';
import { until } from '../support/wait.ts';
import { join, patient, secrets, startSidecar } from './sidecar.ts';

/** The i-th call of a room: two messages, then a status, so that the room's events lie in two streams. */
function callOf(room: string, i: number): [path: string, body: object] {
  const event_id = `${room}-${i}`;
  if (i % 3 === 2) return ['ticket/task-status', { event_id, request_id: room, status: String(i) }];
  const message = { id: event_id, requestId: room, content: String(i), createdAt: '2026-01-16T10:30:00Z' };
  return ['chat/message', { event_id, request_id: room, message }];
}

/** The numbers of the room's calls as a client saw them. */
function seenIn(room: string, client: HubClient): string[] {
  return client.received.flatMap(({ args }) => {
    const shown = args[0] as { requestId?: string; content?: string; status?: string };
    const number = shown.content ?? shown.status;
    return shown.requestId === room && number !== undefined ? [number] : [];
  });
}

test('clients on either replica get every event once, in the order in which the room’s calls were accepted', async (t) => {
  const redis = await startRedis(t);
  const replicas = [
    await startSidecar(t, [...patient, '--redis', redis.url]),
    await startSidecar(t, [...patient, '--redis', redis.url]),
  ];
  const rooms = ['r0', 'r1', 'r2'];
  const clients: HubClient[] = [];
  for (const [index, { edge }] of replicas.entries()) {
    const client = await join(t, edge, 'chat', `u${index}`);
    for (const room of rooms) await client.connection.invoke('JoinRoom', room);
    clients.push(client);
  }
  const callsPerRoom = 100;
  const makeCalls = async (room: string) => {
    for (let i = 0; i < callsPerRoom; i++) {
      const answer = await call(replicas[i % 2]!.listen, ...callOf(room, i));
      assert.deepEqual(answer, { status: 200, body: { broadcast: true } });
    }
  };
  await Promise.all(rooms.map(makeCalls));

  const expected = Array.from({ length: callsPerRoom }, (_, i) => String(i));
  for (const client of clients) {
    await until(() => rooms.every((room) => seenIn(room, client).length >= callsPerRoom), { what: 'all events' });
    for (const room of rooms) assert.deepEqual(seenIn(room, client), expected);
  }
});

test('a repeat answers duplicate on the other replica and shows once; one made at the same time waits', async (t) => {
  const redis = await startRedis(t);
  const one = await startSidecar(t, [...patient, '--redis', redis.url]);
  const two = await startSidecar(t, [...patient, '--redis', redis.url]);
  const client = await join(t, two.edge, 'chat', 'u1');
  await client.connection.invoke('JoinRoom', 'r0');
  const answers = await Promise.all([one, one, two, two].map(({ listen }) => call(listen, ...callOf('r0', 0))));
  assert.equal(answers.filter(({ body }) => (body as { broadcast?: true }).broadcast).length, 1);
  assert.equal(answers.filter(({ body }) => (body as { duplicate?: true }).duplicate).length, 3);
  const [path, body] = callOf('r0', 0);
  assert.deepEqual(await call(two.listen, path, body), { status: 200, body: { duplicate: true } });
  const typing = { event_id: 'typing', request_id: 'r0', user_id: 'u9', is_typing: true };
  assert.deepEqual(await call(one.listen, 'chat/typing', typing), { status: 200, body: { broadcast: true } });
  assert.deepEqual(await call(two.listen, 'chat/typing', typing), { status: 200, body: { duplicate: true } });
  await call(one.listen, ...callOf('r0', 1));
  await until(() => client.of('ReceiveMessage').length >= 2 && client.of('TypingIndicator').length === 1);
  assert.deepEqual(
    client.of('ReceiveMessage').map(({ args }) => (args[0] as { content: string }).content),
    ['0', '1'],
  );
});

test('stats and online are true over both replicas, and presence keys live as long as the user’s last connection', async (t) => {
  const redis = await startRedis(t);
  const one = await startSidecar(t, [...patient, '--redis', redis.url]);
  const two = await startSidecar(t, [...patient, '--redis', redis.url]);
  const read = async (path: string) => {
    const response = await fetch(`${one.listen}/internal/${path}`, { headers: { 'x-internal-api-key': apiKey } });
    return response.json();
  };
  const desktop = await join(t, one.edge, 'chat?sessionId=desk-1', 'u1');
  const phone = await join(t, two.edge, 'chat', 'u1');
  const other = await join(t, two.edge, 'notification', 'u2');
  await desktop.connection.invoke('JoinRoom', 'r0');
  await phone.connection.invoke('JoinRoom', 'r0');
  await until(async () => ((await read('users/u1/online')) as { connectionCount: number }).connectionCount === 2);
  assert.deepEqual(await read('users/u1/online'), { userId: 'u1', isOnline: true, connectionCount: 2 });
  await until(async () => {
    const { connections, rooms } = (await read('stats')) as { connections: number; rooms: number };
    return connections === 3 && rooms === 2;
  });
  assert.deepEqual(
    await read('stats'),
    { connections: 3, users: 2, rooms: 2, idempotencyEntries: 0 },
    'r0 has members at both',
  );

  const keys = redis.client();
  await until(async () => (await keys.get('presence:desktop:desk-1')) === 'u1');
  assert.deepEqual(await keys.smembers('presence:user:u1'), ['desk-1']);
  const ttl = await keys.ttl('presence:desktop:desk-1');
  assert.ok(ttl > 600 && ttl <= 660, `the key lives for 660 s (${ttl})`);
  await desktop.connection.stop();
  await until(async () => ((await read('users/u1/online')) as { connectionCount: number }).connectionCount === 1);
  assert.equal(await keys.get('presence:desktop:desk-1'), 'u1', 'the user is still connected to the other replica');
  await phone.connection.stop();
  await until(async () => (await keys.exists('presence:desktop:desk-1', 'presence:user:u1')) === 0);
  await other.connection.stop();
});

test('a second process with the same instance name refuses to start', async (t) => {
  const redis = await startRedis(t);
  await startSidecar(t, [...patient, '--redis', redis.url, '--instance', 'pod-1']);
  const addresses = ['--listen', '127.0.0.1:0', '--edge', '127.0.0.1:0', '--admin', '127.0.0.1:0'];
  const second = spawnCrossfade(t, ['serve', '--redis', redis.url, '--instance', 'pod-1', ...addresses], secrets);
  const { code } = await second.exited;
  assert.equal(code, 1);
  assert.match(second.stderr, /pod-1/);
  assert.equal(second.stderr.trim().split('\n').length, 1, 'one clear line');
});

test('a new process replays nothing, and entries of another publisher are delivered', async (t) => {
  const redis = await startRedis(t);
  const keys = redis.client();
  const fields = ['event_type', 'chat_message', 'timestamp', new Date().toISOString(), 'room_id', 'r0'];
  await keys.xadd('events:chat', '*', 'event_id', 'old', ...fields, 'payload', '{"content":"old"}');
  const { edge, admin } = await startSidecar(t, [...patient, '--redis', redis.url]);
  const client = await join(t, edge, 'chat', 'u1');
  await client.connection.invoke('JoinRoom', 'r0');
  await keys.xadd('events:chat', '*', 'event_id', 'bad', ...fields, 'payload', '{"content":');
  await keys.xadd('events:chat', '*', 'nonsense', '1');
  await keys.xadd('events:chat', '*', 'event_id', 'new', ...fields, 'payload', '{"content":1.10}');
  await until(() => client.of('ReceiveMessage').length === 1);
  assert.equal(
    client.of('ReceiveMessage')[0]!.raw,
    '{"type":1,"target":"ReceiveMessage","arguments":[{"content":1.10}]}',
  );
  const metrics = await (await fetch(`${admin}/metrics`)).text();
  assert.match(metrics, /crossfade_entries_malformed_total\{stream="events:chat"\} 2/);
});
