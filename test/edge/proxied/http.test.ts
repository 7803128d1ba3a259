// Plain requests through the proxied edge: they reach the bridge as they are, and its answers come back as they are.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Logger } from '../../../src/telemetry/logger.ts';
import { TestClock } from '../../support/clock.ts';
import { until } from '../../support/wait.ts';
import { type Asked, exchange, openWebSocket, startScriptedBridge } from './scripted-bridge.ts';
import { startProxiedEdge } from './setup.ts';

/** Answers a negotiate with this token. */
function negotiated(token: string, version = 1) {
  return ({ response }: Asked) => {
    const ids = version === 0 ? { connectionId: token } : { connectionId: 'public', connectionToken: token };
    response.setHeader('Content-Type', 'application/json');
    response.end(JSON.stringify({ negotiateVersion: version, ...ids, availableTransports: [] }));
  };
}

async function negotiate(url: string, query = 'negotiateVersion=1'): Promise<string> {
  const answer = await fetch(`${url}/hubs/chat/negotiate?${query}`, { method: 'POST' });
  const { connectionToken, connectionId } = (await answer.json()) as Record<string, string>;
  return (connectionToken ?? connectionId)!;
}

/** A logger that keeps its warnings and notes. */
function listening(): { logger: Logger; lines: string[] } {
  const lines: string[] = [];
  const keep = (...args: unknown[]) => void lines.push(String(args.at(-1)));
  return { logger: { info: keep, warn: keep, debug() {} } as unknown as Logger, lines };
}

test('a request reaches the bridge byte for byte, without what belongs to the hop; so does the answer come back', async (t) => {
  const bridge = await startScriptedBridge(t, {
    answer: ({ response }) => {
      response.sendDate = false;
      response.writeHead(418, 'Short And Stout', [
        'X-A',
        '1',
        'x-a',
        '2',
        'Set-Cookie',
        'é',
        'Keep-Alive',
        'timeout=9',
      ]);
      response.end('tea');
    },
  });
  const { url } = await startProxiedEdge(t, [`${bridge.url}/base`]);
  const path = '/hubs/chat//x;y?a=%2b+b&&=c"<>|';
  const answer = await exchange(
    t,
    url,
    `PATCH ${path} HTTP/1.1\nHost: edge\nX-B: 1\nx-b: é\nX-Hop: 1\nConnection: close, X-Hop\nTE: trailers\nContent-Length: 4\n\nbody`,
  );
  const { request, body } = bridge.asked[0]!;
  assert.equal(`${request.method} ${request.url} ${body}`, `PATCH /base${path} body`);
  assert.equal(request.headers.host, `127.0.0.1:${bridge.port}`);
  // What stands before and behind is written by this hop: Host, Connection, and the length of the body.
  const [from, to] = [request.rawHeaders.indexOf('X-B'), request.rawHeaders.indexOf('X-Forwarded-For') + 2];
  assert.deepEqual(request.rawHeaders.slice(from, to), ['X-B', '1', 'x-b', 'é', 'X-Forwarded-For', '127.0.0.1']);
  assert.equal(request.headers.te ?? request.headers['x-hop'], undefined);
  assert.match(answer, /^HTTP\/1.1 418 Short And Stout\r\nX-A: 1\r\nx-a: 2\r\nSet-Cookie: é\r\n/);
  assert.doesNotMatch(answer, /timeout=9|Date:/);
  assert.match(answer, /3\r\ntea\r\n0\r\n/);
});

test('what is not below /hubs/ is a 404 that the bridge never hears of', async (t) => {
  const bridge = await startScriptedBridge(t, { answer: ({ response }) => response.end() });
  const { url } = await startProxiedEdge(t, [bridge.url]);
  for (const path of ['/internal/stats', '/health', '/hubs/../internal/stats', '/hubs/%2e%2e/internal/stats', '*']) {
    assert.match(
      await exchange(t, url, `GET ${path} HTTP/1.1\nHost: x\nConnection: close\n\n`),
      /^HTTP\/1.1 404 /,
      path,
    );
  }
  assert.deepEqual(bridge.asked, []);
});

test('preflights, refusals and errors are the bridge’s own', async (t) => {
  const bridge = await startScriptedBridge(t, {
    answer: ({ request, response }) => {
      if (request.method === 'OPTIONS') response.writeHead(204, { 'Access-Control-Allow-Origin': 'https://a' }).end();
      else response.writeHead(401, { 'WWW-Authenticate': 'Bearer', 'Access-Control-Allow-Origin': 'https://a' }).end();
    },
  });
  const { url } = await startProxiedEdge(t, [bridge.url]);
  const preflight = await fetch(`${url}/hubs/chat/negotiate`, { method: 'OPTIONS' });
  assert.deepEqual([preflight.status, preflight.headers.get('access-control-allow-origin')], [204, 'https://a']);
  const refused = await fetch(`${url}/hubs/chat/negotiate`, { method: 'POST' });
  assert.deepEqual([refused.status, refused.headers.get('www-authenticate')], [401, 'Bearer']);
});

