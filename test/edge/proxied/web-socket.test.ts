// WebSockets through the proxied edge, against a bridge that the tests script: what either side does, the other sees.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect as connectTcp, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { WebSocket } from 'ws';
import { silentLogger } from '../../../src/telemetry/logger.ts';
import { TestClock } from '../../support/clock.ts';
import { until } from '../../support/wait.ts';
import {
  exchange,
  openWebSocket,
  type ScriptedBridge,
  type SeenSocket,
  startScriptedBridge,
} from './scripted-bridge.ts';
import { startProxiedEdge, type TestTap } from './setup.ts';

const handshake = [
  'GET /hubs/chat?id=x HTTP/1.1',
  'Host: edge',
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
];

async function connected(t: TestContext) {
  const bridge = await startScriptedBridge(t);
  const proxied = await startProxiedEdge(t, [bridge.url]);
  const client = await openWebSocket(t, proxied.url, '/hubs/chat?id=x');
  return { bridge, client, tap: proxied.taps[0]!, atBridge: bridge.sockets[0]!, ...proxied };
}

test('messages go both ways one by one, with their opcodes, past the tap', async (t) => {
  const { client, tap, atBridge } = await connected(t);
  client.socket.send('{"protocol":"json","version":1}\x1e');
  client.socket.send(Buffer.from([1, 2, 0x1e]));
  await until(() => atBridge.messages.length === 2);
  assert.deepEqual(atBridge.messages, [
    { data: '{"protocol":"json","version":1}\x1e', binary: false },
    { data: '\x01\x02\x1e', binary: true },
  ]);
  assert.deepEqual(
    tap.sent,
    atBridge.messages.map(({ data }) => data),
  );
  atBridge.socket.send('{}\x1e');
  atBridge.socket.send(Buffer.from('bytes'));
  await until(() => client.messages.length === 2);
  assert.deepEqual(client.messages, [
    { data: '{}\x1e', binary: false },
    { data: 'bytes', binary: true },
  ]);
  assert.deepEqual(tap.received, ['{}\x1e', 'bytes']);
  assert.deepEqual(
    { ...tap.facts, hub: tap.facts.hub.name },
    { hub: 'chat', token: 'x', user: undefined, session: undefined },
  );
});

test('the client gets of a message what the tap leaves of it, and nothing if nothing is left', async (t) => {
  const { client, tap, atBridge } = await connected(t);
  tap.cutting = (data) => (data.toString() === 'all of it' ? undefined : data.subarray(0, 4));
  for (const text of ['all of it', 'some of it', 'all of it', 'last']) atBridge.socket.send(text);
  await until(() => client.messages.at(-1)?.data === 'last');
  assert.deepEqual(
    client.messages.map(({ data }) => data),
    ['some', 'last'],
  );
});

test('what is injected comes as a message of its own, and behind the message for whose passing it waited', async (t) => {
  const { client, tap, atBridge } = await connected(t);
  const first = tap.inject('1');
  await until(() => client.messages.length === 1);
  let second = '';
  tap.cutting = (data) => {
    queueMicrotask(() => {
      second = tap.inject('2');
    });
    return data;
  };
  atBridge.socket.send('of the bridge');
  await until(() => client.messages.length === 3);
  assert.deepEqual(
    client.messages.map(({ data }) => data),
    [`${first}\x1e`, 'of the bridge', `${second}\x1e`],
  );
});

test('what waited for a message goes before the next one, also where both came in one chunk', async (t) => {
  const { client, tap, atBridge } = await connected(t);
  let injected = '';
  tap.splitting = (data, handOn) => {
    if (data.toString() === 'answer') injected = tap.inject('1');
    else handOn(data);
  };
  const { _socket: raw } = atBridge.socket as unknown as { _socket: NodeJS.WritableStream };
  raw.write(Buffer.from('\x81\x06answer\x81\x05newer', 'latin1'));
  await until(() => client.messages.length === 2);
  assert.deepEqual(
    client.messages.map(({ data }) => data),
    [`${injected}\x1e`, 'newer'],
  );
});

test('a message of the bridge that arrives byte by byte is never broken by what is injected', async (t) => {
  const bridge = await startScriptedBridge(t);
  const { url, taps } = await startProxiedEdge(t, [bridge.url]);
  const client = await openWebSocket(t, url, '/hubs/chat?id=x');
  const { _socket: raw } = bridge.sockets[0]!.socket as unknown as { _socket: NodeJS.WritableStream };
  const frame = Buffer.from('\x81\x05hello', 'latin1');
  for (const byte of frame) {
    raw.write(Buffer.from([byte]));
    taps[0]!.inject('0');
    // Each byte travels by itself.
    await new Promise((resolve) => setImmediate(resolve));
  }
  await until(() => client.messages.length === frame.length + 1);
  assert.equal(client.messages.filter(({ data }) => data === 'hello').length, 1);
});

