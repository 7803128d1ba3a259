// The ingress over real sockets with hand-made lanes: bounds, broken bodies, and what is never told to whom.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { connect as connectTcp } from 'node:net';
import { type TestContext, test } from 'node:test';
import { loadContract } from '../../src/contract/load.ts';
import { CrossfadeError } from '../../src/errors.ts';
import { Ingress, type IngressOptions } from '../../src/ingress/ingress.ts';
import type { IncomingCall, Lanes, Outcome } from '../../src/lanes/lanes.ts';
import type { Log } from '../../src/log/log.ts';
import { silentLogger } from '../../src/telemetry/logger.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { apiKey, call } from '../support/bridge.ts';
import { TestClock } from '../support/clock.ts';
import { until } from '../support/wait.ts';

const contractFile = new URL('../../src/contract/support-center.yaml', import.meta.url);
const typing = { event_id: 'e', request_id: 'r', user_id: 'u' };

async function startIngress(t: TestContext, options: Partial<IngressOptions> = {}) {
  const carried: IncomingCall[] = [];
  const lanes = { carry: async (): Promise<Outcome> => ({ kind: 'broadcast' }) };
  const clock = new TestClock();
  const ingress = await Ingress.listen({
    listen: { host: '127.0.0.1', port: 0 },
    apiKey,
    maxBodyBytes: 1_000,
    contract: loadContract(readFileSync(contractFile, 'utf8'), 'support-center.yaml'),
    cutover: { remembersIds: true, carry: (_room, run) => run({ lane: 'stream' }) },
    lanes: {
      carry: (incoming: IncomingCall) => {
        carried.push(incoming);
        return lanes.carry();
      },
    } as unknown as Lanes,
    bridge: undefined,
    log: { roster: { set: () => {} } } as unknown as Log,
    clock,
    logger: silentLogger,
    metrics: createMetrics(),
    ...options,
  });
  t.after(async () => {
    const drained = ingress.drain(1_000);
    clock.advance(2_000);
    await drained;
  });
  return { ingress, url: `http://127.0.0.1:${ingress.address.port}`, carried, lanes, clock };
}

/** Writes raw HTTP and gathers what comes back until the connection ends or the text matches. */
function talk(url: string, text: string): { answer(): string; hangUp(): void; write(more: string): void } {
  const socket = connectTcp(Number(new URL(url).port), '127.0.0.1');
  let answer = '';
  socket.on('data', (data) => {
    answer += data;
  });
  socket.on('error', () => {});
  socket.write(text);
  return { answer: () => answer, hangUp: () => socket.destroy(), write: (more) => socket.write(more) };
}

const head = (...headers: string[]) =>
  ['POST /internal/chat/typing HTTP/1.1', 'Host: x', `X-Internal-Api-Key: ${apiKey}`, 'Content-Type: application/json']
    .concat(headers)
    .join('\r\n');

test('a body that is too large is a 413, whether its length is told or not', async (t) => {
  const { url, carried } = await startIngress(t);
  const told = talk(url, `${head('Content-Length: 1001')}\r\n\r\n${'x'.repeat(1001)}`);
  const untold = talk(url, `${head('Transfer-Encoding: chunked')}\r\n\r\n`);
  untold.write(`${(1001).toString(16)}\r\n${'x'.repeat(1001)}\r\n0\r\n\r\n`);
  for (const { answer } of [told, untold]) {
    await until(() => answer().startsWith('HTTP/1.1 413'), { what: 'a 413' });
    assert.match(answer(), /Connection: close/);
  }
  assert.equal(carried.length, 0);
});

test('a client that sends on and on after the limit is answered all the same', async (t) => {
  const { url, clock } = await startIngress(t);
  const endless = talk(url, `${head('Transfer-Encoding: chunked')}\r\n\r\n7d1\r\n${'x'.repeat(2001)}\r\n`);
  await until(() => clock.timers > 1, { what: 'the body to be over the limit' });
  clock.advance(5_000);
  await until(() => endless.answer().startsWith('HTTP/1.1 413'));
  endless.hangUp();
});

