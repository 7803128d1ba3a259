// The ingress over real sockets with hand-made lanes: bounds, broken bodies, and what is never told to whom.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { type AddressInfo, connect as connectTcp, createServer } from 'node:net';
import { text as readText } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { pino } from 'pino';
import { BridgeAddresses } from '../../src/bridge/addresses.ts';
import { BridgeLane } from '../../src/bridge/lane.ts';
import { loadContract } from '../../src/contract/load.ts';
import { CrossfadeError } from '../../src/errors.ts';
import { Idempotency } from '../../src/ingress/idempotency.ts';
import { Ingress, type IngressOptions } from '../../src/ingress/ingress.ts';
import type { IncomingCall, Outcome } from '../../src/lanes/call.ts';
import type { Lanes } from '../../src/lanes/lanes.ts';
import type { Log } from '../../src/log/log.ts';
import { Faults } from '../../src/telemetry/faults.ts';
import { type Logger, silentLogger } from '../../src/telemetry/logger.ts';
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
  const metrics = createMetrics();
  const log = { roster: { set: () => {} } } as unknown as Log;
  const ingress = await Ingress.listen({
    listen: { host: '127.0.0.1', port: 0 },
    apiKey,
    maxBodyBytes: 1_000,
    contract: loadContract(readFileSync(contractFile, 'utf8'), 'support-center.yaml'),
    roomLanes: {
      remembersIds: true,
      standalone: false,
      hasNativeHubs: false,
      carry: (_room, run) => run({ lane: 'stream' }),
    },
    lanes: {
      carry: (incoming: IncomingCall) => {
        carried.push(incoming);
        return lanes.carry();
      },
    } as unknown as Lanes,
    bridge: undefined,
    log,
    idempotency: new Idempotency(clock, log.roster),
    clock,
    logger: silentLogger,
    metrics,
    faults: new Faults(silentLogger, metrics),
    ...options,
  });
  t.after(async () => {
    const drained = ingress.drain(1_000);
    clock.advance(2_000);
    await drained;
  });
  return { ingress, url: `http://127.0.0.1:${ingress.address.port}`, carried, lanes, clock, metrics };
}

/** Ways to write `/internal/chat/typing` that a bridge reads as just that. */
const spelled = [
  '/%69nternal/chat/typing',
  '/./internal/chat/typing',
  '/x/../internal/chat/typing',
  '/x/%2e%2E/internal/./chat/%74yping/',
  '/../internal/chat/TYPING?x=/../',
  'http://elsewhere:1/internal/chat/typing',
  'HTTP://u:p@elsewhere/internal/chat/x/..//../typing?q',
];

/** A POST with the path just as it is written. */
function ask(
  url: string,
  path: string,
  headers: Record<string, string> = {},
  body?: object,
): Promise<{ status: number; body: string }> {
  const { hostname, port } = new URL(url);
  const method = body === undefined ? 'GET' : 'POST';
  return new Promise((resolve, reject) => {
    const all = { 'content-type': 'application/json', ...headers };
    const outgoing = request({ hostname, port, method, path, headers: all, agent: false }, async (answer) => {
      resolve({ status: answer.statusCode!, body: await readText(answer) });
    });
    outgoing.on('error', reject).end(body && JSON.stringify(body));
  });
}

/** Writes raw HTTP, each character a byte, and gathers what comes back. */
function talk(url: string, text: string) {
  const socket = connectTcp(Number(new URL(url).port), '127.0.0.1');
  let answer = '';
  socket.on('data', (data) => {
    answer += data;
  });
  socket.on('error', () => {});
  socket.write(text, 'latin1');
  return {
    answer: () => answer,
    isClosed: () => socket.closed,
    hangUp: () => socket.destroy(),
    write: (more: string) => socket.write(more),
  };
}

/** A logger with its lines. */
function gathering(level: string): { logger: Logger; lines(): Record<string, unknown>[] } {
  const written: string[] = [];
  const logger = pino({ level }, { write: (line: string) => void written.push(line) });
  return { logger, lines: () => written.map((line) => JSON.parse(line)) };
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
  for (const path of ['/internal', '/INTERNAL/chat/typing', '/internal/nope', '/internal/stats', ...spelled]) {
    assert.equal((await ask(url, path)).status, 401, path);
    assert.equal((await ask(url, path, { 'x-internal-api-key': '' })).status, 403, path);
  }
  for (const path of ['//internal/chat/typing', '/internalx/chat/typing', '/internal%2Fchat/typing']) {
    assert.equal((await ask(url, path)).status, 404, path);
  }
});

