// What no boundary may let through to the core, and what happens when something reaches it all the same.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { join, patient, startSidecar } from '../e2e/sidecar.ts';
import { call } from '../support/bridge.ts';
import { startRedis } from '../support/redis.ts';
import { until } from '../support/wait.ts';

test('replicas live through whatever another program or release writes into the control stream', async (t) => {
  const redis = await startRedis(t);
  const start = () => startSidecar(t, [...patient, '--redis', redis.url]);
  const [a, b] = [await start(), await start()];
  const client = await join(t, b.edge, 'chat', 'reader');
  await client.connection.invoke('JoinRoom', 'r');
  const writer = redis.client();
  const payloads = [
    'null',
    '7',
    '{}',
    '{"kind":7}',
    '{"kind":"commit"}',
    '{"kind":"commit","id":"i","from":{"epoch":0},"to":{"epoch":9,"percent":5,"pins":null},"participants":[]}',
    '{"kind":"restored","to":{"epoch":9,"percent":5,"pins":null}}',
    '{"kind":"late fence","id":7,"instance":"a"}',
    '{"kind":"ready","id":"i"}',
    '{"kind":"of another release"}',
    'not JSON',
  ];
  for (const payload of payloads) {
    await writer.xadd('crossfade:control', '*', 'event_type', 'control', 'room_id', '', 'payload', payload);
  }
  await writer.xadd('crossfade:control', '*', 'a', 'b');
  const body = { request_id: 'r', update: { type: 'assigned', data: {}, requestId: 'r' } };
  assert.equal((await call(a.listen, 'ticket/update', { event_id: 'e', ...body })).status, 200);
  const isShown = () => client.received.some(({ method }) => method === 'TicketUpdate');
  await until(isShown, { what: 'the event behind the notes' });
  for (const { admin, process } of [a, b]) {
    const metrics = await (await fetch(`${admin}/metrics`)).text();
    assert.match(metrics, /crossfade_entries_malformed_total\{stream="crossfade:control"\} 11\n/);
    assert.match(metrics, /crossfade_faults_total\{where="note"\} 0\n/);
    assert.ok(process.lines.filter(({ msg }) => msg === 'a malformed entry was set aside').length < 11, 'said seldom');
    assert.equal(process.exit, undefined);
  }
});

test('what no boundary has caught drains the replica and ends it with code 1, told and counted', async (t) => {
  for (const fault of ["throw new Error('uncaught')", "Promise.reject(new Error('uncaught'))"]) {
    const preload = encodeURIComponent(`process.on('SIGUSR2', () => { ${fault}; });`);
    const { process: running } = await startSidecar(t, ['--redis', (await startRedis(t)).url], {
      env: { NODE_OPTIONS: `--import=data:text/javascript,${preload}` },
    });
    globalThis.process.kill(running.pid, 'SIGUSR2');
    assert.deepEqual(await running.exited, { code: 1, signal: null }, fault);
    const said = running.lines.map(({ msg }) => msg);
    for (const line of ['a fault was caught at the boundary', 'draining', 'stopped'])
      assert.ok(said.includes(line), line);
    assert.equal(running.stderr, '', 'no stack');
    assert.equal(running.lines.find(({ where }) => where === 'core')?.level, 'error');
  }
});
