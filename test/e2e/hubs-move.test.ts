// Hubs that move between the bridge and crossfade while their clients are connected: nobody notices more than a reconnect, what clients
// send to each other arrives wherever they are, and nothing is moved to where it would be lost.

import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { apiKey, broadcastsAt, call, jwtSecret, startBridge } from '../support/bridge.ts';
import { Desktop, keepPresence, PresenceReader } from '../support/presence.ts';
import type { Crossfade } from '../support/process.ts';
import { startRedis } from '../support/redis.ts';
import { HttpTransportType, type HubClient, makeToken, openRaw } from '../support/signalr.ts';
import { until } from '../support/wait.ts';
import { command, cutover, force, messageOf, say, shownOf, stateOf, untilAll } from './operating.ts';
import { join, patient, startSidecar } from './sidecar.ts';

type Where = Record<string, { at: string; native: number; proxied: number }>;

const hubsOf = async (replica: Crossfade) => ((await stateOf(replica)) as unknown as { hubs: Where }).hubs;

/** Waits until every client of the hub is where it shall be. */
async function untilMoved(replica: Crossfade, hub: string, at: 'native' | 'proxy', clients: number): Promise<void> {
  const counts = at === 'native' ? { native: clients, proxied: 0 } : { native: 0, proxied: clients };
  let where: Where[string] | undefined;
  await until(
    async () => {
      where = (await hubsOf(replica))[hub];
      return where?.at === at && where.native === counts.native && where.proxied === counts.proxied;
    },
    { what: () => `${clients} clients of ${hub} at ${at}: ${JSON.stringify(where)}`, timeoutMs: 15_000 },
  );
}

async function setUp(t: TestContext, replicaCount: number, more: string[] = []) {
  const redis = await startRedis(t);
  const bridge = await startBridge(t);
  const flags = [...patient, '--redis', redis.url, '--bridge', bridge.url, ...more];
  const replicas = await Promise.all(Array.from({ length: replicaCount }, () => startSidecar(t, flags)));
  await force(replicas[0]!, 100);
  await untilAll(replicas, ({ percent }) => percent === 100, { what: 'percent 100' });
  return { redis, bridge, replicas, flags };
}

const reconnectMs = Array.from({ length: 400 }, () => 50);

/** A member of the room that comes back by itself, and joins again, as the product's clients do. */
async function member(
  t: TestContext,
  { edge }: Crossfade,
  user: string,
  room: string,
  transport = HttpTransportType.WebSockets,
) {
  const client: HubClient & { joins?: number } = await join(t, edge, 'chat', user, { reconnectMs, transport });
  const enter = async () => {
    await client.connection.invoke('JoinRoom', room);
    client.joins = (client.joins ?? 0) + 1;
  };
  client.connection.onreconnected(() => void enter().catch(() => {}));
  await enter();
  return client;
}

