// The percent: which rooms go by stream, that this never changes for a room, and that a proxied client gets both lanes.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bucketOf } from '../../src/rooms/bucket.ts';
import { broadcastsAt, call, startBridge } from '../support/bridge.ts';
import { type Crossfade, startCrossfade } from '../support/process.ts';
import { startRedis } from '../support/redis.ts';
import type { HubClient } from '../support/signalr.ts';
import { until } from '../support/wait.ts';
import { atPercent, join, patient, secrets, startSidecar } from './sidecar.ts';

const rooms = Array.from({ length: 60 }, (_, i) => `room-${i}`);
const streams = ['events:chat', 'events:ticket', 'events:notification', 'events:remote'];

function messageFor(room: string, eventId: string): object {
  const message = { id: eventId, requestId: room, content: 'hi', createdAt: '2026-01-16T10:30:00Z' };
  return { event_id: eventId, request_id: room, message };
}

function roomsSeenBy(client: HubClient): string[] {
  return client.of('ReceiveMessage').map(({ args }) => (args[0] as { requestId: string }).requestId);
}

async function joinAll(client: HubClient): Promise<HubClient> {
  for (const room of rooms) await client.connection.invoke('JoinRoom', room);
  return client;
}

test('at 37 percent the same rooms go by stream on every replica and after a restart', async (t) => {
  const redis = await startRedis(t);
  const bridge = await startBridge(t);
  const flags = [...patient, '--redis', redis.url, '--bridge', bridge.url, '--percent', '37'];
  const byBridge = rooms.filter((room) => bucketOf(room) >= 37);
  assert.ok(byBridge.length > 20 && byBridge.length < rooms.length - 10, 'both lanes have rooms');

  const one = await startSidecar(t, [...flags, '--instance', 'one']);
  const two = await startSidecar(t, flags);
  const client = await joinAll(await join(t, two.edge, 'chat', 'u1'));
  const play = async (replica: Crossfade, round: number) => {
    await atPercent(replica, 37);
    const before = broadcastsAt(bridge).length;
    for (const room of rooms) {
      const answer = await call(replica.listen, 'chat/message', messageFor(room, `${room}-${round}`));
      assert.deepEqual(answer, { status: 200, body: { broadcast: true } });
    }
    const atBridge = broadcastsAt(bridge).slice(before);
    assert.deepEqual(
      atBridge.map(({ body }) => JSON.parse(body.toString()).request_id),
      byBridge,
    );
    await until(() => roomsSeenBy(client).length >= rooms.length * round, { what: 'both lanes' });
  };
  await play(one, 1);
  await play(two, 2);
  assert.deepEqual(await one.process.stop(), { code: 0, signal: null });
  const restarted = await startSidecar(t, [...flags, '--instance', 'one']);
  await play(restarted, 3);
  assert.deepEqual(roomsSeenBy(client).sort(), [...rooms, ...rooms, ...rooms].sort());
});

test('at 0 no event is appended and no id remembered; at 100 the bridge is never called', async (t) => {
  const redis = await startRedis(t);
  const keys = redis.client();
  const bridge = await startBridge(t);
  const none = await startSidecar(t, [...patient, '--redis', redis.url, '--bridge', bridge.url]);
  for (const room of rooms) await call(none.listen, 'chat/message', messageFor(room, room));
  assert.equal(broadcastsAt(bridge).length, rooms.length);
  for (const stream of streams) assert.equal(await keys.xlen(stream), 0);
  assert.deepEqual(await keys.keys('crossfade:id:*'), [], 'at 0 the bridge’s own memory answers repeats');

  const all = await startSidecar(t, [...patient, '--redis', redis.url, '--bridge', bridge.url, '--percent', '100']);
  for (const replica of [none, all]) await atPercent(replica, 100);
  const client = await joinAll(await join(t, none.edge, 'chat', 'u1'));
  for (const room of rooms) {
    const answer = await call(all.listen, 'chat/message', messageFor(room, `${room}-again`));
    assert.deepEqual(answer, { status: 200, body: { broadcast: true } });
  }
  await until(() => roomsSeenBy(client).length === rooms.length, { what: 'the other replica to show what it reads' });
  assert.equal(broadcastsAt(bridge).length, rooms.length);
});

test('the kill switch sends everything by the bridge, whatever the percent says', async (t) => {
  const redis = await startRedis(t);
  const bridge = await startBridge(t);
  const env = { ...secrets, EVENT_TRANSPORT_USE_REDIS_STREAMS: 'false', EVENT_TRANSPORT_REDIS_PERCENTAGE: '100' };
  const { listen } = await startCrossfade(t, ['--redis', redis.url, '--bridge', bridge.url, '--instance', 'k'], env);
  for (const room of rooms) await call(listen, 'chat/message', messageFor(room, room));
  assert.equal(bridge.calls.filter(({ method }) => method === 'POST').length, rooms.length);
  assert.equal(await redis.client().xlen('events:chat'), 0);
});

test('mirroring writes shadow entries and changes nothing for any client', async (t) => {
  const redis = await startRedis(t);
  const keys = redis.client();
  const bridge = await startBridge(t);
  const sidecar = await startSidecar(t, [...patient, '--redis', redis.url, '--bridge', bridge.url, '--mirror']);
  const { listen, edge, admin } = sidecar;
  await until(async () => ((await (await fetch(`${admin}/cutover`)).json()) as { mirror: boolean }).mirror);
  const client = await joinAll(await join(t, edge, 'chat', 'u1'));
  for (const room of rooms) {
    const answer = await call(listen, 'chat/message', messageFor(room, room));
    assert.deepEqual(answer, { status: 200, body: { broadcast: true } });
  }
  await until(async () => (await keys.xlen('crossfade:shadow:events:chat')) === rooms.length);
  for (const stream of streams) assert.equal(await keys.xlen(stream), 0);
  await until(() => roomsSeenBy(client).length === rooms.length);
  assert.deepEqual(roomsSeenBy(client), rooms);
  const metrics = await (await fetch(`${admin}/metrics`)).text();
  assert.match(metrics, /event_dual_write_success_total\{transport="http"\} 60/);
  assert.match(metrics, /event_dual_write_success_total\{transport="redis_streams"\} 60/);
  assert.match(metrics, /event_dual_write_status 1/);
});
