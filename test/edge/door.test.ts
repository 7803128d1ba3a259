// The edge's door over real sockets, in front of hand-made hubs, with time in the test's hand: who gets in, and that whoever
// does not is gone soon, whatever it does.

import assert from 'node:assert/strict';
import { type IncomingMessage, request, type ServerResponse } from 'node:http';
import { connect, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { Door } from '../../src/edge/door.ts';
import type { HubPath } from '../../src/edge/hub-path.ts';
import { addressOf, listenOn } from '../../src/listen.ts';
import { Faults } from '../../src/telemetry/faults.ts';
import { silentLogger } from '../../src/telemetry/logger.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { TestClock } from '../support/clock.ts';
import { until } from '../support/wait.ts';

interface Script {
  answer?(request: IncomingMessage, response: ServerResponse): void | Promise<void>;
  upgrade?(request: IncomingMessage, socket: Socket): void | Promise<void>;
  stalledMs?: number;
}

async function startDoor(t: TestContext, { answer, upgrade, stalledMs }: Script = {}) {
  const asked: { request: IncomingMessage; path: HubPath }[] = [];
  const upgraded: Socket[] = [];
  const clock = new TestClock();
  const metrics = createMetrics();
  const door = new Door(
    {
      answer(request, response, path) {
        asked.push({ request, path });
        return answer?.(request, response);
      },
      upgrade(request, socket) {
        upgraded.push(socket);
        return upgrade?.(request, socket);
      },
    },
    { clock, faults: new Faults(silentLogger, metrics), metrics, stalledMs },
  );
  await listenOn(door.server, { host: '127.0.0.1', port: 0 }, '--edge');
  t.after(() => {
    for (const socket of upgraded) socket.destroy();
    door.server.closeAllConnections();
    door.server.close();
  });
  const { port } = addressOf(door.server);
  const connections = () => {
    const { promise, resolve } = Promise.withResolvers<number>();
    door.server.getConnections((_, count) => resolve(count));
    return promise;
  };
  const count = async (name: string, labels: Record<string, string> = {}) => {
    const { values } = await metrics.registry.getSingleMetric(name)!.get();
    const isMeant = (value: { labels: object }) => Object.entries(labels).every((pair) => has(value.labels, pair));
    return values.find(isMeant)?.value;
  };
  return { door, port, clock, asked, upgraded, connections, count, open: () => open(t, port) };
}

function has(labels: object, [name, value]: [string, string]): boolean {
  return (labels as Record<string, string>)[name] === value;
}

/** A client that speaks byte for byte, and leaves only when the test says so: what the server ends, it does not. */
function open(t: TestContext, port: number) {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  t.after(() => socket.destroy());
  const client = { socket, text: '', ended: false };
  socket.setEncoding('latin1').on('data', (chunk) => {
    client.text += chunk;
  });
  socket.on('error', () => {});
  socket.on('end', () => {
    client.ended = true;
  });
  return client;
}

const get = (path: string, ...headers: string[]) =>
  [`GET ${path} HTTP/1.1`, 'Host: x', ...headers, '', ''].join('\r\n');
const upgradeHeaders = [
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
];
const webSocket = (path: string, ...headers: string[]) => get(path, ...upgradeHeaders, ...headers);

test('a WebSocket asked for behind a request that has no answer yet ends its connection, and nothing else', async (t) => {
  const { open, asked, upgraded, connections, count } = await startDoor(t, {
    answer: (_, response) => void (asked.length > 1 && response.end()),
  });
  const rude = open();
  rude.socket.write(get('/hubs/chat') + webSocket('/hubs/chat'));
  await until(() => rude.ended);
  assert.equal(await connections(), 0);
  assert.deepEqual(upgraded, []);
  const other = open();
  other.socket.write(get('/hubs/chat', 'Connection: close'));
  await until(() => other.ended);
  assert.match(other.text, /^HTTP\/1.1 200 /);
  assert.equal(await count('crossfade_faults_total', { where: 'edge' }), 0, 'it is refused, not caught');
});

test('a WebSocket asked for behind a request that Node would answer by itself is no fault', async (t) => {
  const { open, count } = await startDoor(t, { answer: (_, response) => void response.end() });
  const odd = [
    { request: get('/hubs/chat', 'Expect: a miracle'), answer: /^HTTP\/1.1 200 / },
    { request: 'GET /hubs/chat HTTP/1.1\r\n\r\n', answer: /^HTTP\/1.1 400 / },
  ];
  for (const { request, answer } of odd) {
    const client = open();
    // The upgrade is refused, which is an answer too.
    client.socket.write(request + webSocket('/nothing'));
    await until(() => client.ended);
    const alone = open();
    alone.socket.write(request);
    await until(() => answer.test(alone.text), { what: () => `an answer in place of ${alone.text}` });
  }
  assert.equal(await count('crossfade_faults_total', { where: 'edge' }), 0);
});

test('what the hubs throw or reject with, for a request or an upgrade, ends its connection and is counted', async (t) => {
  const fault = () => {
    throw new Error('fault');
  };
  const { open, connections, count } = await startDoor(t, {
    answer: ({ url }) => (url!.endsWith('later') ? Promise.resolve().then(fault) : fault()),
    upgrade: ({ url }) => (url!.endsWith('later') ? Promise.resolve().then(fault) : fault()),
  });
  const rude = ['/hubs/chat?now', '/hubs/chat?later'].flatMap((path) => [get(path), webSocket(path)]);
  for (const text of rude) {
    const client = open();
    client.socket.write(text);
    await until(() => client.ended);
    assert.equal(await connections(), 0);
  }
  assert.equal(await count('crossfade_faults_total', { where: 'edge' }), rude.length);
});

test('a refused upgrade leaves nothing behind: neither one more byte nor a client that stays keeps its socket', async (t) => {
  const { open, clock, connections } = await startDoor(t);
  const refused = [webSocket('/nowhere'), webSocket('/hubs/../x'), webSocket('/hubs/chat', 'Content-Length: 3')];
  for (const text of refused) {
    const polite = open();
    const staying = open();
    const talking = open();
    for (const client of [polite, staying, talking]) {
      client.socket.write(text);
      await until(() => client.ended);
      assert.match(client.text, /^HTTP\/1.1 40[04] .*\r\n[\s\S]*\r\n\r\n$/);
    }
    talking.socket.write('x');
    talking.socket.end();
    polite.socket.end();
    await until(async () => (await connections()) === 1, { what: 'those that leave to be gone' });
    clock.advance(5_000);
    await until(async () => (await connections()) === 0, { what: 'the one that stays to be gone' });
  }
  assert.equal(clock.timers, 0);
});

test('an upgrade with a body is refused, as by Kestrel', async (t) => {
  const { open, upgraded } = await startDoor(t);
  const bodies = ['Content-Length: 3', 'Transfer-Encoding: chunked'];
  for (const client of bodies.map((header) => ({ ...open(), header }))) {
    const { socket } = client;
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk;
    });
    socket.write(webSocket('/hubs/chat', client.header));
    await until(() => text.endsWith('\r\n\r\n'));
    assert.match(text, /^HTTP\/1.1 400 /);
  }
  const empty = open();
  empty.socket.write(webSocket('/hubs/chat', 'Content-Length: 0'));
  await until(() => upgraded.length === 1);
});