test('a hub moves to crossfade and back, over two replicas: its clients of every transport reconnect, and miss nothing before or after', async (t) => {
  const { bridge, replicas } = await setUp(t, 2);
  const [one, two] = replicas as [Crossfade, Crossfade];
  const { WebSockets, ServerSentEvents, LongPolling } = HttpTransportType;
  const clients = [
    await member(t, one, 'ada', 'r'),
    await member(t, two, 'bob', 'r', WebSockets),
    await member(t, one, 'cyd', 'r', ServerSentEvents),
    await member(t, two, 'dan', 'r', LongPolling),
  ];
  const joined = (times: number) =>
    until(() => clients.every(({ joins }) => joins === times), {
      what: `all to have joined ${times} times`,
      timeoutMs: 20_000,
    });
  const all = (content: string) =>
    until(() => clients.every((client) => shownOf(client, 'r').includes(content)), { what: `${content} to be shown` });
  await say(one, 'r', 'before');
  await all('before');

  const token = await makeToken({ sub: 'late' }, jwtSecret);
  const ask = (path: string, init: RequestInit = {}) =>
    fetch(`${one.edge}/hubs/chat${path}`, { ...init, headers: { authorization: `Bearer ${token}` } });
  const negotiated = (await (await ask('/negotiate?negotiateVersion=1', { method: 'POST' })).json()) as {
    connectionToken: string;
  };
  const { code, stdout } = await cutover(t, ['hubs', 'native', '--hub', 'chat', '--admin', one.admin]);
  assert.equal(code, 0);
  assert.match(stdout, /chat +native/);
  await joined(2);
  await untilMoved(two, 'chat', 'native', 4);
  assert.equal(
    bridge.calls.filter(({ url }) => url.includes('/hubs/chat/negotiate')).length,
    5,
    'none came to the bridge again',
  );
  const late = await ask(`?id=${negotiated.connectionToken}`);
  assert.deepEqual(
    [late.status, await late.text()],
    [404, 'No Connection with that ID'],
    'who is late negotiates anew',
  );
  await say(two, 'r', 'native');
  await all('native');

  assert.equal((await cutover(t, ['hubs', 'proxy', '--admin', two.admin])).code, 0);
  await joined(3);
  await untilMoved(one, 'chat', 'proxy', 4);
  await say(one, 'r', 'back');
  await all('back');
  for (const client of clients) assert.deepEqual(shownOf(client, 'r'), ['before', 'native', 'back']);
});

/** A participant of a remote session that comes back by itself and takes part again. */
async function participant(t: TestContext, { edge }: Crossfade, user: string, session: string) {
  const client: HubClient & { joins?: number } = await join(t, edge, 'remote-access', user, { reconnectMs });
  const enter = async () => {
    await client.connection.invoke('JoinSession', session, user);
    client.joins = (client.joins ?? 0) + 1;
  };
  client.connection.onreconnected(() => void enter().catch(() => {}));
  await enter();
  return client;
}

/** A session whose participants go last in a move, so that they stay for nearly all of it. */
const lastSession = Array.from({ length: 1_000 }, (_, i) => `session-${i}`).find(
  (name) => Number.parseInt(hash('sha1', `remote-access:${name}`).slice(0, 2), 16) >= 250,
)!;

/** So many connections that a move takes half a minute where one goes per second. */
async function crowd(t: TestContext, replica: Crossfade): Promise<void> {
  const token = await makeToken({ sub: 'crowd' }, jwtSecret);
  for (let i = 0; i < 30; i++) (await openRaw(t, `${replica.edge}/hubs/remote-access`, token)).shakeHands();
  const counted = async () => (await hubsOf(replica))['remote-access']!.proxied >= 30;
  await until(counted, { what: 'the crowd to be counted' });
}

/** Offer, answer and candidates, as WebRTC has them: an offer may be large. */
async function exchange(round: string, ada: HubClient, bob: HubClient): Promise<void> {
  const got = (client: HubClient, method: string) =>
    client
      .of(method)
      .map(({ args }) => (args[0] as { payload: { round: string; n: number } }).payload)
      .filter((payload) => payload.round === round)
      .map(({ n }) => n);
  const sdp = 'v=0 '.repeat(5_000);
  await ada.connection.invoke('SendSdpOffer', lastSession, { round, n: 0, sdp });
  await until(() => got(bob, 'SdpOffer').length === 1, { what: `the offer of ${round}` });
  await bob.connection.invoke('SendSdpAnswer', lastSession, { round, n: 0, sdp });
  await until(() => got(ada, 'SdpAnswer').length === 1, { what: `the answer of ${round}` });
  const numbers = Array.from({ length: 10 }, (_, n) => n);
  const send = (client: HubClient, n: number) => client.connection.send('SendIceCandidate', lastSession, { round, n });
  await Promise.all(numbers.flatMap((n) => [send(ada, n), send(bob, n)]));
  for (const client of [ada, bob]) {
    await until(() => got(client, 'IceCandidate').length >= 10, { what: `the candidates of ${round}` });
    assert.deepEqual(got(client, 'IceCandidate'), numbers, round);
    assert.equal([...got(client, 'SdpOffer'), ...got(client, 'SdpAnswer')].length, 1, `${round}: shown once`);
  }
}

