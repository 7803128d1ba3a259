// Every method of the four hubs with the real client: what the caller gets, and what the others get, on the caller's
// replica and on another one.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startRedis } from '../support/redis.ts';
import { until } from '../support/wait.ts';
import { binary, join, patient, startSidecar } from './sidecar.ts';
import { clientKinds, hubNames, playHub } from './test-drive.ts';

test('the binary gives every hub method its effects, on one replica and across two', async (t) => {
  const redis = await startRedis(t);
  const one = await startSidecar(t, [...patient, '--redis', redis.url], binary);
  const two = await startSidecar(t, [...patient, '--redis', redis.url], binary);
  for (const hub of hubNames) {
    await t.test(`${hub} on one replica`, (t) => playHub(t, hub, one.edge, one.edge));
    await t.test(`${hub} across replicas`, (t) => playHub(t, hub, one.edge, two.edge));
  }
});

test('clients of every transport and protocol drive all hubs, and reach those of every other', async (t) => {
  const redis = await startRedis(t);
  const { edge } = await startSidecar(t, [...patient, '--redis', redis.url]);
  const kinds = Object.entries(clientKinds);
  for (const [index, [name, caller]] of kinds.entries()) {
    const [otherName, other] = kinds[(index + 1) % kinds.length]!;
    for (const hub of hubNames) {
      await t.test(`${hub}: ${name} to ${otherName}`, (t) => playHub(t, hub, edge, edge, { caller, other }));
    }
  }
});

test('the other participant of a session on another replica learns that one has vanished', async (t) => {
  const redis = await startRedis(t);
  const one = await startSidecar(t, [...patient, '--redis', redis.url]);
  const two = await startSidecar(t, [...patient, '--redis', redis.url]);
  const agent = await join(t, one.edge, 'remote-access', 'u1');
  const requester = await join(t, two.edge, 'remote-access', 'u2');
  await agent.connection.invoke('JoinSession', 's1', 'agent');
  await requester.connection.invoke('JoinSession', 's1', 'requester');
  await agent.connection.stop();
  await until(() => requester.of('ParticipantLeft').length === 1);
  assert.deepEqual(requester.of('ParticipantLeft')[0]!.args, [{ sessionId: 's1', userId: 'u1' }]);
});

test('the errors of hub methods are those of ASP.NET', async (t) => {
  const redis = await startRedis(t);
  const { edge } = await startSidecar(t, [...patient, '--redis', redis.url]);
  const { connection } = await join(t, edge, 'chat', 'u1');
  const failed = "Failed to invoke 'JoinRoom' due to an error on the server.";
  await assert.rejects(connection.invoke('JoinRoom', 5), { message: failed });
  await assert.rejects(connection.invoke('joinroom'), { message: failed });
  await assert.rejects(connection.invoke('Nope'), {
    message: "Failed to invoke 'Nope' due to an error on the server. HubException: Method does not exist.",
  });
  await connection.send('Nope');
  assert.equal(await connection.invoke('JoinRoom', 'r1'), null, 'a failed send without an id is answered by nothing');
});
