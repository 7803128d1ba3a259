// What the contract does not know goes to the bridge byte for byte, and comes back the same way.

import assert from 'node:assert/strict';
import { createServer, type IncomingHttpHeaders, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { apiKey, broadcastsAt, call, startBridge } from '../support/bridge.ts';
import { startRedis } from '../support/redis.ts';
import { until } from '../support/wait.ts';
import { atPercent, patient, startSidecar } from './sidecar.ts';

interface Exchange {
  method: string;
  url: string;
  rawHeaders: string[];
  body: string;
}

/** A bridge that answers everything with a teapot and remembers what it was sent. */
async function startTeapot(t: TestContext): Promise<{ url: string; seen: Exchange[] }> {
  const seen: Exchange[] = [];
  const server = createServer(async (incoming, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk);
    const { method, url, rawHeaders } = incoming;
    seen.push({ method: method!, url: url!, rawHeaders, body: Buffer.concat(chunks).toString() });
    response.writeHead(418, [
      'X-Tea',
      'Earl Grey',
      'Set-Cookie',
      'a=1',
      'Set-Cookie',
      'b=2',
      'Content-Type',
      'text/x-tea',
    ]);
    response.end('short\u0000and stout');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen };
}

function exchange(
  url: string,
  method: string,
  headers: string[],
  body: string,
): Promise<{ status: number; headers: IncomingHttpHeaders; rawHeaders: string[]; body: string }> {
  return new Promise((resolve, reject) => {
    const outgoing = request(url, { method, headers }, async (response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of response) chunks.push(chunk);
      const { statusCode, headers, rawHeaders } = response;
      resolve({ status: statusCode!, headers, rawHeaders, body: Buffer.concat(chunks).toString() });
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

test('unknown requests of any method are forwarded with their headers, and the answers come back as they are', async (t) => {
  const bridge = await startTeapot(t);
  const { listen } = await startSidecar(t, ['--bridge', bridge.url, '--redis', (await startRedis(t)).url]);
  const { host } = new URL(bridge.url);
  for (const [method, path] of [
    ['GET', '/health?x=%2F&y'],
    ['GET', '/internal/stats'],
    ['POST', '/internal/remote-access/control-changed'],
    ['PUT', '/internal/chat/message'],
    ['DELETE', '/any/thing%20else'],
  ] as const) {
    const body = method === 'GET' ? '' : '{"enabled" : true}';
    const headers = [
      'Host',
      'ignored',
      'X-Internal-Api-Key',
      apiKey,
      'X-Odd-CASE',
      'Ünï'.normalize('NFC').replace(/[^\x20-\x7e]/g, '~'),
    ];
    if (body !== '') headers.push('Content-Length', String(body.length));
    const answer = await exchange(
      listen + path,
      method,
      [...headers, 'Connection', 'close, x-hop', 'X-Hop', '1'],
      body,
    );
    assert.equal(answer.status, 418);
    assert.equal(answer.body, 'short\u0000and stout');
    assert.deepEqual(answer.headers['set-cookie'], ['a=1', 'b=2']);
    assert.ok(answer.rawHeaders.includes('X-Tea'));
    const seen = bridge.seen.at(-1)!;
    assert.deepEqual([seen.method, seen.url, seen.body], [method, path, body]);
    const sent = Object.fromEntries(
      Array.from({ length: seen.rawHeaders.length / 2 }, (_, i) => [
        seen.rawHeaders[2 * i]!,
        seen.rawHeaders[2 * i + 1]!,
      ]),
    );
    assert.equal(sent['X-Odd-CASE'], headers[5]);
    assert.equal(sent['X-Internal-Api-Key'], apiKey);
    assert.equal(sent.host ?? sent.Host, host, 'the bridge sees its own name, as without crossfade');
    assert.equal(sent['X-Hop'], undefined);
  }
});

test('calls of the bridge lane arrive with the bytes and headers that the backend sent', async (t) => {
  const bridge = await startBridge(t);
  const { listen } = await startSidecar(t, ['--bridge', bridge.url, '--redis', (await startRedis(t)).url]);
  const body = '{ "event_id":"e1", "request_id":"r", "user_id":"u", "is_typing" : true, "unknown": 1e3 }';
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
  const response = await fetch(`${listen}/internal/Chat/Typing/?q=1`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-internal-api-key': apiKey, traceparent },
    body,
  });
  assert.deepEqual(await response.json(), { broadcast: true });
  const seen = bridge.calls.at(-1)!;
  assert.equal(seen.body.toString(), body);
  assert.equal(seen.url, '/internal/Chat/Typing/?q=1');
  assert.ok(seen.rawHeaders.includes(traceparent));
});

test('a call that the contract refuses is the bridge’s to refuse, at any percent', async (t) => {
  const bridge = await startBridge(t);
  const redis = await startRedis(t);
  const sidecar = await startSidecar(t, [...patient, '--bridge', bridge.url, '--percent', '100', '--redis', redis.url]);
  await atPercent(sidecar, 100);
  const answer = await call(sidecar.listen, 'chat/message', { event_id: 'x' });
  assert.equal(answer.status, 400);
  assert.equal(broadcastsAt(bridge).length, 1);
});

test('a bridge that is down is a 502, one that hangs up a 502, and none of it counts as kept', async (t) => {
  const bridge = await startBridge(t);
  const { listen } = await startSidecar(t, ['--bridge', bridge.url, '--redis', (await startRedis(t)).url]);
  const typing = { event_id: 'e', request_id: 'r', user_id: 'u' };
  bridge.onCall = () => 'reset';
  assert.deepEqual(await call(listen, 'chat/typing', typing), { status: 502, body: { error: 'BRIDGE_UNREACHABLE' } });
  bridge.onCall = () => ({ status: 500 });
  assert.equal((await call(listen, 'chat/typing', typing)).status, 500, 'the bridge’s own failure is passed on');
  bridge.onCall = () => undefined;
  assert.deepEqual(await call(listen, 'chat/typing', typing), { status: 200, body: { broadcast: true } });
  await bridge.close();
  await until(async () => (await call(listen, 'chat/typing', { ...typing, event_id: 'f' })).status === 502);
});