test('a client that leaves ends its request at the bridge; a bridge that breaks off breaks the client’s answer off', async (t) => {
  const bridge = await startScriptedBridge(t);
  const { url } = await startProxiedEdge(t, [bridge.url]);
  const leaving = new AbortController();
  const gone = fetch(`${url}/hubs/chat/negotiate`, { method: 'POST', signal: leaving.signal });
  await until(() => bridge.asked.length === 1);
  leaving.abort();
  await assert.rejects(gone);
  await until(() => bridge.asked[0]!.response.destroyed);

  const broken = exchange(t, url, 'GET /hubs/chat HTTP/1.1\nHost: x\n\n');
  await until(() => bridge.asked.length === 2);
  const { response } = bridge.asked[1]!;
  response.writeHead(200, { 'Content-Length': 10 }).write('half');
  await new Promise((resolve) => setImmediate(resolve));
  response.destroy();
  assert.match(await broken, /Content-Length: 10\r\n[\s\S]*half$/);
});

test('without a bridge the answer is an empty 502, said once in a while', async (t) => {
  const bridge = await startScriptedBridge(t);
  await bridge.close();
  const { logger, lines } = listening();
  const { url } = await startProxiedEdge(t, [bridge.url], { logger });
  for (let i = 0; i < 3; i++) {
    const answer = await fetch(`${url}/hubs/chat/negotiate`, { method: 'POST' });
    assert.deepEqual([answer.status, await answer.text()], [502, '']);
  }
  assert.deepEqual(lines, ['a client got no answer of the bridge']);
});

test('stateful reconnect is taken out of a negotiate, and said once', async (t) => {
  const bridge = await startScriptedBridge(t, { answer: negotiated('token') });
  const { logger, lines } = listening();
  const { url } = await startProxiedEdge(t, [bridge.url], { logger });
  await negotiate(url, 'negotiateVersion=1&useStatefulReconnect=true');
  await negotiate(url, 'usestatefulreconnect=true&a=%2b');
  await negotiate(url);
  assert.deepEqual(
    bridge.asked.map(({ request }) => request.url!.split('?')[1]),
    ['negotiateVersion=1', 'a=%2b', 'negotiateVersion=1'],
  );
  assert.equal(lines.filter((line) => line.includes('stateful reconnect')).length, 1);
});

test('several bridges take turns, and a token’s requests go to the bridge that gave it out', async (t) => {
  const bridges = await Promise.all(
    ['a', 'b'].map((name) =>
      startScriptedBridge(t, {
        answer: (asked) => {
          if (asked.request.url!.includes('negotiate')) negotiated(`${name}${bridges.length}`, 1)(asked);
          else asked.response.end(name);
        },
      }),
    ),
  );
  const { url } = await startProxiedEdge(
    t,
    bridges.map((bridge) => bridge.url),
  );
  const tokens = [await negotiate(url), await negotiate(url)];
  assert.deepEqual(new Set(tokens.map((token) => token[0])), new Set(['a', 'b']));
  for (const token of [...tokens, ...tokens, tokens[1]!, tokens[1]!]) {
    const answer = await fetch(`${url}/hubs/chat?id=${token}`, { method: 'POST', body: 'x' });
    assert.equal(await answer.text(), token[0]);
    await openWebSocket(t, url, `/hubs/chat?id=${token}`);
    assert.equal(bridges[token[0] === 'a' ? 0 : 1]!.sockets.at(-1)!.request.url, `/hubs/chat?id=${token}`);
  }
});

test('a bridge that does not take connections is passed over by who is not bound to it', async (t) => {
  const gone = await startScriptedBridge(t);
  await gone.close();
  const there = await startScriptedBridge(t, { answer: negotiated('token') });
  const { url } = await startProxiedEdge(t, [gone.url, there.url]);
  for (let i = 0; i < 5; i++) assert.equal(await negotiate(url), 'token');
});

test('a token without a tag is shared with the other replicas, in version 0 too, whose id is its token', async (t) => {
  const answer = negotiated('zero', 0);
  const bridges = [await startScriptedBridge(t, { answer }), await startScriptedBridge(t, { answer })];
  const shared = new Map<string, string>();
  const options = {
    share: async (key: string, value: string, ttlMs: number) => void (ttlMs > 0 && shared.set(key, value)),
    shared: async (key: string) => shared.get(key),
  };
  const urls = bridges.map((bridge) => bridge.url);
  const one = await startProxiedEdge(t, urls, options);
  const two = await startProxiedEdge(t, urls, options);
  await negotiate(one.url);
  const [key] = [...shared.keys()];
  assert.match(key!, /^token:[\w-]{43}$/, 'the token itself is told to nobody');
  for (let i = 0; i < 3; i++) await openWebSocket(t, two.url, '/hubs/chat?id=zero');
  assert.deepEqual(
    bridges.map(({ sockets }) => sockets.length),
    [3, 0],
  );
});

test('a token that nobody knows goes to the next bridge, and that is said once a minute', async (t) => {
  const answer = ({ response }: Asked) => void response.writeHead(404).end();
  const bridges = [await startScriptedBridge(t, { answer }), await startScriptedBridge(t, { answer })];
  const { logger, lines } = listening();
  const clock = new TestClock();
  const urls = bridges.map(({ url }) => url);
  const { url } = await startProxiedEdge(t, urls, { logger, clock, shared: () => Promise.reject(new Error('no log')) });
  const ask = () => fetch(`${url}/hubs/chat?id=unknown`, { method: 'DELETE' });
  for (let i = 0; i < 4; i++) assert.equal((await ask()).status, 404);
  assert.deepEqual(
    bridges.map(({ asked }) => asked.length),
    [2, 2],
  );
  assert.equal(lines.length, 1);
  assert.match(lines[0]!, /of no known bridge/);
  clock.advance(60_000);
  await ask();
  assert.equal(lines.length, 2);
});