test('records of our own go to the bridge in the frames of their protocol', async (t) => {
  const { tap, atBridge } = await connected(t);
  tap.leg.sendToBridge(Buffer.from('text\x1e'), 'json');
  tap.leg.sendToBridge(Buffer.from('binary'), 'messagepack');
  await until(() => atBridge.messages.length === 2);
  assert.deepEqual(
    atBridge.messages.map(({ binary }) => binary),
    [false, true],
  );
});

const closes: [code: number | undefined, reason: string, seen: number][] = [
  [1000, '', 1000],
  [1001, 'going', 1001],
  [1011, 'é', 1011],
  [4321, 'own', 4321],
  [undefined, '', 1005],
];

for (const [code, reason, seen] of closes) {
  test(`a close with ${code ?? 'no code'} arrives as it was sent, in both directions, and is answered by the other side`, async (t) => {
    const { client, tap, bridge, url, atBridge } = await connected(t);
    const toBridge = Promise.withResolvers<[number, string]>();
    atBridge.socket.on('close', (...[got, text]) => toBridge.resolve([got, text.toString()]));
    client.socket.close(code, reason);
    assert.deepEqual(await toBridge.promise, [seen, reason]);
    await until(() => client.closed);
    assert.deepEqual(client.closed, { code: seen, reason });
    await until(() => tap.ends === 1);

    const other = await openWebSocket(t, url, '/hubs/chat?id=y');
    bridge.sockets[1]!.socket.close(code, reason);
    await until(() => other.closed);
    assert.deepEqual(other.closed, { code: seen, reason });
  });
}

test('what the bridge still says after the client’s close frame reaches the client before the bridge’s own', async (t) => {
  const { client, atBridge } = await connected(t);
  // `ws` as the bridge would answer at once; a hub says its last words first.
  (atBridge.socket as unknown as { close(): void }).close = () => {
    atBridge.socket.send('last words');
    WebSocket.prototype.close.call(atBridge.socket, 1000);
  };
  client.socket.close(1000);
  await until(() => client.closed);
  assert.deepEqual(client.messages, [{ data: 'last words', binary: false }]);
  assert.deepEqual(client.closed, { code: 1000, reason: '' });
});

test('when both close frames have crossed, the edge ends the TCP connection, as a server has to', async (t) => {
  const bridge = await startScriptedBridge(t);
  const { url } = await startProxiedEdge(t, [bridge.url]);
  const client = connectTcp(Number(new URL(url).port), '127.0.0.1');
  t.after(() => client.destroy());
  let received = Buffer.alloc(0);
  let ended = false;
  client.on('data', (bytes: Buffer) => {
    received = Buffer.concat([received, bytes]);
  });
  client.on('end', () => {
    ended = true;
  });
  client.write(`${handshake.join('\r\n')}\r\n\r\n`);
  await until(() => bridge.sockets.length === 1);
  bridge.sockets[0]!.socket.close(1000);
  await until(() => received.subarray(-4).equals(Buffer.from([0x88, 2, 0x03, 0xe8])), { what: 'the close frame' });
  assert.equal(ended, false);
  // 1000 again, masked with zeros.
  client.write(Buffer.from([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]));
  await until(() => ended);
});

test('a loss is a loss on the other side, behind what was said before it, and never a close', async (t) => {
  const { client, bridge, atBridge, tap, url } = await connected(t);
  const lost = Promise.withResolvers<number>();
  atBridge.socket.on('close', (code) => lost.resolve(code));
  client.socket.send('before');
  client.socket.terminate();
  assert.equal(await lost.promise, 1006);
  assert.equal(atBridge.messages.length, 1);
  assert.equal(tap.ends, 1);

  const other = await openWebSocket(t, url, '/hubs/chat?id=y');
  bridge.sockets[1]!.socket.send('before');
  bridge.sockets[1]!.socket.terminate();
  await until(() => other.closed);
  assert.deepEqual([other.closed!.code, other.messages.length], [1006, 1]);

  // More than the kernel takes at once is still owed.
  const large = await openWebSocket(t, url, '/hubs/chat?id=l');
  bridge.sockets[2]!.socket.send('x'.repeat(16 * 1024 * 1024));
  (bridge.sockets[2]!.socket as unknown as { _socket: { end(): void } })._socket.end();
  await until(() => large.closed);
  assert.deepEqual([large.closed!.code, large.messages.length], [1006, 1]);

  const reset = await openWebSocket(t, url, '/hubs/chat?id=z');
  (bridge.sockets[3]!.socket as unknown as { _socket: { resetAndDestroy(): void } })._socket.resetAndDestroy();
  await until(() => reset.closed);
  assert.equal(reset.closed!.code, 1006);
});

