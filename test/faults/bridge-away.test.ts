// The bridge is away, in every way that it can be: each call of the legacy contract, known or not, good or not, with a body or
// without, gets an answer that says so, and the process lives on and carries the next calls.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { loadContract } from '../../src/contract/load.ts';
import { startSidecar } from '../e2e/sidecar.ts';
import { callBodies } from '../e2e/test-drive.ts';
import { type AwayBridge, startAwayBridge, type Way } from '../support/away-bridge.ts';
import { apiKey, call } from '../support/bridge.ts';
import type { Crossfade } from '../support/process.ts';
import { startRedis } from '../support/redis.ts';
import { until } from '../support/wait.ts';

interface Ask {
  method: string;
  path: string;
  body?: string;
  chunked?: boolean;
}

const contractFile = new URL('../../src/contract/support-center.yaml', import.meta.url);
const contract = loadContract(readFileSync(contractFile, 'utf8'), 'support-center.yaml');

/** Everything that the backend calls, what it might call, and what it should not. */
function asks(): Ask[] {
  const known = contract.calls.flatMap(({ path: name }): Ask[] => {
    const good = callBodies.get(name);
    assert.ok(good, `a good body for ${name}`);
    const path = `/internal/${name}`;
    const body = JSON.stringify({ event_id: randomUUID(), ...good });
    return [
      { method: 'POST', path, body },
      { method: 'POST', path, body: JSON.stringify({ event_id: randomUUID(), ...good }), chunked: true },
      { method: 'POST', path, body: '{"event_id":' },
      { method: 'PUT', path, body },
    ];
  });
  const controlChanged = '{"event_id":"c","session_id":"s","enabled":true}';
  return [
    ...known,
    { method: 'POST', path: '/internal/remote-access/control-changed', body: controlChanged },
    { method: 'POST', path: '/internal/remote-access/control-changed', body: controlChanged, chunked: true },
    { method: 'POST', path: '/internal/remote-access/control-changed' },
    { method: 'GET', path: '/internal/stats' },
    { method: 'GET', path: '/internal/users/u1/online' },
    { method: 'GET', path: '/health' },
    { method: 'POST', path: '/health', body: 'a' },
    { method: 'POST', path: '/nope', body: 'x'.repeat(1_000_000) },
    { method: 'DELETE', path: '/internal/nope', body: '{}' },
    { method: 'POST', path: '/hubs/chat/negotiate?negotiateVersion=1' },
  ];
}

/** @returns the status; 0 where the connection ended without an answer */
function ask(listen: string, { method, path, body, chunked }: Ask): Promise<number> {
  const { hostname, port } = new URL(listen);
  const framing = body === undefined || chunked ? {} : { 'content-length': Buffer.byteLength(body) };
  const headers = { 'content-type': 'application/json', 'x-internal-api-key': apiKey, ...framing };
  return new Promise((resolve) => {
    const outgoing = request({ hostname, port, method, path, headers, agent: false }, (answer) => {
      text(answer).then(
        () => resolve(answer.statusCode!),
        () => resolve(0),
      );
    });
    outgoing.on('error', () => resolve(0));
    outgoing.end(body);
  });
}

async function assertAnswered(listen: string, bridge: AwayBridge, way: Way | 'is down', status: number) {
  if (way === 'is down') await bridge.down();
  else bridge.way = way;
  const open = asks();
  const statuses = await Promise.all(open.map((each) => ask(listen, each)));
  const wrong = open.flatMap((each, i) =>
    statuses[i] === status ? [] : [`${each.method} ${each.path}: ${statuses[i]}`],
  );
  assert.deepEqual(wrong, [], `the bridge ${way}: all should be ${status}`);
}

async function assertCarries({ listen, process }: Crossfade, bridge: AwayBridge): Promise<void> {
  bridge.way = 'answers';
  await bridge.up().catch(() => {});
  const typing = { event_id: '', request_id: 'r', user_id: 'u' };
  await until(async () => (await call(listen, 'chat/typing', typing)).status === 200, { timeoutMs: 15_000 });
  assert.equal(process.exit, undefined);
}

async function start(t: TestContext) {
  const bridge = await startAwayBridge(t);
  const redis = await startRedis(t);
  return { bridge, sidecar: await startSidecar(t, ['--bridge', bridge.url, '--redis', redis.url]) };
}

const outcomes: [way: Way | 'is down', status: number][] = [
  ['is down', 502],
  ['hangs', 504],
  ['hangs after the headers', 504],
  ['resets at once', 502],
  ['closes at once', 502],
  ['closes after the headers', 502],
  ['closes in the middle of its answer', 502],
  ['closes in the middle of a chunked answer', 502],
  ['resets in the middle of its answer', 502],
  ['answers with 500', 500],
  ['answers with 503 and closes', 503],
  ['answers with what is no HTTP', 502],
  ['answers slowly', 200],
];

test('every call is answered whatever the bridge does instead of answering, and the process lives on', async (t) => {
  const { bridge, sidecar } = await start(t);
  for (const [way, status] of outcomes) {
    await t.test(`the bridge ${way}`, async () => {
      await assertAnswered(sidecar.listen, bridge, way, status);
      await assertCarries(sidecar, bridge);
    });
  }
});

test('a bridge whose headers cannot be passed on is a failure like any other', async (t) => {
  const { bridge, sidecar } = await start(t);
  bridge.way = 'answers with a header that is none';
  for (const each of asks()) assert.ok((await ask(sidecar.listen, each)) >= 500, `${each.method} ${each.path}`);
  await assertCarries(sidecar, bridge);
});

test('clients that leave at any moment, and requests that cannot be sent on, end alone', async (t) => {
  const { bridge, sidecar } = await start(t);
  const { port } = new URL(sidecar.listen);
  const key = `X-Internal-Api-Key: ${apiKey}`;
  const rude = [
    'OPTIONS * HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na',
    'POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789',
    'POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n01234',
    'POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n',
    'POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\nnonsense\r\n',
    'GET /x HTTP/1.1\r\nHost: x\r\n\r\n',
    `PUT /internal/chat/message HTTP/1.1\r\nHost: x\r\n${key}\r\nContent-Length: 10\r\n\r\n01234`,
    `POST /internal/chat/message HTTP/1.1\r\nHost: x\r\n${key}\r\nContent-Length: 2\r\n\r\n{}`,
    `POST /internal/chat/message HTTP/1.1\r\nHost: x\r\n${key}\r\nContent-Length: 20\r\n\r\n{}`,
    'CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n',
    'GET /hubs/chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\n{',
  ];
  for (const way of ['answers', 'hangs', 'resets at once', 'answers slowly'] as const) {
    bridge.way = way;
    for (let i = 0; i < rude.length * 10; i++) {
      const socket = connect(Number(port), '127.0.0.1');
      socket.on('error', () => {});
      socket.write(rude[i % rude.length]!);
      // Somewhere between the connection and the answer.
      await sleep(i % 7);
      if (i % 2 === 0) socket.destroy();
      else socket.resetAndDestroy();
    }
    assert.equal(sidecar.process.exit, undefined, sidecar.process.stderr);
  }
  await assertCarries(sidecar, bridge);
});