test('while both kinds of a hub exist, what clients send each other arrives once and in order, in both directions', async (t) => {
  const { replicas } = await setUp(t, 2, ['--drain-rate', '1']);
  const [one, two] = replicas as [Crossfade, Crossfade];
  const ada = await participant(t, one, 'ada', lastSession);
  const eve = await participant(t, two, 'eve', lastSession);
  await exchange('both at the bridge', ada, eve);
  await eve.connection.stop();
  await until(() => ada.of('ParticipantLeft').length === 1, { what: 'eve to have left' });

  const move = async (kind: string) => {
    await crowd(t, one);
    await until(async () => (await hubsOf(one))['remote-access']![kind === 'native' ? 'proxied' : 'native'] > 30, {
      what: 'the crowd to be there',
    });
    const body = { hubs: { 'remote-access': kind }, force: true };
    assert.equal((await command(one, body)).status, 200);
    await untilAll(replicas, (state) => (state as unknown as { hubs: Where }).hubs['remote-access']!.at === kind, {
      what: `remote-access at ${kind}`,
    });
  };
  await move('native');
  const bob = await participant(t, two, 'bob', lastSession);
  await until(() => ada.of('ParticipantJoined').length === 2, { what: 'bob to be announced' });
  await exchange('one native, one at the bridge', ada, bob);
  await exchange('and the other way round', bob, ada);

  await move('proxy');
  const fay = await participant(t, one, 'fay', lastSession);
  await exchange('on the way back', fay, bob);
  await fay.connection.stop();
  const leftOf = (client: HubClient) =>
    client.of('ParticipantLeft').map(({ args }) => (args[0] as { userId: string }).userId);
  await until(() => [ada, bob].every((client) => leftOf(client).at(-1) === 'fay'), {
    what: 'all to be told of the end',
  });
  assert.deepEqual([ada.joins, bob.joins], [1, 1], 'nobody had to go yet');

  assert.equal((await command(one, {}, 'rollback')).status, 200);
  await until(() => bob.joins === 2, { what: 'bob to be back at the bridge' });
  await exchange('after a rollback', ada, bob);
  assert.equal(ada.joins, 1);
});

