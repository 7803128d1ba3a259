// What replicas tell each other: heard by its signature alone, and told to whoever listens at their addresses without a secret.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { Admin } from '../../src/admin/admin.ts';
import type { CutoverRoutesOptions } from '../../src/admin/cutover-routes.ts';
import type { Compare } from '../../src/compare/compare.ts';
import type { ReplicaView } from '../../src/cutover/own-view.ts';
import { PeerSignature, signatureHeader } from '../../src/peers/peer-signature.ts';
import { Peers } from '../../src/peers/peers.ts';
import { initialState, rolledBack } from '../../src/rooms/state.ts';
import { Faults } from '../../src/telemetry/faults.ts';
import { LogThrottle } from '../../src/telemetry/log-throttle.ts';
import { silentLogger } from '../../src/telemetry/logger.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { TestClock } from '../support/clock.ts';

const token = 'the-admin-token';
const words: Record<string, object> = {
  '/cutover/adopt': { ...initialState, ...rolledBack, epoch: 3 },
  '/cutover/uncertain': { id: 'i', eventId: 'e', room: 'r' },
  '/cutover/uncertain-decided': { id: 'i', verdict: 'withhold' },
  '/cutover/outage': { instance: 'teller', at: 1, isOn: true, fails: true, epoch: 1, reason: 'timeout' },
  '/cutover/look': {},
  '/cutover/forecast': { from: initialState, to: initialState },
  '/cutover/reach': {},
  '/edge/connection/user': { connectionId: 'c' },
};
const paths = Object.keys(words);
const none = { rooms: '', connections: 0 };
const addable = { known: none, moving: none, biggest: null };

/** A replica named `here`. @returns its port, what it has heard, and its clock */
async function startReplica(t: TestContext, secret: string | undefined) {
  const heard: string[] = [];
  const clock = new TestClock();
  const hear = (word: string) => () => void heard.push(word);
  const metrics = createMetrics();
  const admin = await Admin.listen({
    listen: { host: '127.0.0.1', port: 0 },
    token: secret,
    insecure: false,
    faults: new Faults(silentLogger, metrics),
    metrics,
    beforeScrape: async () => {},
    readiness: () => ({}),
    check: async () => ({}),
    drain: () => ({ remaining: 0, done: true }),
    live: { watch: () => assert.fail('nobody watches') },
    compare: { compare: {} as Compare, clock },
    cutover: {} as CutoverRoutesOptions,
    peers: {
      instance: 'here',
      edge: {
        takePeer: hear('/edge/connection'),
        userOf: () => {
          heard.push('/edge/connection/user');
          return {};
        },
      },
      clock,
      rollback: { adoptFromPeer: async () => hear('/cutover/adopt')() },
      survey: {
        ownView: async () => {
          heard.push('/cutover/look');
          return { rooms: 7 } as ReplicaView;
        },
        ownForecast: async () => {
          heard.push('/cutover/forecast');
          return addable;
        },
        ownReach: async () => {
          heard.push('/cutover/reach');
          return [];
        },
      },
      uncertain: {
        hear: () => {
          heard.push('/cutover/uncertain');
          return { read: true };
        },
        decided: hear('/cutover/uncertain-decided'),
      },
      outage: {
        async hear(news) {
          heard.push('/cutover/outage');
          return news;
        },
      },
      readerWatch: { reads: true },
      signature: new PeerSignature({ instance: 'here', secret, clock }),
      saysUnsigned: new LogThrottle(clock, 1_000),
      logger: silentLogger,
    },
  });
  t.after(() => admin.close());
  const say = async (path: string, body: string, headers: Record<string, string | undefined>) => {
    const given = Object.entries(headers).filter(([, value]) => value !== undefined) as [string, string][];
    const options = { host: '127.0.0.1', port: admin.address.port, method: 'POST', path, agent: false };
    const asked = request({ ...options, headers: Object.fromEntries(given) });
    asked.end(body);
    const [answer] = (await once(asked, 'response')) as [IncomingMessage];
    answer.resume();
    return answer.statusCode!;
  };
  return { port: admin.address.port, heard, clock, say };
}

/** Peers of `teller`, who finds another replica at this address. */
async function peersAt(t: TestContext, address: string, clock: TestClock, instance = 'here') {
  const roster = { replicas: async () => [replicaAt('teller', ''), replicaAt(instance, address)] };
  const signature = new PeerSignature({ instance: 'teller', secret: token, clock });
  const peers = new Peers({ instance: 'teller', roster, signature, clock, logger: silentLogger });
  t.after(() => peers.close());
  await peers.refresh();
  return peers;
}

const replicaAt = (instance: string, admin: string) => ({ instance, facts: { admin }, counters: new Map() });

