// Requests that come to another replica than the one that holds their connection, over real sockets: replicas of one process, in front of
// bridges that the tests script.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:http';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Relay } from '../../../src/edge/relay/relay.ts';
import { PeerSignature } from '../../../src/peers/peer-signature.ts';
import { shortTag } from '../../../src/short-key.ts';
import { systemClock } from '../../../src/telemetry/clock.ts';
import { Faults } from '../../../src/telemetry/faults.ts';
import { silentLogger } from '../../../src/telemetry/logger.ts';
import { createMetrics } from '../../../src/telemetry/metrics.ts';
import { type Accepting, startAccepting } from '../../peers/accepting.ts';
import { until } from '../../support/wait.ts';
import { type Asked, openWebSocket, type ScriptedBridge, startScriptedBridge } from '../proxied/scripted-bridge.ts';
import { type ProxiedEdge, startProxiedEdge } from '../proxied/setup.ts';

const secret = 'what all replicas have in common';

interface Replica extends ProxiedEdge {
  name: string;
  tag: string;
  peer: Accepting;
  relays(outcome: string): Promise<number>;
}

interface Setting {
  names?: string[];
  maxRelayed?: number;
  /** Whom a replica takes for the holder of a tag, where it is wrong. */
  mistaken?: (tag: string) => string;
}

/** Replicas that know each other. */
async function startReplicas(t: TestContext, bridges: ScriptedBridge[], setting: Setting = {}): Promise<Replica[]> {
  const { names = ['a', 'b', 'c'], maxRelayed, mistaken = (tag) => tag } = setting;
  const replicas: Replica[] = [];
  const find = async (tag: string) => replicas.find((each) => each.tag === mistaken(tag))?.peer;
  for (const name of names) {
    const tag = shortTag(name);
    const edge = await startProxiedEdge(
      t,
      bridges.map(({ url }) => url),
      {
        ...(maxRelayed !== undefined && { maxRelayed }),
        others: {
          peers: {
            tag,
            allRelay: true,
            find,
            refresh: async () => [],
            ask: async () => ({ answers: [], notReached: [] }),
          },
          signature: new PeerSignature({ instance: name, secret, clock: systemClock }),
        },
      },
    );
    const peer = await startAccepting(t, name, { secret, take: (socket) => edge.takePeer(socket) });
    const relays = async (outcome: string) => {
      const { values } = await edge.metrics.relays.get();
      return values.find(({ labels }) => labels.outcome === outcome)!.value;
    };
    replicas.push({ ...edge, name, tag, peer, relays });
  }
  return replicas;
}

/** After which a bridge that may not write any more counts as stopped. */
const stoppedMs = 1_000;
let tokens = 0;
const negotiation = (version = '1') => {
  const token = `token-${++tokens}`;
  if (version === '0') return `{"negotiateVersion":0, "connectionId" :"${token}"}`;
  return `{"negotiateVersion":1,"connectionId":"public", "connectionToken":"${token}"}`;
};
const streamHead = { 'Content-Type': 'text/event-stream' };

/** Gives out tokens, opens event streams, takes POSTs; all else is the test's to answer. */
function answer({ request: { method, url }, response }: Asked): void {
  const version = /\/negotiate\?negotiateVersion=(\d)/.exec(url!)?.[1];
  if (version) response.writeHead(200, { 'Content-Type': 'application/json' }).end(negotiation(version));
  else if (method === 'GET' && !url!.includes('wait')) response.writeHead(200, streamHead).write(':\r\n');
  else if (method === 'POST') response.end();
}

async function start(t: TestContext, setting: Setting = {}) {
  const bridge = await startScriptedBridge(t, { answer });
  const [a, b, c] = (await startReplicas(t, [bridge], setting)) as [Replica, Replica, Replica];
  /** The requests with this method, but for negotiates. */
  const asked = (method: string) =>
    bridge.asked.filter(({ request }) => request.method === method && !request.url!.includes('/negotiate'));
  return { bridge, a, b, c, asked };
}