test('no hub becomes native, and no room goes to the bridge, where clients would be left out', async (t) => {
  const redis = await startRedis(t);
  const bridge = await startBridge(t);
  const flags = ['--publish-timeout', '500', '--redis', redis.url, '--bridge', bridge.url];
  const one = await startSidecar(t, flags);
  const refused = async (body: object, why: RegExp, action?: 'reset') => {
    const { status, body: answer } = await command(one, body, action);
    assert.deepEqual([status, answer.error], [400, 'CUTOVER_INVALID'], JSON.stringify(answer));
    assert.match(String(answer.message), why);
  };
  const native = { hubs: { chat: 'native' } };
  await refused(native, /rooms are at the bridge.*cutover set 100/);
  await force(one, 100);
  await command(one, { pins: { r: 'bridge' } });
  await refused(native, /rooms are at the bridge/);
  await command(one, { pins: { r: null }, force: true });
  await refused({ hubs: { nope: 'native' } }, /there is no hub 'nope': chat, ticket/);

  const blind = await startSidecar(t, [...flags, '--instance', 'blind'], { env: { JWT_SECRET_KEY: '' } });
  await until(async () => (await stateOf(one)).replicas.length === 2, { what: 'the other replica' });
  await refused(native, /^blind could know no client of a native hub: set JWT_SECRET_KEY/);
  await blind.process.stop();
  await until(async () => (await stateOf(one)).replicas.length === 1, { what: 'the other replica to be gone' });

  const held = await command(one, { why: 'lunch' }, 'hold');
  assert.equal((await command(one, native)).body.error, 'CUTOVER_HELD');
  await command(one, {}, 'release');
  const dry = await command(one, { ...native, dryRun: true });
  assert.deepEqual(
    [dry.body.possible, (dry.body.hubs as object[])[0]],
    [true, { hub: 'chat', to: 'native', connections: 0, overMs: 100 }],
  );
  assert.equal((await hubsOf(one)).chat!.at, 'proxy', 'a dry run moves nothing');
  const { epoch } = await stateOf(one);
  assert.equal(
    (await command(one, { ...native, ifEpoch: Number(held.body.epoch) - 1 })).body.error,
    'CUTOVER_CONFLICT',
  );
  assert.equal((await command(one, { ...native, ifEpoch: epoch, force: true })).status, 200);

  for (const lowering of [{ percent: 50 }, { pins: { r: 'bridge' } }])
    await refused(lowering, /^chat would hear nothing of a room at the bridge: `crossfade cutover hubs proxy` first/);
  await refused({}, /chat would hear nothing/, 'reset');
  const ada = await member(t, one, 'ada', 'r');
  await untilMoved(one, 'chat', 'native', 1);

  // A log that fails: what the bridge shows reaches no native client, so the backend is told.
  redis.pause();
  const answer = await call(one.listen, 'chat/message', messageOf('r', 'lost'));
  redis.resume();
  assert.equal(answer.status, 503);
  assert.equal((await stateOf(one)).outage, null);
  assert.equal(broadcastsAt(bridge).length, 0);
  await until(async () => (await call(one.listen, 'chat/message', messageOf('r', 'kept'))).status === 200, {
    what: 'the log',
  });
  await until(() => shownOf(ada, 'r').includes('kept'), { what: 'the message' });

  assert.equal((await command(one, {}, 'rollback')).status, 200);
  await until(() => ada.joins === 2, { what: 'ada to be back at the bridge' });
  await untilMoved(one, 'chat', 'proxy', 1);
  await say(one, 'r', 'by the bridge');
  await until(() => shownOf(ada, 'r').includes('by the bridge'), { what: 'what the bridge shows' });
  await force(one, 100);
  assert.equal((await hubsOf(one)).chat!.at, 'proxy', 'they do not go again by themselves');
});

test('presence keys are there whenever a desktop is connected, while its hubs move one by one, and go with its last connection', async (t) => {
  const { redis, bridge, replicas } = await setUp(t, 2);
  const [one, two] = replicas as [Crossfade, Crossfade];
  const keys = redis.client();
  keepPresence(bridge, keys);
  const desktop = await Desktop.start(t, one.edge, 'ada', 'desk');
  const chat = await join(t, two.edge, 'chat', 'ada', { reconnectMs });
  let chats = 0;
  chat.connection.onreconnected(() => void chats++);
  const presence = await PresenceReader.start(redis, [desktop]);
  const online = async () => {
    const headers = { 'x-internal-api-key': apiKey };
    return (await (await fetch(`${one.listen}/internal/users/ada/online`, { headers })).json()) as {
      connectionCount: number;
    };
  };
  const move = async (kind: string, hub: string, done: () => boolean) => {
    assert.equal((await command(one, { hubs: { [hub]: kind }, force: true })).status, 200);
    await until(done, { what: `${hub} to be ${kind}` });
    // A bridge that answers by itself again counts the stand-in, too, until the move is over.
    await until(async () => (await online()).connectionCount === 2, { what: 'both to be counted', timeoutMs: 30_000 });
  };
  await move('native', 'remote-access', () => desktop.returns === 1);
  // The bridge's last connection of a client of this user ends with it, and a stand-in is there.
  await move('native', 'chat', () => chats === 1);
  await move('proxy', 'remote-access', () => desktop.returns === 2);
  await move('proxy', 'chat', () => chats === 2);
  await move('native', 'chat', () => chats === 3);
  await move('native', 'remote-access', () => desktop.returns === 3);
  await until(async () => (await online()).connectionCount === 2, { what: 'both to be counted' });
  assert.deepEqual(presence.removed, [], 'a stand-in keeps the bridge from removing them');
  // It removes what it knows as it ends.
  await bridge.close();
  const { lookCount } = presence;
  await until(() => presence.lookCount > lookCount + 4, { what: 'a few more looks' });
  await presence.end();
  t.diagnostic(`${presence.lookCount} looks; missing for a moment as the bridge ended: ${presence.gaps.length} times`);
  assert.deepEqual(presence.faults, []);
  await desktop.client.connection.stop();
  await sleep(100);
  assert.equal(await keys.get('presence:desktop:desk'), 'ada', 'the user has a connection yet');
  await chat.connection.stop();
  await presence.untilGone();
});