/** A server of somebody's own. @returns its address, and the requests it got with their bodies */
async function startStranger(t: TestContext, answer: (response: ServerResponse) => void) {
  const got: { request: IncomingMessage; body: string }[] = [];
  const server = createServer(async (asked, response) => {
    let body = '';
    for await (const chunk of asked) body += chunk;
    got.push({ request: asked, body });
    answer(response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return { address: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, got };
}

test('a replica hears every word that another one has signed', async (t) => {
  const { port, heard, clock } = await startReplica(t, token);
  const peers = await peersAt(t, `http://127.0.0.1:${port}`, clock);
  for (const path of paths) {
    assert.deepEqual(await peers.tell(path, words[path], 5_000), { reached: ['here'], notReached: [] });
  }
  assert.deepEqual(heard, paths);
});

test('without its signature no word of a replica is heard: not from loopback, not with the operator’s token', async (t) => {
  const { heard, say, clock } = await startReplica(t, token);
  const authorization = `Bearer ${token}`;
  const now = clock.now();
  for (const path of paths) {
    const body = JSON.stringify(words[path]);
    const sign = (secret: string) => new PeerSignature({ instance: 'x', secret, clock }).sign(path, 'here', body)!;
    for (const header of [
      undefined,
      '',
      'x',
      `t=${now}`,
      sign('another-token'),
      sign(token).replace(/s=(.)/, (_, first) => `s=${first === 'A' ? 'B' : 'A'}`),
    ]) {
      assert.equal(await say(path, body, { authorization, [signatureHeader]: header }), 401, `${path} ${header}`);
    }
  }
  assert.deepEqual(heard, []);
});

test('a word counts as it was signed, for whom and when it was, and once', async (t) => {
  const { heard, say, clock } = await startReplica(t, token);
  const teller = new PeerSignature({ instance: 'teller', secret: token, clock });
  const [path, body] = ['/cutover/uncertain-decided', '{"id":"i","verdict":"show"}'];
  const sayWith = (header: string | undefined, said = body, at = path) => say(at, said, { [signatureHeader]: header });

  assert.equal(await sayWith(teller.sign(path, 'here', body), '{"id":"other"}'), 401, 'another body');
  assert.equal(await sayWith(teller.sign(path, 'elsewhere', body)), 401, 'for another replica');
  assert.equal(await sayWith(teller.sign('/cutover/outage', 'here', body)), 401, 'of another path');
  const signed = teller.sign(path, 'here', body);
  clock.advance(30_001);
  assert.equal(await sayWith(signed), 401, 'too late');
  clock.wallMs -= 60_002;
  assert.equal(await sayWith(signed), 401, 'from a clock that is ahead');
  assert.deepEqual(heard, []);

  const ahead = teller.sign(path, 'here', body);
  clock.wallMs -= 30_000;
  assert.equal(await sayWith(ahead), 200, 'within the window');
  for (const ms of [0, 30_000, 30_000]) {
    clock.advance(ms);
    assert.equal(await sayWith(ahead), 401, 'a second time');
  }
  assert.deepEqual(heard, [path]);
});

test('where there is no secret at all, whoever may use the admin port may speak as a replica', async (t) => {
  const { heard, say } = await startReplica(t, undefined);
  assert.equal(await say('/cutover/uncertain-decided', '{"id":"i","verdict":"show"}', {}), 200);
  assert.equal(
    await say('/cutover/uncertain-decided', '{"id":"i","verdict":"show"}', { origin: 'http://evil.example' }),
    401,
  );
  assert.deepEqual(heard, ['/cutover/uncertain-decided']);
});

test('whoever has written an address into the log gets a word there, and no secret with it', async (t) => {
  const { address, got } = await startStranger(t, (response) => response.end());
  const peers = await peersAt(t, address, new TestClock());
  assert.deepEqual((await peers.tell('/cutover/adopt', words['/cutover/adopt'], 5_000)).reached, ['here']);
  const [{ request: asked, body }] = got as [(typeof got)[number]];
  assert.equal(asked.headers.authorization, undefined);
  assert.doesNotMatch(JSON.stringify([asked.rawHeaders, body]), new RegExp(token));
});

test('an address that leads on, answers without an end, or is no address, is a replica that was not reached', async (t) => {
  const target = await startStranger(t, (response) => response.end());
  const onward = await startStranger(t, (response) => response.writeHead(307, { location: target.address }).end());
  const endless = await startStranger(t, (response) => {
    response.writeHead(500);
    const write = () =>
      response.write('x'.repeat(65_536), (error) => error || response.destroyed || setImmediate(write));
    write();
  });
  const addresses = [
    'file:///etc/passwd',
    'javascript:1',
    `${target.address}/x?`,
    'http://u:p@h',
    'http://',
    '',
    onward.address,
  ];
  for (const address of [...addresses, endless.address]) {
    const peers = await peersAt(t, address, new TestClock());
    const told = await peers.tell('/cutover/uncertain-decided', { id: 'i', verdict: 'show' }, 5_000);
    assert.deepEqual(told, { reached: [], notReached: ['here'] }, address);
  }
  assert.equal(target.got.length, 0);
});