test('cut ends both sides; what is injected or sent afterwards goes nowhere', async (t) => {
  const { client, tap, atBridge } = await connected(t);
  tap.leg.cut();
  await until(() => client.closed && atBridge.socket.readyState === WebSocket.CLOSED);
  assert.equal(client.closed!.code, 1006);
  assert.equal(tap.ends, 1);
  tap.inject('1');
  tap.leg.sendToBridge(Buffer.from('x'), 'json');
  assert.deepEqual([client.messages, atBridge.messages], [[], []]);
});

test('a side is read only as fast as the other takes it, in both directions', async (t) => {
  const { client, tap, atBridge } = await connected(t);
  const chunk = 'x'.repeat(256 * 1024);
  const stop = (socket: WebSocket) => (socket as unknown as { _socket: { pause(): void } })._socket.pause();
  const go = (socket: WebSocket) => (socket as unknown as { _socket: { resume(): void } })._socket.resume();

  stop(client.socket);
  for (let i = 0; i < 200; i++) atBridge.socket.send(chunk);
  await settled(() => tap.received.length);
  // What the kernels take on the way, and what the edge holds.
  assert.ok(tap.received.length < 100, `${tap.received.length} of 200 were read`);
  assert.ok(tap.leg.backlogBytes < 2 * 1024 * 1024);
  go(client.socket);
  await until(() => client.messages.length === 200, { timeoutMs: 20_000 });

  stop(atBridge.socket);
  for (let i = 0; i < 200; i++) client.socket.send(chunk);
  await settled(() => tap.sent.length);
  assert.ok(tap.sent.length < 100, `${tap.sent.length} of 200 were read`);
  go(atBridge.socket);
  await until(() => atBridge.messages.length === 200, { timeoutMs: 20_000 });
});

/** Until a count has stood still for a while. */
test('what a client says at once is not held without bound: several of the bridge’s largest records pass, more ends it', async (t) => {
  const { client, atBridge, tap } = await connected(t);
  client.socket.send('x'.repeat(4 * 1024 * 1024));
  await until(() => atBridge.messages.length === 1);
  let code = 0;
  atBridge.socket.once('close', (given) => {
    code = given;
  });
  client.socket.send('x'.repeat(4 * 1024 * 1024 + 1));
  await until(() => code !== 0 && client.closed !== undefined);
  assert.equal(code, 1009);
  assert.equal(atBridge.messages.length, 1);
  assert.equal(tap.ends, 1);
});

async function settled(count: () => number): Promise<void> {
  let last = -1;
  let since = performance.now();
  await until(() => {
    if (count() !== last) since = performance.now();
    last = count();
    return last > 0 && performance.now() - since > 200;
  });
}

test('what the bridge sends waits while the log is not read, in its order; what is injected passes', async (t) => {
  const { client, tap, atBridge } = await connected(t);
  const { promise, resolve } = Promise.withResolvers<void>();
  tap.ready = promise;
  for (const text of ['first', 'second']) atBridge.socket.send(text);
  client.socket.send('asked');
  await until(() => atBridge.messages.length === 1);
  const injected = tap.inject('1');
  await until(() => client.messages.length === 1);
  assert.deepEqual(tap.received, []);
  tap.ready = undefined;
  resolve();
  await until(() => client.messages.length === 3);
  assert.deepEqual(
    client.messages.map(({ data }) => data),
    [`${injected}\x1e`, 'first', 'second'],
  );
});