async function negotiate({ url }: ProxiedEdge): Promise<string> {
  const response = await fetch(`${url}/hubs/chat/negotiate?negotiateVersion=1`, { method: 'POST' });
  return ((await response.json()) as { connectionToken: string }).connectionToken;
}

/** An event stream through this replica. */
async function openStream(t: TestContext, { url }: ProxiedEdge, token: string, headers: Record<string, string> = {}) {
  const { promise, resolve, reject } = Promise.withResolvers<{ text(): string; ended(): boolean; leave(): void }>();
  const accept = { accept: 'text/event-stream', ...headers };
  const outgoing = request(`${url}/hubs/chat?id=${token}`, { headers: accept, agent: false });
  t.after(() => outgoing.destroy());
  outgoing.on('error', reject).on('response', (response) => {
    let text = '';
    let ended = false;
    response.setEncoding('utf8').on('data', (chunk) => {
      text += chunk;
    });
    response
      .on('error', () => {})
      .on('close', () => {
        ended = true;
      });
    resolve({ text: () => text, ended: () => ended, leave: () => outgoing.destroy() });
  });
  outgoing.end();
  return promise;
}

test('a token has its replica and its bridge in front, and not a byte else of the answer is changed', async (t) => {
  const { a } = await start(t);
  const response = await fetch(`${a.url}/hubs/chat/negotiate?negotiateVersion=1`, { method: 'POST' });
  const bridge = shortTag(a.addresses.all[0]!.key);
  assert.equal(
    await response.text(),
    `{"negotiateVersion":1,"connectionId":"public", "connectionToken":"${a.tag}~${bridge}~token-${tokens}"}`,
  );
});

test('an event stream and its POSTs through other replicas are those of the one that gave out the token', async (t) => {
  const { a, b, c, asked } = await start(t);
  const token = await negotiate(b);
  const stream = await openStream(t, a, token, { 'x-forwarded-for': '203.0.113.7' });
  await until(() => stream.text() === ':\r\n');
  const [opening] = asked('GET');
  assert.equal(opening!.request.url, `/hubs/chat?id=token-${tokens}`, 'the bridge sees no tag');
  assert.equal(opening!.request.headers['x-forwarded-for'], '203.0.113.7, 127.0.0.1', 'one hop, as without a relay');
  assert.deepEqual([a.taps.length, b.taps.length, c.taps.length], [0, 1, 0], 'it counts once');
  for (const replica of [a, b, c]) {
    const response = await fetch(`${replica.url}/hubs/chat?id=${token}`, { method: 'POST', body: replica.name });
    assert.equal(response.status, 200);
  }
  assert.deepEqual(b.taps[0]!.sent, ['a', 'b', 'c'], 'what it sends is seen where it is held');
  opening!.response.write('data: of the bridge\x1e\r\n\r\n');
  await until(() => stream.text().includes('of the bridge'));
  b.taps[0]!.inject('1');
  await until(() => stream.text().includes('Injected'));
  assert.deepEqual([await a.relays('answered'), await c.relays('answered'), await b.relays('answered')], [2, 1, 0]);
});

test('a client of version 0, whose id addresses its connection, is found by it as others are by their token', async (t) => {
  const { a, b, c, asked } = await start(t);
  const response = await fetch(`${b.url}/hubs/chat/negotiate?negotiateVersion=0`, { method: 'POST' });
  const bridge = shortTag(b.addresses.all[0]!.key);
  const id = `${b.tag}~${bridge}~token-${tokens}`;
  assert.equal(await response.text(), `{"negotiateVersion":0, "connectionId" :"${id}"}`);
  await openStream(t, a, id);
  await fetch(`${c.url}/hubs/chat?id=${id}`, { method: 'POST', body: 'join' });
  assert.deepEqual([a.taps.length, b.taps[0]!.sent, c.taps.length], [0, ['join'], 0]);
  assert.equal(
    asked('GET')[0]!.request.url,
    `/hubs/chat?id=token-${tokens}`,
    'the bridge sees the id that it gave out',
  );
});