test('a client that resets its connection behind an upgrade with a body ends that connection alone', async (t) => {
  const { open, connections } = await startDoor(t);
  for (let i = 0; i < 20; i++) {
    const { socket } = open();
    // Before, while and after its refusal is written.
    socket.write(webSocket('/hubs/chat', 'Transfer-Encoding: chunked'), () => {
      if (i % 2 === 0) socket.resetAndDestroy();
      else socket.once('data', () => socket.resetAndDestroy());
    });
    await until(async () => socket.destroyed && (await connections()) === 0);
  }
});

test('a plain refusal is the last answer of its connection', async (t) => {
  const { open, connections } = await startDoor(t);
  const client = open();
  client.socket.write(get('/nowhere'));
  await until(() => client.ended);
  assert.match(client.text, /^HTTP\/1.1 404 [\s\S]*Connection: close\r\n/);
  client.socket.end();
  await until(async () => (await connections()) === 0);
});

test('who has its answer and goes on sending is gone 5 s later', async (t) => {
  const { open, clock, connections } = await startDoor(t, {
    answer: (_, response) => void response.writeHead(202).end(),
  });
  const client = open();
  client.socket.write(`POST /hubs/chat HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf`);
  await until(() => client.ended);
  assert.match(client.text, /^HTTP\/1.1 202 /);
  assert.equal(await connections(), 1);
  clock.advance(5_000);
  await until(async () => (await connections()) === 0);
});