test('path, query and headers reach the bridge as they are; the compression that a client offers does not', async (t) => {
  const bridge = await startScriptedBridge(t, {
    protocol: 'two',
    upgradeHeaders: ['Set-Cookie: a=1', 'Set-Cookie: b=2'],
  });
  const { url } = await startProxiedEdge(t, [`${bridge.url}/base/`]);
  const path = '/hubs/ch%61t?id=a%2Bb+c&&x="<ü>'.replace('ü', '%C3%BC');
  const client = await openWebSocket(t, url, path, {
    protocols: ['one', 'two'],
    perMessageDeflate: true,
    headers: {
      Origin: 'https://app.example',
      Cookie: 'c=3; d=4',
      'X-Forwarded-For': '10.1.1.1',
      Authorization: 'Bearer t',
    },
  });
  const { request } = bridge.sockets[0]!;
  assert.equal(request.url, `/base${path}`);
  assert.equal(request.headers.host, `127.0.0.1:${bridge.port}`);
  assert.equal(request.headers.origin, 'https://app.example');
  assert.equal(request.headers.cookie, 'c=3; d=4');
  assert.equal(request.headers.authorization, 'Bearer t');
  assert.equal(request.headers['x-forwarded-for'], '10.1.1.1, 127.0.0.1');
  assert.equal(request.headers['sec-websocket-protocol'], 'one,two');
  assert.equal(request.headers['sec-websocket-extensions'], undefined);
  assert.equal(client.socket.protocol, 'two');
  assert.deepEqual(client.headers['set-cookie'], ['a=1', 'b=2']);
});

test('a refused upgrade is the client’s answer, with its status, headers and body', async (t) => {
  const refusal =
    'HTTP/1.1 418 Short And Stout\r\nX-Why: tea\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 3\r\n\r\ntea';
  const bridge = await startScriptedBridge(t, { refuse: (_, socket) => socket.end(refusal) });
  const { url, taps } = await startProxiedEdge(t, [bridge.url]);
  const answer = await exchange(t, url, `${handshake.join('\n')}\n\n`);
  assert.equal(answer, refusal.replace('Content-Length: 3\r\n', 'Content-Length: 3\r\nConnection: close\r\n'));
  assert.deepEqual(taps, []);
});

test('a refusal leaves nothing behind, at the bridge or here, whatever its client does', async (t) => {
  // Kestrel keeps such a connection for 130 s, unless its client ends it.
  const refuse = (_: unknown, socket: Socket) => {
    socket.write('HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n');
    socket.on('end', () => socket.end());
  };
  const { url: bridgeUrl, refused } = await startScriptedBridge(t, { refuse });
  const clock = new TestClock();
  const { url, door } = await startProxiedEdge(t, [bridgeUrl], { clock });
  const connections = () => new Promise<number>((resolve) => door.server.getConnections((_, count) => resolve(count)));
  const clients = Array.from({ length: 30 }, (_, i) => {
    const client = connectTcp({ port: Number(new URL(url).port), host: '127.0.0.1', allowHalfOpen: true });
    t.after(() => client.destroy());
    client.write(`${handshake.join('\r\n')}\r\n\r\n`);
    client.resume().on('end', () => {
      if (i % 3 === 0) client.end();
      if (i % 3 === 1) client.end('x');
    });
    return client;
  });
  await until(() => clients.every(({ readableEnded }) => readableEnded));
  await until(() => refused.length === 30 && refused.every(({ destroyed }) => destroyed), { what: 'the bridge' });
  await until(async () => (await connections()) === 10, { what: 'those that leave' });
  clock.advance(5_000);
  await until(async () => (await connections()) === 0, { what: 'those that stay' });
});

test('a refusal that the bridge never ends is ended', async (t) => {
  const bridge = await startScriptedBridge(t, {
    refuse: (_, socket) => socket.write('HTTP/1.1 401 Unauthorized\r\nContent-Length: 10\r\n\r\nhalf'),
  });
  const clock = new TestClock();
  const { url } = await startProxiedEdge(t, [bridge.url], { clock });
  const refused = exchange(t, url, `${handshake.join('\n')}\n\n`);
  await until(() => clock.timers > 1, { what: 'the bridge’s answer' });
  clock.advance(5_000);
  assert.match(await refused, /^HTTP\/1.1 401 /);
  await until(() => bridge.refused[0]!.readableEnded);
});

test('without a bridge an upgrade is a 502; with another address that one is asked, if no token binds the client', async (t) => {
  const gone = await startScriptedBridge(t);
  await gone.close();
  const there = await startScriptedBridge(t);
  const alone = await startProxiedEdge(t, [gone.url]);
  assert.match(await exchange(t, alone.url, `${handshake.join('\n')}\n\n`), /^HTTP\/1.1 502 /);
  const { url } = await startProxiedEdge(t, [gone.url, there.url]);
  for (let i = 0; i < 4; i++) await openWebSocket(t, url, '/hubs/chat');
  assert.equal(there.sockets.length, 4);
});

