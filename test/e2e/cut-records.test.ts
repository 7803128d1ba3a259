// A client that cuts one of its records over two messages, while rooms move and fences are on their way to its bridge.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { call, jwtSecret } from '../support/bridge.ts';
import { startRedis } from '../support/redis.ts';
import { makeToken, openRaw } from '../support/signalr.ts';
import { until } from '../support/wait.ts';
import { bothBridges, broadcast, force, messageOf } from './operating.ts';
import { patient, startSidecar } from './sidecar.ts';

for (const { name, skip, start } of bothBridges)
  test(`a client in the middle of a record when rooms move stays connected, and misses nothing, in front of ${name}`, {
    skip,
  }, async (t) => {
    const redis = await startRedis(t);
    const sidecar = await startSidecar(t, [...patient, '--redis', redis.url, '--bridge', (await start(t)).url]);
    const client = await openRaw(t, `${sidecar.edge}/hubs/chat`, await makeToken({ sub: 'u1' }, jwtSecret));
    client.shakeHands();
    client.sendRecord({ type: 1, target: 'JoinRoom', arguments: ['r'], invocationId: '1' });
    await until(() => client.records.some((record) => record.includes('"invocationId":"1"')));
    client.send('{"type":1,"target":"JoinRoom","arguments":["s"],"invoca');
    await force(sidecar, 100);
    assert.deepEqual(await call(sidecar.listen, 'chat/message', messageOf('r', 'by stream')), broadcast);
    client.send('tionId":"2"}\x1e');
    await until(() => client.records.some((record) => record.includes('"invocationId":"2"')) || client.closed);
    await until(() => client.records.some((record) => record.includes('by stream')) || client.closed);
    assert.equal(client.closed, undefined);
  });