test('a request line is read up to 16 KiB and 100 pairs; tokens of a few KB pass', async (t) => {
  const { open, asked, count } = await startDoor(t, { answer: (_, response) => void response.end() });
  const statusOf = async (path: string) => {
    const client = open();
    client.socket.write(get(path, 'Connection: close'));
    await until(() => client.ended);
    return Number(/^HTTP\/1.1 (\d+)/.exec(client.text)?.[1]);
  };
  const pairs = (count: number) => Array.from({ length: count }, (_, i) => `a${i}`).join('&');
  assert.equal(await statusOf(`/hubs/chat?id=x&access_token=${'t'.repeat(12_000)}`), 200);
  assert.equal(asked[0]!.path.query.get('access_token')!.length, 12_000);
  assert.equal(await statusOf(`/hubs/chat?${pairs(100)}`), 200);
  assert.equal(await statusOf(`/hubs/chat?access_token=${'t'.repeat(17_000)}`), 414);
  assert.equal(await statusOf(`/hubs/chat?${pairs(101)}`), 400);
  const upgrade = open();
  upgrade.socket.write(webSocket(`/hubs/chat?${pairs(1_000)}`));
  await until(() => upgrade.ended);
  assert.match(upgrade.text, /^HTTP\/1.1 400 /);
  assert.equal(await count('crossfade_budget_exceeded_total', { budget: 'request_line' }), 3);
  assert.equal(asked.length, 2);
});

test('requests sent ahead are handled one after the other, and a flood of them ends its connection', async (t) => {
  const responses: ServerResponse[] = [];
  const { open, asked, connections, count } = await startDoor(t, {
    answer: (_, response) => void responses.push(response),
  });
  const client = open();
  client.socket.write(get('/hubs/a') + get('/nowhere') + get('/hubs/b') + get('/hubs/c'));
  await until(() => asked.length === 1);
  responses[0]!.end('first');
  // The 404 between them is the last answer of the connection.
  await until(() => client.ended);
  assert.deepEqual(
    asked.map(({ path }) => path.hub),
    ['a'],
  );
  const other = open();
  other.socket.write(get('/hubs/a') + get('/hubs/b'));
  await until(() => asked.length === 2);
  responses[1]!.end();
  await until(() => asked.length === 3);
  other.socket.destroy();
  const flood = open();
  flood.socket.write(get('/hubs/x').repeat(100));
  await until(() => flood.ended);
  assert.deepEqual(
    asked.map(({ path }) => path.hub),
    ['a', 'a', 'b', 'x'],
  );
  assert.equal(await count('crossfade_budget_exceeded_total', { budget: 'pipelined_requests' }), 1);
  client.socket.end();
  await until(async () => (await connections()) === 0);
});

test('a client that takes nothing of its answer is cut, with what waits for it; one that waits for an answer is not', async (t) => {
  const { port, door, asked, connections, count, open } = await startDoor(t, {
    stalledMs: 200,
    answer: ({ url }, response) => void (url!.endsWith('large') && response.end(Buffer.alloc(64 * 1024 * 1024))),
  });
  const waiting = open();
  waiting.socket.write(get('/hubs/chat?waits'));
  const stuck = request({ port, host: '127.0.0.1', path: '/hubs/chat?large', agent: false });
  stuck.on('response', (response) => response.pause()).on('error', () => {});
  t.after(() => stuck.destroy());
  stuck.end();
  await until(() => asked.length === 2);
  await until(
    async () => {
      door.sweep();
      return (await connections()) === 1;
    },
    { what: 'the stuck client to be cut' },
  );
  assert.equal(waiting.ended, false);
  assert.equal(await count('crossfade_edge_slow_clients_total'), 1);
});
