// Credentials on connections that come by many requests, against a bridge that the tests script: it knows one token, and a
// connection token alone opens nothing.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { until } from '../../support/wait.ts';
import { type Asked, startScriptedBridge } from './scripted-bridge.ts';
import { startProxiedEdge } from './setup.ts';

interface Asking {
  /** Behind the hub's. */
  path?: string;
  method?: string;
  token?: string;
  body?: string;
}

interface Answered {
  status: number;
  body: string;
  headers: IncomingMessage['headers'];
}

const refusal = { 'WWW-Authenticate': 'Bearer', 'Content-Length': '0' };

/** A bridge that takes these tokens; polls and streams wait there for the test. */
async function connected(t: TestContext, type: 'application/octet-stream' | 'text/event-stream') {
  const good = new Set(['good']);
  const answer = ({ request: { method, url, headers }, response }: Asked) => {
    if (!good.has(headers.authorization?.replace('Bearer ', '') ?? '')) response.writeHead(401, refusal).end();
    else if (url!.startsWith('/hubs/chat/refresh')) response.writeHead(200).end('{"tokenLifetimeSeconds":9}');
    else if (method === 'POST') response.writeHead(202, { 'Content-Type': 'text/plain' }).end();
    else if (polls().length > 1) return;
    else if (type === 'text/event-stream') response.writeHead(200, { 'Content-Type': type }).write(':\r\n');
    else response.writeHead(200, { 'Content-Type': type, 'Content-Length': 0 }).end();
  };
  const bridge = await startScriptedBridge(t, { answer });
  const polls = () => bridge.asked.filter(({ request: { method } }) => method === 'GET');
  const edge = await startProxiedEdge(t, [bridge.url]);
  const ask = ({ path = '', method = 'GET', token, body = '' }: Asking) => {
    const { promise, resolve, reject } = Promise.withResolvers<Answered>();
    const headers = { 'content-length': String(body.length), ...(token && { authorization: `Bearer ${token}` }) };
    const outgoing = request(`${edge.url}/hubs/chat${path}?id=x`, { method, agent: false, headers });
    outgoing.on('error', reject).on('response', (response) => {
      text(response).then(
        (got) => resolve({ status: response.statusCode!, body: got, headers: response.headers }),
        reject,
      );
    });
    outgoing.end(body);
    t.after(() => outgoing.destroy());
    promise.catch(() => {});
    return promise;
  };
  const opening = ask({ token: 'good' });
  await until(() => edge.taps.length === 1);
  return { ...edge, bridge, good, polls, ask, opening, tap: edge.taps[0]! };
}

test('what waits for a poll goes to nobody whose credentials the bridge has not accepted', async (t) => {
  const { ask, opening, tap } = await connected(t, 'application/octet-stream');
  await opening;
  const message = tap.inject('1');
  for (const token of [undefined, 'bad']) {
    const { status, body, headers } = await ask({ token });
    assert.deepEqual([status, body, headers['www-authenticate']], [401, '', 'Bearer']);
  }
  assert.equal((await ask({ token: 'good' })).body, `${message}\x1e`);
});

test('nobody joins a poll at the bridge without credentials that it has accepted', async (t) => {
  const { ask, opening, polls, tap } = await connected(t, 'application/octet-stream');
  await opening;
  const answered = ask({ token: 'good' });
  await until(() => polls().length === 2);
  const first = tap.inject('1');
  assert.equal((await answered).body, `${first}\x1e`);
  assert.equal((await ask({ token: 'bad' })).status, 401);
  const joining = ask({ token: 'good' });
  const second = tap.inject('2');
  assert.equal((await joining).body, `${second}\x1e`);
});

test('a renewed token is shown to the bridge once and then as good as the first, which has to be shown again', async (t) => {
  const { ask, bridge, good, opening, polls, tap } = await connected(t, 'application/octet-stream');
  await opening;
  good.add('renewed');
  for (const expected of [2, 2]) {
    const message = tap.inject('1');
    assert.equal((await ask({ token: 'renewed' })).body, `${message}\x1e`);
    assert.equal(bridge.asked.length, expected);
  }
  good.delete('good');
  const message = tap.inject('2');
  assert.equal((await ask({ token: 'good' })).status, 401);
  assert.equal((await ask({ token: 'renewed' })).body, `${message}\x1e`);
  assert.equal(polls().length, 1);
});

