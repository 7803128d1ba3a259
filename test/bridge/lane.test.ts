// The bridge lane between a real server that forwards by it and a real bridge: what of an answer is passed on when, and what a
// request leaves behind that cannot be sent on.

import assert from 'node:assert/strict';
import { createServer, type RequestListener, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { type TestContext, test } from 'node:test';
import { BridgeAddresses } from '../../src/bridge/addresses.ts';
import { BridgeLane, certainlyNotSent } from '../../src/bridge/lane.ts';
import { CrossfadeError } from '../../src/errors.ts';
import { systemClock } from '../../src/telemetry/clock.ts';
import { startAwayBridge } from '../support/away-bridge.ts';
import { until } from '../support/wait.ts';

async function listen(t: TestContext, handle: RequestListener, keepAliveTimeout = 5_000): Promise<string> {
  const server: Server = createServer({ keepAliveTimeout }, handle);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** A server that forwards everything by the lane, and answers a failure with its code. */
async function startForwarder(t: TestContext, bridgeUrl: string, timeoutMs = 10_000) {
  const addresses = await BridgeAddresses.open([bridgeUrl], { clock: systemClock });
  const lane = new BridgeLane({ addresses, calls: 'one', timeoutMs });
  t.after(async () => {
    addresses.close();
    await lane.close();
  });
  const url = await listen(t, (request, response) => {
    lane.forward(request, response, request.url!).catch((error) => {
      if (response.headersSent) response.destroy();
      else response.writeHead(502).end((error as CrossfadeError).code);
    });
  });
  return { lane, url };
}

const post = (body: string) => `POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n${body}`;

for (const way of ['hangs', 'hangs after the headers'] as const) {
  test(`a backend that leaves takes its request with it, whether its body had come or not (the bridge ${way})`, async (t) => {
    const bridge = await startAwayBridge(t);
    bridge.way = way;
    const { lane, url } = await startForwarder(t, bridge.url);
    const sockets = ['', 'x', 'x'.repeat(100)].map((body) => {
      const socket = connect(Number(new URL(url).port), '127.0.0.1').on('error', () => {});
      socket.write(post(body));
      return socket;
    });
    // A request goes out with the first bytes of its body.
    await until(() => lane.inFlight === 3 && bridge.requests === 2, { what: 'the requests to be at the bridge' });
    for (const socket of sockets) socket.destroy();
    await until(() => lane.inFlight === 0 && bridge.connections === 0, {
      what: () => `nothing to be left; ${lane.inFlight} requests, ${bridge.connections} connections are`,
    });
  });
}

test('a request whose body could not be sent on is answered, and its connection goes on', async (t) => {
  const bridge = await startAwayBridge(t);
  await bridge.down();
  const { url } = await startForwarder(t, bridge.url);
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  t.after(() => socket.destroy());
  let answers = '';
  socket.on('data', (data) => {
    answers += data;
  });
  for (let count = 1; count <= 3; count++) {
    socket.write(post('x'.repeat(100)));
    await until(() => answers.split('BRIDGE_UNREACHABLE').length === count + 1, { what: `answer ${count}` });
  }
});

test('what streams is passed on as it comes, however little it is', async (t) => {
  const stream = Promise.withResolvers<import('node:http').ServerResponse>();
  const bridgeUrl = await listen(t, (_, response) => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' }).write('data: 1\n\n');
    stream.resolve(response);
  });
  const { url } = await startForwarder(t, bridgeUrl);
  const reader = (await fetch(url)).body!.pipeThrough(new TextDecoderStream()).getReader();
  assert.deepEqual(await reader.read(), { done: false, value: 'data: 1\n\n' });
  (await stream.promise).end('data: 2\n\n');
  assert.deepEqual(await reader.read(), { done: false, value: 'data: 2\n\n' });
  assert.equal((await reader.read()).done, true);
});

test('a long answer is passed on whole', async (t) => {
  const long = Buffer.alloc(5_000_000, 'abcdefg');
  const { url } = await startForwarder(t, await listen(t, (_, response) => response.end(long)));
  assert.ok(Buffer.from(await (await fetch(url)).arrayBuffer()).equals(long));
});

test('the answer to a call is not gathered without a bound', async (t) => {
  const bridgeUrl = await listen(t, (_, response) => response.end(Buffer.alloc(5_000_000)));
  const { lane } = await startForwarder(t, bridgeUrl);
  const request = { method: 'POST', url: '/', rawHeaders: [], body: Buffer.alloc(0) };
  await assert.rejects(lane.send(request), (error) => {
    assert.ok(error instanceof CrossfadeError);
    assert.equal(error.code, 'BRIDGE_UNREACHABLE');
    assert.match(error.message, /more than 1048576 bytes/);
    return true;
  });
});

test('nothing is kept of an address that is gone, but what is under way there is answered', async (t) => {
  const answersNow = Promise.withResolvers<void>();
  let isGone = false;
  const handle: RequestListener = (request, response) => {
    request.socket.once('close', () => {
      isGone = true;
    });
    answersNow.promise.then(() => response.end('old'));
  };
  // It would keep the connection for long.
  const oldUrl = await listen(t, handle, 600_000);
  const newUrl = await listen(t, (_, response) => response.end('new'));
  const [before, after] = await Promise.all(
    [oldUrl, newUrl].map((url) => BridgeAddresses.open([url], { clock: systemClock })),
  );
  let current = before!;
  const addresses = {
    get all() {
      return current.all;
    },
    next: () => current.next(),
    answered() {},
    refused() {},
  } as unknown as BridgeAddresses;
  const lane = new BridgeLane({ addresses, calls: 'one' });
  t.after(async () => {
    for (const each of [before!, after!]) each.close();
    await lane.close();
  });
  const call = { method: 'POST', url: '/', rawHeaders: [], body: Buffer.from('{}') };
  const late = lane.send(call);
  current = after!;
  assert.equal((await lane.send(call)).body.toString(), 'new');
  answersNow.resolve();
  assert.equal((await late).body.toString(), 'old');
  await until(() => isGone, { what: 'the end of its connection' });
});

test('of several bridges that get every call one is enough to have shown it: only where none was reached it was certainly not sent', async (t) => {
  const up = await listen(t, (_, response) => response.end('{"broadcast":true}'));
  const breaks = await listen(t, ({ socket }) => socket.destroy());
  const refusing = async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as AddressInfo;
    await new Promise((resolve) => server.close(resolve));
    return `http://127.0.0.1:${port}`;
  };
  const [one, two] = [await refusing(), await refusing()];
  const request = { method: 'POST', url: '/', rawHeaders: [], body: Buffer.from('{}') };
  for (const [urls, expected] of [
    [[one, two], true],
    [[up, one], false],
    [[one, breaks], false],
    [[breaks], false],
  ] as const) {
    const addresses = await BridgeAddresses.open([...urls], { clock: systemClock });
    const lane = new BridgeLane({ addresses, calls: 'all' });
    const error = await lane.send(request).catch((failure) => failure);
    assert.equal((error as CrossfadeError).code, 'BRIDGE_UNREACHABLE');
    assert.equal(certainlyNotSent(error), expected, (error as Error).message);
    addresses.close();
    await lane.close();
  }
});
