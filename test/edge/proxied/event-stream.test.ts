// Server-sent events through the proxied edge, against a bridge that the tests script.

import assert from 'node:assert/strict';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { type TestContext, test } from 'node:test';
import { until } from '../../support/wait.ts';
import { type Asked, startScriptedBridge } from './scripted-bridge.ts';
import { startProxiedEdge } from './setup.ts';

interface Stream {
  response: IncomingMessage;
  outgoing: ClientRequest;
  text(): string;
  /** How it ended. */
  ended(): 'whole' | 'broken' | undefined;
}

function openStream(t: TestContext, url: string, headers: Record<string, string> = {}): Promise<Stream> {
  return new Promise((resolve, reject) => {
    const outgoing = request(url, { headers: { accept: 'text/event-stream', ...headers }, agent: false });
    t.after(() => outgoing.destroy());
    outgoing.on('error', reject).on('response', (response) => {
      let text = '';
      let end: 'whole' | 'broken' | undefined;
      response.setEncoding('utf8').on('data', (chunk) => {
        text += chunk;
      });
      response
        .on('error', () => {})
        .on('close', () => {
          end = response.complete ? 'whole' : 'broken';
        });
      resolve({ response, outgoing, text: () => text, ended: () => end });
    });
    outgoing.end();
  });
}

const head = {
  'Content-Type': 'text/event-stream',
  'Cache-Control': 'no-cache,no-store',
  'Content-Encoding': 'identity',
};

/** A stream that is open on both sides; other requests wait in `bridge.asked`. */
async function connected(t: TestContext, headers: Record<string, string> = {}) {
  const bridge = await startScriptedBridge(t, {
    answer: ({ request: { method }, response }) => {
      if (method !== 'GET') return;
      response.writeHead(200, head);
      response.write(':\r\n');
    },
  });
  const proxied = await startProxiedEdge(t, [bridge.url]);
  const hub = `${proxied.url}/hubs/chat?id=token`;
  const stream = await openStream(t, hub, headers);
  const { response: atBridge } = bridge.asked[0]!;
  const posts = () => bridge.asked.filter(({ request: { method } }) => method === 'POST');
  return { bridge, stream, hub, atBridge, tap: proxied.taps[0]!, posts, ...proxied };
}

test('the stream’s head and first comment come at once, then every event as it is, past the tap', async (t) => {
  const { stream, atBridge, tap } = await connected(t);
  await until(() => stream.text() === ':\r\n');
  assert.equal(stream.response.headers['content-type'], 'text/event-stream');
  assert.equal(stream.response.headers['cache-control'], 'no-cache,no-store');
  assert.equal(stream.response.headers['content-encoding'], 'identity');
  atBridge.write('data: {}\x1e\r\n\r\ndata: two\x1ethree\x1e\r\n\r\n');
  await until(() => stream.text() === ':\r\ndata: {}\x1e\r\n\r\ndata: two\x1ethree\x1e\r\n\r\n');
  assert.deepEqual(tap.received, ['{}\x1e', 'two\x1ethree\x1e']);
});

test('what waited within an event stands between what is left of it', async (t) => {
  const { stream, atBridge, tap } = await connected(t);
  let injected = '';
  tap.splitting = (data, handOn) => {
    handOn(data.subarray(0, 6));
    injected = tap.inject('1');
    handOn(data.subarray(6));
  };
  atBridge.write('data: older\x1enewer\x1e\r\n\r\n');
  await until(() => stream.text().endsWith('newer\x1e\r\n\r\n'));
  const events = ['older\x1e', `${injected}\x1e`, 'newer\x1e'].map((data) => `data: ${data}\r\n\r\n`);
  assert.equal(stream.text(), `:\r\n${events.join('')}`);
});