test('credentials that the bridge refuses later are not answered from memory any more', async (t) => {
  const { ask, good, opening, tap } = await connected(t, 'application/octet-stream');
  await opening;
  good.delete('good');
  assert.equal((await ask({ token: 'good' })).status, 401);
  tap.inject('1');
  assert.equal((await ask({ token: 'good' })).status, 401);
});

for (const type of ['application/octet-stream', 'text/event-stream'] as const) {
  test(`what is posted without accepted credentials is shown to nobody here, and our own posts do not take them (${type})`, async (t) => {
    const { ask, bridge, tap } = await connected(t, type);
    for (const token of [undefined, 'bad']) {
      assert.equal((await ask({ method: 'POST', token, body: 'half a rec' })).status, 401);
    }
    assert.deepEqual(tap.sent, []);
    tap.leg.sendToBridge(Buffer.from('own'), 'json');
    await until(() => bridge.asked.at(-1)!.body === 'own');
    assert.equal(bridge.asked.at(-1)!.request.headers.authorization, 'Bearer good');
    assert.equal((await ask({ method: 'POST', token: 'good', body: 'said' })).status, 202);
    assert.deepEqual(tap.sent, ['said']);
  });

  test(`a refresh is no message: our own posts go to the hub as before, with the new token, once the old one has expired (${type})`, async (t) => {
    const { ask, bridge, good, tap } = await connected(t, type);
    const refresh = { path: '/refresh', method: 'POST' };
    assert.equal((await ask({ ...refresh, token: 'bad' })).status, 401);
    good.add('renewed');
    const { status, body } = await ask({ ...refresh, token: 'renewed' });
    assert.deepEqual([status, body], [200, '{"tokenLifetimeSeconds":9}']);
    assert.deepEqual(tap.sent, []);
    good.delete('good');
    tap.leg.sendToBridge(Buffer.from('fence'), 'json');
    await until(() => bridge.asked.at(-1)!.body === 'fence');
    const { url, headers } = bridge.asked.at(-1)!.request;
    assert.deepEqual([url, headers.authorization], ['/hubs/chat?id=x', 'Bearer renewed']);
    assert.equal((await ask({ method: 'POST', token: 'renewed', body: 'said' })).status, 202);
    assert.deepEqual(tap.sent, ['said']);
  });

  test(`a refresh does not wait for a post that is still being sent (${type})`, async (t) => {
    const { ask, url, tap } = await connected(t, type);
    const headers = { 'content-length': '10', authorization: 'Bearer good' };
    const stuck = request(`${url}/hubs/chat?id=x`, { method: 'POST', agent: false, headers });
    const answer = once(stuck, 'response');
    stuck.write('ha');
    await until(() => tap.sent.length === 1);
    assert.equal((await ask({ path: '/refresh', method: 'POST', token: 'good' })).status, 200);
    stuck.end('lf a rec');
    await answer;
  });

  test(`a post without accepted credentials that never ends holds up nobody else’s (${type})`, async (t) => {
    const { ask, url, bridge, tap } = await connected(t, type);
    const { asked } = bridge;
    const before = asked.length;
    const outgoing = request(`${url}/hubs/chat?id=x`, {
      method: 'POST',
      agent: false,
      headers: { 'content-length': '9' },
    });
    const answer = Promise.withResolvers<IncomingMessage>();
    outgoing.on('response', answer.resolve).on('error', () => {});
    t.after(() => outgoing.destroy());
    outgoing.write('ha');
    await until(() => asked.length > before);
    assert.equal((await ask({ method: 'POST', token: 'good', body: 'said' })).status, 202);
    assert.deepEqual(tap.sent, ['said']);
    assert.equal((await answer.promise).statusCode, 401);
  });
}