test('a known call is that call in any spelling of its path, here and by the bridge', async (t) => {
  const { url, carried } = await startIngress(t);
  for (const path of spelled) {
    const answer = await ask(url, path, { 'x-internal-api-key': apiKey }, { ...typing, event_id: '' });
    assert.deepEqual(answer, { status: 200, body: '{"broadcast":true}' }, path);
  }
  assert.deepEqual(
    carried.map(({ request }) => request.url),
    spelled.map((path) => path.replace(/^http:\/\/[^/]+/i, '')),
    'to the bridge go the bytes that came, without the authority of a proxy',
  );
});

test('what Kestrel refuses as a request line is refused, and the connection ends', async (t) => {
  const { url } = await startIngress(t);
  for (const target of ['/internal%00/chat/typing', '/\xff', '/x?\xff', 'ftp://x/internal/stats']) {
    const refused = talk(url, `GET ${target} HTTP/1.1\r\nHost: x\r\n\r\n`);
    await until(() => refused.isClosed(), { what: `the end of ${target}` });
    assert.match(refused.answer(), /^HTTP\/1.1 400 /);
  }
  const long = talk(url, `GET /${'x'.repeat(20_000)} HTTP/1.1\r\nHost: x\r\n\r\n`);
  await until(() => long.isClosed());
  assert.match(long.answer(), /^HTTP\/1.1 (414|431) /);
  assert.equal((await ask(url, '/health')).status, 200);
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

test('bodies are counted as they come, whatever is declared: over the bound a call is a 503, and counted', async (t) => {
  const { url, lanes, metrics, carried } = await startIngress(t, { maxBytesInFlight: 1_500 });
  const open = Promise.withResolvers<Outcome>();
  const answering = lanes.carry;
  lanes.carry = () => open.promise;
  const body = JSON.stringify({ ...typing, filler: 'x'.repeat(800) });
  const chunked = `${head('Transfer-Encoding: chunked')}\r\n\r\n${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
  const first = talk(url, chunked);
  await until(() => carried.length === 1, { what: 'the first call to be carried' });
  const declared = talk(url, `${head('Content-Length: 900')}\r\n\r\n`);
  const second = talk(url, chunked);
  await until(() => second.answer() !== '', { what: 'the second call to be refused' });
  assert.match(second.answer(), /^HTTP\/1.1 503 .*Retry-After: 1\r\n.*INGRESS_OVERLOADED/s);
  assert.match(await metrics.registry.metrics(), /crossfade_budget_exceeded_total\{budget="call_bytes"\} 1/);
  open.resolve({ kind: 'broadcast' });
  await until(() => first.answer().startsWith('HTTP/1.1 200'));
  lanes.carry = answering;
  const third = talk(url, chunked);
  await until(() => third.answer().startsWith('HTTP/1.1 200'), { what: 'the bytes to be free again' });
  for (const each of [first, declared, second, third]) each.hangUp();
});

test('a refused call whose body does not end loses its connection after 5 s; one whose body ends keeps it', async (t) => {
  const { url, clock } = await startIngress(t);
  const line = 'POST /internal/chat/typing HTTP/1.1\r\nHost: x\r\n';
  const drips = talk(url, `${line}Content-Length: 100\r\n\r\nx`);
  const ends = talk(url, `${line}Content-Length: 3\r\n\r\nx`);
  const unknown = talk(url, 'POST /nope HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n');
  for (const { answer } of [drips, ends, unknown]) await until(() => answer().includes('\r\n\r\n'));
  assert.match(drips.answer(), /^HTTP\/1.1 401 /);
  assert.match(unknown.answer(), /^HTTP\/1.1 404 /);
  ends.write('yz');
  ends.write(`${line}Content-Length: 0\r\n\r\n`);
  await until(() => ends.answer().split('HTTP/1.1 401 ').length === 3, { what: 'the second answer' });
  clock.advance(5_000);
  await until(() => drips.isClosed() && unknown.isClosed(), { what: 'the slow ones to be cut off' });
  assert.equal(ends.isClosed(), false);
  ends.hangUp();
});

test('what asks for an upgrade is an ordinary request here, with its body; a tunnel is closed', async (t) => {
  const { url } = await startIngress(t);
  const upgrade = 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13';
  const hub = talk(url, `GET /hubs/chat HTTP/1.1\r\nHost: x\r\n${upgrade}\r\n\r\n`);
  await until(() => hub.answer().startsWith('HTTP/1.1 404 '));
  const body = JSON.stringify(typing);
  hub.write(`${head(upgrade, `Content-Length: ${body.length}`)}\r\n\r\n${body}`);
  await until(() => hub.answer().includes('HTTP/1.1 200 '), { what: 'the call to be carried' });
  hub.hangUp();
  const tunnel = talk(url, 'CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n');
  await until(() => tunnel.isClosed());
});

test('a read whose log fails is a 503, and what fails unexpectedly a 500 that is counted; neither ends more', async (t) => {
  let failure: Error = new CrossfadeError('LOG_UNAVAILABLE', 'away');
  const fail = () => Promise.reject(failure);
  const roster = { set: () => {}, read: fail, replicas: fail };
  const { url, metrics } = await startIngress(t, { log: { roster } as unknown as Log });
  const key = { 'x-internal-api-key': apiKey };
  for (const path of ['/internal/stats', '/internal/users/u/online']) {
    assert.deepEqual(await ask(url, path, key), { status: 503, body: '{"error":"LOG_UNAVAILABLE"}' });
  }
  failure = new TypeError('nobody expected it');
  assert.deepEqual(await ask(url, '/internal/stats', key), { status: 500, body: '{"error":"INTERNAL"}' });
  assert.match(await metrics.registry.metrics(), /crossfade_faults_total\{where="ingress"\} 1/);
  assert.equal((await ask(url, '/health')).status, 200);
});

test('the log says that a key was refused, once in 10 s and without the key', async (t) => {
  const { logger, lines } = gathering('info');
  const { url, clock } = await startIngress(t, { logger });
  for (let i = 0; i < 3; i++) await ask(url, '/internal/chat/typing', { 'x-internal-api-key': 'guessed-key' });
  clock.advance(10_000);
  await ask(url, '/internal/chat/typing');
  assert.deepEqual(
    lines().map(({ status, path }) => [status, path]),
    [
      [403, '/internal/chat/typing'],
      [401, '/internal/chat/typing'],
    ],
  );
  assert.doesNotMatch(JSON.stringify(lines()), /guessed-key/);
});

test('one call can be followed at debug: its event, room, lane and outcome, never its payload', async (t) => {
  const { logger, lines } = gathering('debug');
  const { url } = await startIngress(t, { logger });
  await call(url, 'chat/typing', { ...typing, user_id: 'secret-user' });
  await call(url, 'chat/typing', { ...typing, 'secret-field': 1, user_id: 7 });
  const [carried, refused] = lines();
  const { eventId, eventType, room, lane, outcome } = carried!;
  assert.deepEqual(
    { eventId, eventType, room, lane, outcome },
    { eventId: 'e', eventType: 'typing_stop', room: 'r', lane: 'stream', outcome: 'broadcast' },
  );
  assert.deepEqual([refused!.code, refused!.path], ['INGRESS_BODY_INVALID', 'chat/typing']);
  assert.doesNotMatch(JSON.stringify(lines()), /secret/);
});

test('a request that comes back from the bridge, by whatever way, is a 508 instead of a loop', async (t) => {
  let port = 0;
  let connections = 0;
  // A load balancer, say, behind which crossfade stands instead of the bridge.
  const balancer = createServer((socket) => {
    connections++;
    const further = connectTcp(port, '127.0.0.1');
    socket.on('error', () => further.destroy()).on('close', () => further.destroy());
    further.on('error', () => socket.destroy()).on('close', () => socket.destroy());
    socket.pipe(further).pipe(socket);
  });
  await new Promise<void>((resolve) => balancer.listen(0, '127.0.0.1', resolve));
  t.after(() => balancer.close());
  const addresses = await BridgeAddresses.open([`http://127.0.0.1:${(balancer.address() as AddressInfo).port}`], {
    clock: new TestClock(),
  });
  const bridge = new BridgeLane({ addresses, calls: 'one' });
  t.after(() => bridge.close());
  const lanes = {
    carry: async ({ request }: IncomingCall) => ({ kind: 'bridge', answer: await bridge.send(request) }),
  };
  const { url, ingress } = await startIngress(t, { bridge, lanes: lanes as unknown as Lanes });
  port = ingress.address.port;
  const loop = { status: 508, body: '{"error":"BRIDGE_LOOP"}' };
  const key = { 'x-internal-api-key': apiKey };
  assert.deepEqual(await ask(url, '/health'), loop);
  assert.deepEqual(await ask(url, '/internal/remote-access/control-changed', key, { event_id: '' }), loop);
  assert.deepEqual(await ask(url, '/internal/chat/typing', key, typing), loop);
  assert.ok(connections <= 3, `${connections} connections`);
  const foreign = await ask(url, '/health', { 'X-Crossfade-Hop': 'another-crossfade' });
  assert.deepEqual(foreign, loop, 'it went on, and came back');
});