test('an ingress alone and an edge alone move as one, and a rollback without the log brings the clients back to the bridge', async (t) => {
  const redis = await startRedis(t);
  const flags = ['--publish-timeout', '500', '--redis', redis.url, '--bridge', (await startBridge(t)).url];
  const ingress = await startSidecar(t, [...flags, '--edge', 'off']);
  const edge = await startSidecar(t, [...flags, '--listen', 'off', '--instance', 'edge']);
  await force(ingress, 100);
  await untilAll([ingress, edge], ({ percent }) => percent === 100, { what: 'percent 100' });
  const ada = await member(t, edge, 'ada', 'r');
  assert.equal((await command(ingress, { hubs: { chat: 'native' }, force: true })).status, 200);
  await until(() => ada.joins === 2, { what: 'ada to be at crossfade' });
  await say(ingress, 'r', 'native');
  await until(() => shownOf(ada, 'r').includes('native'), { what: 'what the ingress took' });

  await redis.kill9();
  const { body } = await command(ingress, {}, 'rollback');
  assert.deepEqual([body.kept, body.reached, body.notReached], ['at once', ['edge'], []]);
  await until(() => ada.joins === 3, { what: 'ada to be at the bridge', timeoutMs: 10_000 });
  await say(ingress, 'r', 'by the bridge');
  await until(() => shownOf(ada, 'r').includes('by the bridge'), { what: 'what the bridge shows' });
});

test('a replica that is killed in the middle of a move comes back with the hubs where they are, and so do its clients', async (t) => {
  const { replicas, flags } = await setUp(t, 2, ['--drain-rate', '1']);
  const [one, two] = replicas as [Crossfade, Crossfade];
  const ports = (['listen', 'edge', 'admin'] as const).flatMap((side) => [`--${side}`, new URL(two[side]).host]);
  const ada = await participant(t, two, 'ada', lastSession);
  const eve = await participant(t, one, 'eve', lastSession);
  await crowd(t, two);
  assert.equal((await command(one, { hubs: { 'remote-access': 'native' }, force: true })).status, 200);
  await untilAll(replicas, (state) => (state as unknown as { hubs: Where }).hubs['remote-access']!.at === 'native', {
    what: 'the move to begin',
  });
  await two.process.kill();
  const again = await startSidecar(t, [...flags, ...ports]);
  await until(() => ada.joins === 2, { what: 'ada to be back', timeoutMs: 20_000 });
  // Eve waits for her turn at the bridge: what she says crosses.
  await exchange('after the kill', eve, ada);
  assert.deepEqual([eve.joins, (await hubsOf(again))['remote-access']!.native], [1, 1]);
  assert.equal((await command(again, { hubs: { 'remote-access': 'proxy' }, force: true })).status, 200);
  await until(() => ada.joins === 3, { what: 'ada to be at the bridge', timeoutMs: 20_000 });
  await exchange('back at the bridge', eve, ada);
  assert.equal(eve.joins, 1, 'who had not gone yet stays');
});
