// Every call of the backend, end to end: its HTTP, a real Redis, the real client; and what is refused.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { call } from '../support/bridge.ts';
import { startRedis } from '../support/redis.ts';
import { until } from '../support/wait.ts';
import { join, patient, programs, startSidecar } from './sidecar.ts';
import { clientKinds, message, playCalls } from './test-drive.ts';

test('every call of the contract reaches clients of every transport and protocol, to the letter', async (t) => {
  const redis = await startRedis(t);
  const { listen, edge } = await startSidecar(t, [...patient, '--redis', redis.url]);
  await playCalls(t, { listen, edge }, Object.values(clientKinds));
});

for (const { name, options } of programs) {
  test(`${name} delivers every call of the contract on Redis, to the letter`, async (t) => {
    const redis = await startRedis(t);
    const { listen, edge } = await startSidecar(t, [...patient, '--redis', redis.url], options);
    await playCalls(t, { listen, edge });
  });

  test(`${name} refuses what the bridge refuses, and delivers none of it`, async (t) => {
    const redis = await startRedis(t);
    const { listen, edge } = await startSidecar(t, [...patient, '--redis', redis.url], options);
    const chat = await join(t, edge, 'chat', 'u1');
    await chat.connection.invoke('JoinRoom', 'r1');
    const good = { event_id: 'x', request_id: 'r1', message };
    assert.equal((await call(listen, 'chat/nope', good)).status, 404);
    assert.equal((await call(listen, 'remote-access/control-changed', good)).status, 404);
    assert.equal((await call(listen, 'chat/message', good, 'wrong')).status, 403);
    assert.equal((await fetch(`${listen}/internal/chat/message`, { method: 'POST' })).status, 401);
    const { status, body } = await call(listen, 'chat/message', { event_id: 'x', message });
    assert.equal(status, 400);
    assert.match(JSON.stringify(body), /request_id/);
    const tooLarge = await call(listen, 'chat/message', { ...good, filler: 'x'.repeat(30_000_000) }).catch(
      () => undefined,
    );
    assert.ok(tooLarge === undefined || tooLarge.status === 413);
    assert.deepEqual(await call(listen, 'chat/message', good), { status: 200, body: { broadcast: true } });
    await until(() => chat.of('ReceiveMessage').length === 1);
    assert.equal(chat.received.length, 2, 'RoomJoined and the one good message');
  });

  test(`${name} never takes an empty event_id for a duplicate`, async (t) => {
    const redis = await startRedis(t);
    const { listen, edge } = await startSidecar(t, [...patient, '--redis', redis.url], options);
    const chat = await join(t, edge, 'chat', 'u1');
    await chat.connection.invoke('JoinRoom', 'r1');
    for (let i = 0; i < 3; i++) {
      const answer = await call(listen, 'chat/message', { event_id: '', request_id: 'r1', message });
      assert.deepEqual(answer, { status: 200, body: { broadcast: true } });
    }
    await until(() => chat.of('ReceiveMessage').length === 3);
  });
}