test('what is injected stands between two events, wherever the bridge’s bytes are cut', async (t) => {
  const { stream, atBridge, tap } = await connected(t);
  const event = 'data: {"a":"é"}\x1e\r\n\r\n';
  let injected = '';
  for (const byte of Buffer.from(event)) {
    const before = tap.received.length;
    atBridge.write(Buffer.from([byte]));
    injected = tap.inject('1');
    // Each byte travels by itself.
    await new Promise((resolve) => setImmediate(resolve));
    assert.ok(tap.received.length - before <= 1);
  }
  const own = `data: ${injected}\x1e\r\n\r\n`;
  await until(() => stream.text().length === 3 + event.length + Buffer.byteLength(event) * own.length);
  assert.equal(stream.text().replaceAll(own, ''), `:\r\n${event}`);
});

test('the client gets of an event what the tap leaves of it; what waited for it comes behind it', async (t) => {
  const { stream, atBridge, tap } = await connected(t);
  tap.cutting = (data) => {
    if (data.toString() !== 'a\x1eb\x1e') return undefined;
    queueMicrotask(() => tap.inject('1'));
    return data.subarray(0, 2);
  };
  atBridge.write('data: gone\x1e\r\n\r\ndata: a\x1eb\x1e\r\n\r\n');
  await until(() => stream.text().endsWith('Injected","arguments":[1]}\x1e\r\n\r\n'));
  assert.match(stream.text(), /^:\r\ndata: a\x1e\r\n\r\ndata: \{"type":1/);
});

test('an ended stream ends, a broken one breaks, and a client that leaves takes the bridge’s stream along', async (t) => {
  const whole = await connected(t);
  whole.atBridge.end('data: last\x1e\r\n\r\n');
  await until(() => whole.stream.ended() === 'whole');
  assert.ok(whole.stream.text().endsWith('last\x1e\r\n\r\n'));

  const broken = await connected(t);
  broken.atBridge.destroy();
  await until(() => broken.stream.ended() === 'broken');

  const left = await connected(t);
  left.stream.outgoing.destroy();
  await until(() => left.atBridge.destroyed);

  const cut = await connected(t);
  cut.tap.leg.cut();
  await until(() => cut.stream.ended() === 'broken' && cut.atBridge.destroyed);
  for (const { tap } of [whole, broken, left, cut]) assert.equal(tap.ends, 1);
});

test('the bridge is read only as fast as the client takes it, and not at all while it is held back', async (t) => {
  const { stream, atBridge, tap } = await connected(t);
  const event = `data: ${'x'.repeat(256 * 1024)}\r\n\r\n`;
  stream.response.pause();
  for (let i = 0; i < 200; i++) atBridge.write(event);
  let seen = -1;
  await until(async () => {
    if (seen === tap.received.length && seen > 0) return true;
    seen = tap.received.length;
    await new Promise((resolve) => setTimeout(resolve, 200));
  });
  assert.ok(tap.received.length < 100, `${tap.received.length} of 200 were read`);
  stream.response.resume();
  await until(() => tap.received.length === 200, { timeoutMs: 20_000 });

  const { promise, resolve } = Promise.withResolvers<void>();
  tap.ready = promise;
  atBridge.write('data: held\r\n\r\n');
  tap.inject('1');
  await until(() => stream.text().endsWith('[1]}\x1e\r\n\r\n'));
  assert.equal(tap.received.length, 200);
  resolve();
  await until(() => stream.text().endsWith('data: held\r\n\r\n'));
});

function post(url: string, body: string, headers: Record<string, string> = {}) {
  return fetch(url, { method: 'POST', body, headers: { 'content-type': 'text/plain;charset=UTF-8', ...headers } });
}

function finish({ response }: Asked, status = 200): void {
  response.writeHead(status, { 'Content-Type': 'text/plain' }).end();
}

test('the client’s POSTs pass the tap and reach the bridge in order with records of our own', async (t) => {
  const { hub, tap, posts } = await connected(t, {
    authorization: 'Bearer one',
    cookie: 'a=1',
    accept: 'text/event-stream',
  });
  tap.leg.sendToBridge(Buffer.from('own 1\x1e'), 'json');
  await until(() => posts().length === 1);
  const first = post(`${hub}&n=2`, 'client\x1e', { authorization: 'Bearer two' });
  // Its credentials are new, so the bridge is asked about them.
  await until(() => posts().length === 2);
  assert.deepEqual(tap.sent, []);
  finish(posts()[1]!, 202);
  finish(posts()[0]!);
  await until(() => posts().length === 3);
  assert.deepEqual(tap.sent, ['client\x1e']);
  tap.leg.sendToBridge(Buffer.from('own 2'), 'messagepack');
  finish(posts()[2]!);
  const answer = await first;
  assert.deepEqual([answer.status, answer.headers.get('content-type')], [200, 'text/plain']);
  await until(() => posts().length === 4);
  finish(posts()[3]!);

  assert.deepEqual(
    posts().map(({ body }) => body),
    ['own 1\x1e', '', 'client\x1e', 'own 2'],
  );
  const [own1, , , own2] = posts().map(({ request }) => request);
  assert.deepEqual([own1!.headers.authorization, own1!.headers.cookie], ['Bearer one', 'a=1']);
  assert.deepEqual([own2!.headers.authorization, own2!.url], ['Bearer two', '/hubs/chat?id=token&n=2']);
  assert.equal(own1!.headers['content-type'], 'text/plain;charset=UTF-8');
  assert.equal(own2!.headers['content-type'], 'application/octet-stream');
  assert.equal(own1!.headers['x-forwarded-for'], '127.0.0.1');
  assert.notEqual(own1!.headers.accept, 'text/event-stream');
});

test('a record of our own that the bridge refuses or loses disturbs nobody', async (t) => {
  const { hub, tap, posts } = await connected(t);
  tap.leg.sendToBridge(Buffer.from('1'), 'json');
  tap.leg.sendToBridge(Buffer.from('2'), 'json');
  const own = post(hub, '3');
  for (const end of [(one: Asked) => finish(one, 404), (one: Asked) => one.response.destroy(), finish]) {
    const count = posts().length;
    await until(
      () => posts().length > 0 && !posts().at(-1)!.response.writableEnded && !posts().at(-1)!.response.destroyed,
    );
    assert.ok(posts().length >= count);
    end(posts().at(-1)!);
  }
  assert.equal((await own).status, 200);
});

test('closing the client tells it to come back, then ends its stream', async (t) => {
  const { stream, closeClients, atBridge } = await connected(t);
  await closeClients();
  await until(() => stream.ended() === 'whole' && atBridge.destroyed);
  assert.ok(stream.text().endsWith('data: {"type":7,"allowReconnect":true}\x1e\r\n\r\n'));
});

test('while clients are let go whoever still has a stream goes on with it, and no other comes about', async (t) => {
  const { stream, hub, hubs, url, atBridge, posts } = await connected(t);
  hubs.refuseNew();
  const own = post(hub, 'ping');
  await until(() => posts().length === 1);
  finish(posts()[0]!);
  assert.equal((await own).status, 200);
  atBridge.write('data: {}\x1e\r\n\r\n');
  await until(() => stream.text().endsWith('data: {}\x1e\r\n\r\n'));
  const { response } = await openStream(t, `${url}/hubs/chat?id=other`);
  assert.deepEqual([response.statusCode, response.headers['retry-after']], [503, '1']);
});

test('a refused stream is the client’s answer and no connection', async (t) => {
  const bridge = await startScriptedBridge(t, { answer: ({ response }) => response.writeHead(409).end() });
  const { url, taps } = await startProxiedEdge(t, [bridge.url]);
  const { response } = await openStream(t, `${url}/hubs/chat?id=token`);
  assert.equal(response.statusCode, 409);
  assert.deepEqual(taps, []);
});
