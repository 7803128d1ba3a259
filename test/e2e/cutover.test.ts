// The percent moves live: clients of proxied hubs see every message once and in order, on either lane, without a reconnect.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { call, startBridge } from '../support/bridge.ts';
import { startRedis } from '../support/redis.ts';
import { until } from '../support/wait.ts';
import { binary, join, patient, startSidecar } from './sidecar.ts';

const rooms = Array.from({ length: 20 }, (_, n) => `room-${n}`);

function message(room: string, n: number) {
  const body = { id: `${room}-${n}`, requestId: room, content: String(n), createdAt: '2026-01-16T10:30:00Z' };
  return { event_id: `${room}-${n}`, request_id: room, message: body };
}

test('the binary moves the percent under connected clients, and back', async (t) => {
  const redis = await startRedis(t);
  const bridge = await startBridge(t);
  const flags = [...patient, '--redis', redis.url, '--bridge', bridge.url];
  const one = await startSidecar(t, flags, binary);
  const two = await startSidecar(t, flags, binary);
  const clients = await Promise.all([one, two].map(({ edge }) => join(t, edge, 'chat', 'u1')));
  for (const { connection } of clients) for (const room of rooms) await connection.invoke('JoinRoom', room);

  let n = 0;
  const lanes: number[] = [];
  const play = async () => {
    n++;
    const before = bridge.calls.length;
    for (const [index, room] of rooms.entries()) {
      const { listen } = index % 2 === 0 ? one : two;
      assert.deepEqual(await call(listen, 'chat/message', message(room, n)), {
        status: 200,
        body: { broadcast: true },
      });
    }
    lanes.push(bridge.calls.slice(before).filter(({ method }) => method === 'POST').length);
  };
  const set = async (percent: number) => {
    const body = JSON.stringify({ percent, by: 'test' });
    const answer = await fetch(`${one.admin}/cutover`, { method: 'PUT', body });
    assert.equal(answer.status, 200, await answer.clone().text());
  };
  await play();
  await set(50);
  await play();
  await set(100);
  await play();
  await set(0);
  await play();
  assert.deepEqual([lanes[0], lanes[2], lanes[3]], [rooms.length, 0, rooms.length]);
  assert.ok(lanes[1]! > 0 && lanes[1]! < rooms.length, `${lanes[1]} of ${rooms.length} rooms by the bridge at 50`);
  for (const client of clients) {
    await until(() => client.of('ReceiveMessage').length >= n * rooms.length, {
      what: () => `all messages; got ${client.of('ReceiveMessage').length} of ${n * rooms.length}`,
    });
    for (const room of rooms) {
      const seen = client.of('ReceiveMessage').map(({ args }) => args[0] as { requestId: string; content: string });
      const contents = seen.filter(({ requestId }) => requestId === room).map(({ content }) => content);
      assert.deepEqual(contents, ['1', '2', '3', '4'], room);
    }
  }
});