test('a client that leaves while its bridge is dialled leaves nothing behind', async (t) => {
  const asked = Promise.withResolvers<void>();
  const left = Promise.withResolvers<void>();
  const bridge = await startScriptedBridge(t, {
    refuse: (_, socket) => {
      socket.on('close', () => left.resolve()).on('end', () => socket.destroy());
      socket.resume();
      asked.resolve();
    },
  });
  const { url, taps } = await startProxiedEdge(t, [bridge.url]);
  const client = new WebSocket(`${url.replace('http', 'ws')}/hubs/chat`);
  client.on('error', () => {});
  await asked.promise;
  client.terminate();
  await left.promise;
  assert.deepEqual(taps, []);
});

test('a client whose bridge is being dialled when clients are let go is not let in', async (t) => {
  const asked = Promise.withResolvers<() => void>();
  const bridge = await startScriptedBridge(t, {
    refuse: ({ headers }, socket) => {
      const key = `${headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
      const accept = createHash('sha1').update(key).digest('base64');
      const upgrade = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n';
      asked.resolve(() => socket.write(`${upgrade}Sec-WebSocket-Accept: ${accept}\r\n\r\n`));
    },
  });
  const { url, hubs } = await startProxiedEdge(t, [bridge.url]);
  const client = new WebSocket(`${url.replace('http', 'ws')}/hubs/chat`);
  const closed = once(client, 'close');
  client.on('error', () => {});
  const take = await asked.promise;
  hubs.refuseNew();
  take();
  await closed;
  await until(() => hubs.clients.size === 0);
});

test('a hub that the contract does not know is carried untapped', async (t) => {
  const bridge = await startScriptedBridge(t);
  const { url, taps } = await startProxiedEdge(t, [bridge.url]);
  const client = await openWebSocket(t, url, '/hubs/unknown/deeper?x=1');
  client.socket.send('hello');
  await until(() => bridge.sockets[0]!.messages.length === 1);
  bridge.sockets[0]!.socket.send('hello');
  await until(() => client.messages.length === 1);
  assert.deepEqual(taps, []);
});

test('what asks for an upgrade but is no WebSocket handshake is an ordinary request, as it is to ASP.NET', async (t) => {
  const bridge = await startScriptedBridge(t, { answer: ({ response }) => response.end('plain') });
  const { url } = await startProxiedEdge(t, [bridge.url]);
  const lines = handshake.map((line) => line.replace('Connection: Upgrade', 'Connection: Upgrade, close'));
  for (const without of ['Sec-WebSocket-Version', 'Sec-WebSocket-Key', 'Upgrade:']) {
    const request = lines.filter((line) => !line.startsWith(without)).join('\n');
    assert.match(await exchange(t, url, `${request}\n\n`), /^HTTP\/1.1 200 OK[\s\S]*plain/);
  }
  assert.ok(bridge.asked.every(({ request }) => request.headers.upgrade === undefined));
});

test('closing the clients says that they may come back, at both sides by the protocol; who is silent is cut off', async (t) => {
  const clock = new TestClock();
  const bridge = await startScriptedBridge(t);
  const { url, closeClients, taps } = await startProxiedEdge(t, [bridge.url], { clock, logger: silentLogger });
  const opened: Record<string, { client: SeenSocket; atBridge: ScriptedBridge['sockets'][number] }> = {};
  for (const name of ['json', 'messagepack', 'early', 'silent']) {
    const client = await openWebSocket(t, url, `/hubs/chat?id=${name}`);
    opened[name] = { client, atBridge: bridge.sockets.at(-1)! };
  }
  const { json, messagepack, early, silent } = opened as Record<string, (typeof opened)[string]>;
  json!.atBridge.socket.send('{}\x1e');
  messagepack!.atBridge.socket.send(Buffer.from('{}\x1e'));
  silent!.atBridge.socket.send('{}\x1e');
  await until(() => taps.filter((tap: TestTap) => tap.received.length === 1).length === 3);
  (silent!.client.socket as unknown as { _socket: { pause(): void } })._socket.pause();

  // A gap in the log, and a shutdown before its clients are gone.
  const closed = Promise.all([closeClients(), closeClients()]);
  await until(() => json!.client.closed && messagepack!.client.closed && early!.client.closed);
  assert.equal(json!.client.messages.at(-1)!.data, '{"type":7,"allowReconnect":true}\x1e');
  assert.equal(json!.client.closed!.code, 1000);
  assert.deepEqual(
    Buffer.from(messagepack!.client.messages.at(-1)!.data, 'latin1').subarray(0, 3),
    Buffer.from([4, 0xfd, 7]),
  );
  assert.equal(early!.client.closed!.code, 1006, 'before the handshake there is no protocol to say it in');
  clock.advance(2_000);
  await closed;
  assert.ok(taps.every(({ ends }) => ends === 1));
});