test('calls over the bound are a 503 with Retry-After, and the places come free again', async (t) => {
  const { url, lanes } = await startIngress(t, { maxInFlight: 1 });
  const open = Promise.withResolvers<Outcome>();
  lanes.carry = () => open.promise;
  const first = call(url, 'chat/typing', typing);
  const refused = await until(async () => {
    const answer = await fetch(`${url}/internal/chat/typing`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-internal-api-key': apiKey },
      body: JSON.stringify({ ...typing, event_id: '' }),
    });
    return answer.status === 503 && answer;
  });
  assert.equal(refused.headers.get('retry-after'), '1');
  assert.deepEqual(await refused.json(), { error: 'INGRESS_OVERLOADED' });
  open.resolve({ kind: 'broadcast' });
  assert.equal((await first).status, 200);
  assert.equal((await call(url, 'chat/typing', { ...typing, event_id: 'f' })).status, 200);
});

test('a backend that hangs up in the middle of a body gives its place back', async (t) => {
  const { url, carried } = await startIngress(t, { maxInFlight: 1 });
  const broken = talk(url, `${head('Content-Length: 100')}\r\n\r\n{"event_id":`);
  await until(async () => (await call(url, 'chat/typing', typing)).status === 503, { what: 'the place to be taken' });
  broken.hangUp();
  await until(async () => (await call(url, 'chat/typing', typing)).status === 200, { what: 'the place to be free' });
  assert.equal(carried.length, 1);
});

test('a repeat waits for the call of its id and is a duplicate, or is carried if that one failed', async (t) => {
  const { url, lanes, carried } = await startIngress(t);
  const outcomes = [Promise.withResolvers<Outcome>(), Promise.withResolvers<Outcome>()];
  lanes.carry = () => outcomes[carried.length - 1]!.promise;
  const first = call(url, 'chat/typing', typing);
  await until(() => carried.length === 1);
  const repeats = [call(url, 'chat/typing', typing), call(url, 'chat/typing', typing)];
  outcomes[0]!.reject(new CrossfadeError('LOG_APPEND_REFUSED', 'full', { reason: 'redis_error' }));
  assert.deepEqual(await first, { status: 503, body: { error: 'LOG_APPEND_REFUSED' } });
  await until(() => carried.length === 2, { what: 'one repeat to be carried' });
  outcomes[1]!.resolve({ kind: 'broadcast' });
  const answers = await Promise.all(repeats);
  assert.deepEqual(answers.map(({ body }) => Object.keys(body as object)[0]).sort(), ['broadcast', 'duplicate']);
  assert.equal(carried.length, 2);
});

test('an id is remembered for 5 minutes', async (t) => {
  const { url, carried, clock } = await startIngress(t);
  assert.deepEqual((await call(url, 'chat/typing', typing)).body, { broadcast: true });
  clock.advance(5 * 60_000 - 1);
  assert.deepEqual((await call(url, 'chat/typing', typing)).body, { duplicate: true });
  clock.advance(1);
  assert.deepEqual((await call(url, 'chat/typing', typing)).body, { broadcast: true });
  assert.equal(carried.length, 2);
});

test('the key is checked before the route, in any spelling of the path', async (t) => {
  const { url } = await startIngress(t);
  for (const path of ['/internal', '/INTERNAL/chat/typing', '/internal/nope', '/internal/stats']) {
    assert.equal((await fetch(url + path, { method: 'POST' })).status, 401, path);
    assert.equal((await fetch(url + path, { headers: { 'x-internal-api-key': '' } })).status, 403, path);
  }
  for (const path of ['/%69nternal/chat/typing', '//internal/chat/typing', '/internalx/chat/typing']) {
    assert.equal((await fetch(url + path, { method: 'POST' })).status, 404, path);
  }
});

test('names of JavaScript’s own are names like any other', async (t) => {
  const { url, carried } = await startIngress(t);
  const body = {
    event_id: '__proto__',
    request_id: 'constructor',
    user_id: 'toString',
    __proto__: null,
    hasOwnProperty: 1,
  };
  assert.deepEqual((await call(url, 'chat/typing', body)).body, { broadcast: true });
  assert.deepEqual((await call(url, 'chat/typing', body)).body, { duplicate: true });
  assert.equal(carried[0]!.event.room, 'constructor');
  assert.equal((await call(url, 'constructor', body)).status, 404);
});