test('who leaves ends its stream at the bridge; a bridge that breaks off, or a holder that dies, ends it for the client', async (t) => {
  const { a, b, asked } = await start(t);
  const leaving = await openStream(t, a, await negotiate(b));
  leaving.leave();
  await until(() => asked('GET')[0]!.response.destroyed && b.taps[0]!.ends === 1);
  const broken = await openStream(t, a, await negotiate(b));
  asked('GET')[1]!.response.destroy();
  await until(() => broken.ended() && b.taps[1]!.ends === 1);
  const orphan = await openStream(t, a, await negotiate(b));
  b.peer.close();
  await until(() => orphan.ended() && b.taps[2]!.ends === 1);
  const { values } = await a.metrics.relayed.get();
  assert.equal(values[0]!.value, 0, 'nothing is left under way');
});

test('a client that takes nothing stops the bridge from being read, through the relay too', async (t) => {
  const { a, b, asked } = await start(t);
  const token = await negotiate(b);
  const outgoing = request(`${a.url}/hubs/chat?id=${token}`, { agent: false });
  t.after(() => outgoing.destroy());
  outgoing.on('response', (response) => response.pause()).on('error', () => {});
  outgoing.end();
  await until(() => b.taps.length === 1);
  const { response } = asked('GET')[0]!;
  const event = `data: ${'x'.repeat(64 * 1024)}\r\n\r\n`;
  const mostBytes = 256 * 1024 * 1024;
  let written = 0;
  for (let isRead = true; isRead && written < mostBytes; written += event.length) {
    if (response.write(event)) continue;
    isRead = await Promise.race([once(response, 'drain').then(() => true), sleep(stoppedMs, false)]);
  }
  assert.ok(written < mostBytes, `${written} bytes, and the bridge may still write`);
});

test('a request is relayed once: who is taken for the holder serves it, and sends it on to nobody', async (t) => {
  // Each takes another one for the holder of every tag.
  const { a, b, c, asked } = await start(t, { mistaken: () => shortTag('c') });
  const token = await negotiate(b);
  const stream = await openStream(t, a, token);
  await until(() => stream.text() === ':\r\n');
  assert.equal(asked('GET').length, 1);
  assert.deepEqual([a.taps.length, b.taps.length, c.taps.length], [0, 0, 1]);
  assert.equal(await c.relays('answered'), 0);
});

test('a token whose replica is gone is one that the bridge does not know, and its answer is the client’s', async (t) => {
  const { a, asked } = await start(t);
  const token = `${shortTag('nobody')}~${shortTag(a.addresses.all[0]!.key)}~token`;
  const answering = fetch(`${a.url}/hubs/chat?wait&id=${token}`, { method: 'DELETE' });
  await until(() => asked('DELETE').length === 1);
  const [{ request, response }] = asked('DELETE') as [Asked];
  assert.equal(request.url, `/hubs/chat?wait&id=${token}`);
  response.writeHead(404, { 'Access-Control-Allow-Origin': 'https://app.example' }).end('No Connection with that ID');
  const answer = await answering;
  assert.deepEqual([answer.status, await answer.text()], [404, 'No Connection with that ID']);
  assert.equal(answer.headers.get('access-control-allow-origin'), 'https://app.example');
  assert.equal(await a.relays('gone'), 1);
});

test('a replica that the roster still names and that is not there is as good as gone', async (t) => {
  const { a, b } = await start(t);
  const token = await negotiate(b);
  b.peer.close();
  for (const method of ['GET', 'POST', 'DELETE']) {
    const body = method === 'POST' ? { body: 'x'.repeat(100_000) } : {};
    assert.equal((await fetch(`${a.url}/hubs/chat?id=${token}`, { method, ...body })).status, 404, method);
  }
  assert.equal(await a.relays('unreachable'), 3);
});

test('new credentials for a connection whose replica is gone are the bridge’s to judge: it may be a WebSocket', async (t) => {
  const { a, asked } = await start(t);
  const token = `${shortTag('nobody')}~${shortTag(a.addresses.all[0]!.key)}~token`;
  assert.equal((await fetch(`${a.url}/hubs/chat/refresh?id=${token}`, { method: 'POST' })).status, 200);
  assert.equal(asked('POST')[0]!.request.url, '/hubs/chat/refresh?id=token');
});

