// The front without affinity: whose turn it is, and what it passes on.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { startRoundRobin } from './round-robin.ts';

async function startServer(t: TestContext, serve: (socket: Socket) => void): Promise<string> {
  const server = createServer({ allowHalfOpen: true }, (socket) => serve(socket.on('error', () => {})));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  t.after(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function dial(url: string): Socket {
  return connect({ host: '127.0.0.1', port: Number(new URL(url).port), allowHalfOpen: true });
}

test('connections go to the servers in turn', async (t) => {
  const urls = [];
  for (const name of ['a', 'b', 'c']) urls.push(await startServer(t, (socket) => socket.end(name)));
  const front = await startRoundRobin(t, urls);
  const answers = [];
  for (let count = 0; count < 4; count++) answers.push(await text(dial(front.url).end()));
  assert.deepEqual(answers, ['a', 'b', 'c', 'a']);
  assert.deepEqual(front.given, [2, 1, 1]);
});

test('a request that is finished is still answered in full', async (t) => {
  const large = 'x'.repeat(4_000_000);
  const url = await startServer(t, (socket) => socket.resume().on('end', () => socket.end(large)));
  const front = await startRoundRobin(t, [url]);
  assert.equal((await text(dial(front.url).end('request'))).length, large.length);
});

test('an abrupt loss of the server is one for the client, and a refusal too', async (t) => {
  const url = await startServer(t, (socket) => socket.once('data', () => socket.resetAndDestroy()));
  const nobody = 'http://127.0.0.1:1';
  const front = await startRoundRobin(t, [url, nobody]);
  for (const what of ['loss', 'refusal']) {
    const client = dial(front.url);
    client.write('x');
    const [error] = await once(client, 'error');
    assert.equal(error.code, 'ECONNRESET', what);
  }
});
