// The log fails or is slow: calls fall back to the bridge with the reason counted, or are refused where they cannot.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { join, secrets, startSidecar } from '../e2e/sidecar.ts';
import { call, startBridge } from '../support/bridge.ts';
import { spawnCrossfade } from '../support/process.ts';
import { startRedis } from '../support/redis.ts';
import { until } from '../support/wait.ts';

function messageFor(id: string): object {
  const message = { id, requestId: 'r', content: 'hi', createdAt: '2026-01-16T10:30:00Z' };
  return { event_id: id, request_id: 'r', message };
}

async function metric(admin: string, line: RegExp): Promise<boolean> {
  return line.test(await (await fetch(`${admin}/metrics`)).text());
}

test('while Redis is down calls go to the bridge, the reason is counted, and the stream lane comes back by itself', async (t) => {
  const redis = await startRedis(t, { appendfsync: 'always' });
  const bridge = await startBridge(t);
  const { listen, edge, admin } = await startSidecar(t, [
    '--redis',
    redis.url,
    '--bridge',
    bridge.url,
    '--percent',
    '100',
  ]);
  const atBridge = await join(t, bridge.url, 'chat', 'u1');
  const native = await join(t, edge, 'chat', 'u2');
  for (const client of [atBridge, native]) await client.connection.invoke('JoinRoom', 'r');
  await redis.kill9();
  assert.deepEqual(await call(listen, 'chat/message', messageFor('a')), { status: 200, body: { broadcast: true } });
  await until(() => atBridge.of('ReceiveMessage').length === 1);
  assert.ok(await metric(admin, /event_transport_fallback_total\{reason="connection_lost"\} 1/));
  assert.equal((await fetch(`${admin}/readyz`)).status, 200, 'ready, for calls can fall back');
  assert.deepEqual(await call(listen, 'chat/message', messageFor('a')), { status: 200, body: { duplicate: true } });

  await redis.restart();
  let n = 0;
  await until(async () => {
    await call(listen, 'chat/message', messageFor(`later-${++n}`));
    return native.of('ReceiveMessage').length > 0;
  });
  const shown = () => [...atBridge.of('ReceiveMessage'), ...native.of('ReceiveMessage')].map(({ raw }) => raw);
  await until(() => shown().length >= 1 + n, { what: 'every call on one lane or the other' });
  assert.equal(new Set(shown()).size, 1 + n, 'each call once');
  assert.equal(shown().length, 1 + n);
});

test('a log slower than the publish timeout: the call goes to the bridge, and the log writes no ghost later', async (t) => {
  const redis = await startRedis(t);
  const bridge = await startBridge(t);
  const flags = ['--redis', redis.url, '--bridge', bridge.url, '--percent', '100', '--publish-timeout', '60'];
  const { listen, admin } = await startSidecar(t, flags);
  redis.pause();
  assert.deepEqual(await call(listen, 'chat/message', messageFor('slow')), { status: 200, body: { broadcast: true } });
  assert.equal(bridge.calls.length, 1);
  assert.ok(await metric(admin, /event_transport_fallback_total\{reason="timeout"\} 1/));
  redis.resume();
  const keys = redis.client();
  let n = 0;
  await until(async () => {
    await call(listen, 'chat/message', messageFor(`later-${++n}`));
    return (await keys.xlen('events:chat')) > 0;
  });
  const entries = await keys.xrange('events:chat', '-', '+');
  assert.ok(!JSON.stringify(entries).includes('"slow"'), 'the call that went to the bridge is not in the log');
});

test('without a fallback a call that the log cannot take is a 503 that says when to come again', async (t) => {
  const redis = await startRedis(t);
  const { listen, admin } = await startSidecar(t, ['--redis', redis.url]);
  await redis.kill9();
  const response = await fetch(`${listen}/internal/chat/message`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-internal-api-key': 'test-api-key' },
    body: JSON.stringify(messageFor('a')),
  });
  assert.equal(response.status, 503);
  assert.equal(response.headers.get('retry-after'), '1');
  assert.equal((await fetch(`${admin}/readyz`)).status, 503);
  await redis.restart();
  await until(async () => (await call(listen, 'chat/message', messageFor('a'))).status === 200);
});

test('a sidecar that starts while Redis is down sends every call to the bridge, and opens its edge when Redis is there', async (t) => {
  const redis = await startRedis(t, { appendfsync: 'always' });
  const bridge = await startBridge(t);
  await redis.kill9();
  const flags = ['--redis', redis.url, '--bridge', bridge.url, '--percent', '100', '--instance', 'early'];
  const addresses = ['--listen', '127.0.0.1:0', '--edge', '127.0.0.1:0', '--admin', '127.0.0.1:0'];
  const process = spawnCrossfade(t, ['serve', ...addresses, ...flags], secrets);
  const lineWith = (msg: string) => process.lines.find((line) => line.msg === msg);
  const open = await until(() => lineWith('the backend side is open'), {
    what: () => process.stdout,
    timeoutMs: 15_000,
  });
  const answer = await call(`http://${open.listen}`, 'chat/message', messageFor('a'));
  assert.deepEqual(answer, { status: 200, body: { broadcast: true } });
  assert.equal(bridge.calls.length, 1);
  const ready = await fetch(`http://${open.admin}/readyz`);
  assert.equal(ready.status, 503);
  await redis.restart();
  const { edge, listen } = await until(() => lineWith('ready'), { what: () => process.stdout, timeoutMs: 15_000 });
  const client = await join(t, `http://${edge}`, 'chat', 'u1');
  await client.connection.invoke('JoinRoom', 'r');
  await call(`http://${listen}`, 'chat/message', messageFor('b'));
  await until(() => client.of('ReceiveMessage').length === 1);
  assert.equal(bridge.calls.length, 1);
  assert.deepEqual(await process.stop(), { code: 0, signal: null });
});

test('a sidecar that still waits for Redis ends at once on SIGTERM; without a bridge it does not start at all', async (t) => {
  const redis = await startRedis(t);
  const bridge = await startBridge(t);
  await redis.kill9();
  const addresses = ['--listen', '127.0.0.1:0', '--edge', '127.0.0.1:0', '--admin', '127.0.0.1:0'];
  const flags = ['--redis', redis.url, '--instance', 'early'];
  const waiting = spawnCrossfade(t, ['serve', ...addresses, ...flags, '--bridge', bridge.url], secrets);
  await until(() => waiting.stdout.includes('the backend side is open'), {
    what: () => waiting.stdout,
    timeoutMs: 15_000,
  });
  assert.deepEqual(await waiting.stop(), { code: 0, signal: null });
  const alone = spawnCrossfade(t, ['serve', ...addresses, ...flags], secrets);
  assert.equal((await alone.exited).code, 1);
  assert.match(alone.stderr, /^crossfade: Redis at 127\.0\.0\.1:\d+ did not answer within 5 s\n$/);
});