test('a WebSocket is served where it comes, at the bridge that gave out its token', async (t) => {
  const bridges = [await startScriptedBridge(t, { answer }), await startScriptedBridge(t, { answer })];
  const [a, b] = (await startReplicas(t, bridges)) as [Replica, Replica];
  const given = [await negotiate(b), await negotiate(b)];
  for (const [i, token] of given.entries()) {
    for (let count = 0; count < 2; count++) await openWebSocket(t, a.url, `/hubs/chat?id=${token}`);
    const own = bridges.find(({ asked }) => asked.length > 0 && token.includes(shortTag(keyOf(a, asked))))!;
    assert.deepEqual(
      own.sockets.map(({ request }) => request.url),
      Array(2).fill(`/hubs/chat?id=token-${tokens - 1 + i}`),
    );
  }
  assert.deepEqual([a.taps.length, b.taps.length], [4, 0]);
});

function keyOf({ addresses }: Replica, [first]: Asked[]): string {
  return addresses.all.find(({ host }) => host === first!.request.headers.host)!.key;
}

test('more than may be under way are told to come again, and an answer makes room', async (t) => {
  const { a, b } = await start(t, { maxRelayed: 1 });
  const token = await negotiate(b);
  const stream = await openStream(t, a, token);
  const post = () => fetch(`${a.url}/hubs/chat?id=${token}`, { method: 'POST', body: 'x' });
  const refused = await post();
  assert.deepEqual([refused.status, refused.headers.get('retry-after')], [503, '1']);
  assert.equal(await a.relays('refused'), 1);
  stream.leave();
  await until(async () => (await post()).status === 200);
});

test('a replica that ends lets no event stream of another one begin, and sends those away that go through it', async (t) => {
  const { a, b } = await start(t);
  const token = await negotiate(b);
  const stream = await openStream(t, a, token);
  assert.equal(a.relay.clients.size, 1);
  a.relay.refuseNew();
  const another = await fetch(`${a.url}/hubs/chat?id=${await negotiate(b)}`, {
    headers: { accept: 'text/event-stream' },
  });
  assert.equal(another.status, 503);
  const post = await fetch(`${a.url}/hubs/chat?id=${token}`, { method: 'POST', body: 'x' });
  assert.deepEqual([post.status, post.headers.get('connection')], [200, 'close']);
  for (const client of a.relay.clients) {
    client.closeForReconnect();
    await client.gone;
  }
  await until(() => stream.ended() && b.taps[0]!.ends === 1);
});

test('a client cannot pass its request off as relayed: its address is written down, and its tag is looked at', async (t) => {
  const { a, b, asked } = await start(t);
  const token = await negotiate(b);
  const forged = {
    'x-crossfade-instance': 'a',
    'x-crossfade-signature': 't=1,n=aaaaaaaaaaaaaaaa',
    upgrade: 'crossfade-edge',
  };
  await openStream(t, a, token, { ...forged, connection: 'upgrade', 'x-forwarded-for': '203.0.113.7' });
  assert.equal(asked('GET')[0]!.request.headers['x-forwarded-for'], '203.0.113.7, 127.0.0.1');
  assert.deepEqual([a.taps.length, b.taps.length], [0, 1]);
});

test('questions for whose a connection is that fail do not keep later ones from being asked', async () => {
  let isBroken = true;
  const metrics = createMetrics();
  const relay = new Relay({
    ...{ clock: systemClock, faults: new Faults(silentLogger, metrics), metrics, logger: silentLogger },
    hubs: { async answer() {}, async upgrade() {} },
  });
  const ask = async () => {
    if (isBroken) throw new Error('broken');
    return { answers: [{ user: 'ada' }], notReached: [] };
  };
  const peers = { tag: '', allRelay: true, find: async () => undefined, refresh: async () => [], ask };
  relay.connect({ peers, signature: new PeerSignature({ instance: 'a', secret, clock: systemClock }) });
  for (let count = 0; count < 1_000; count++) await assert.rejects(relay.askUser('id'), /broken/);
  isBroken = false;
  assert.deepEqual(await relay.askUser('id'), { user: 'ada' });
});
