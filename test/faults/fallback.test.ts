// The log fails or is slow, or the bridge is away: calls take the other lane with the reason counted, whole rooms and nothing
// twice, or are refused where they may not; readiness says who is left to listen.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import { type TestContext, test } from 'node:test';
import {
  broadcast,
  duplicate,
  force,
  messageOf,
  metricOf,
  ofAll,
  say,
  shownOf,
  stateOf,
  untilAll,
} from '../e2e/operating.ts';
import { join, secrets, startSidecar } from '../e2e/sidecar.ts';
import { apiKey, broadcastsAt, call, startBridge, type ToyBridge } from '../support/bridge.ts';
import { type Crossfade, spawnCrossfade } from '../support/process.ts';
import { startRedis } from '../support/redis.ts';
import type { HubClient } from '../support/signalr.ts';
import { startProxy } from '../support/tcp-proxy.ts';
import { until } from '../support/wait.ts';

/** A start at 0, then 100 past the guard: quicker than a start at 100 that waits for it. */
async function startAt100(t: TestContext, flags: string[]): Promise<Crossfade> {
  const sidecar = await startSidecar(t, flags);
  await force(sidecar, 100);
  return sidecar;
}

async function joinRooms(t: TestContext, { edge }: Crossfade, rooms: string[]): Promise<HubClient> {
  const client = await join(t, edge, 'chat', 'u1');
  for (const room of rooms) await client.connection.invoke('JoinRoom', room);
  return client;
}

async function readyz({ admin }: Crossfade): Promise<{ status: number; checks: Record<string, { ok: boolean }> }> {
  const response = await fetch(`${admin}/readyz`);
  const { checks } = (await response.json()) as { checks: Record<string, { ok: boolean }> };
  return { status: response.status, checks };
}

test('Redis is killed under load at 100: every call is answered, rooms change lane as a whole, nothing is lost or doubled', async (t) => {
  const redis = await startRedis(t, { appendfsync: 'always' });
  const bridge = await startBridge(t);
  const rooms = Array.from({ length: 8 }, (_, n) => `room-${n}`);
  // Patient, so that the lanes change for the kill alone and not for a busy machine.
  const patience = ['--publish-timeout', '2000', '--handover-timeout', '1000'];
  const flags = ['--redis', redis.url, '--bridge', bridge.url, ...patience];
  const replicas = [await startSidecar(t, flags), await startSidecar(t, flags)];
  await force(replicas[0]!, 100);
  await untilAll(replicas, ({ percent }) => percent === 100, { what: 'both at 100' });
  const clients = await Promise.all(replicas.map((replica) => joinRooms(t, replica, rooms)));

  const said = new Map<string, number>(rooms.map((room) => [room, 0]));
  let isOver = false;
  /** One after the other in each room, through the replicas in turn. */
  const play = async (room: string) => {
    while (!isOver) {
      const n = said.get(room)! + 1;
      await say(replicas[n % 2]!, room, String(n));
      said.set(room, n);
    }
  };
  const total = () => [...said.values()].reduce((sum, n) => sum + n, 0);
  const untilSaid = async (more: number) => {
    const goal = total() + more;
    await until(() => total() >= goal, { what: `${more} more calls`, timeoutMs: 20_000 });
  };
  const playing = Promise.all(rooms.map(play));
  await untilSaid(100);
  assert.equal(broadcastsAt(bridge).length, 0, 'all by stream');
  await redis.kill9();
  await untilSaid(100);
  assert.ok(broadcastsAt(bridge).length > 0);
  for (const replica of replicas) assert.equal((await readyz(replica)).status, 200, 'ready, for calls can fall back');
  await redis.restart();
  // A call that was under way when Redis died may find out last, and take its room along once more.
  const since = new Map(said);
  const haveAllGoneOn = () => rooms.every((room) => said.get(room)! >= since.get(room)! + 2);
  await until(haveAllGoneOn, { what: 'every room to go on', timeoutMs: 20_000 });
  await untilAll(replicas, ({ outage, log }) => outage === null && log.followed, {
    what: 'all rooms back',
    timeoutMs: 10_000,
  });
  const atBridge = broadcastsAt(bridge).length;
  await untilSaid(100);
  isOver = true;
  await playing;
  assert.equal(broadcastsAt(bridge).length, atBridge, 'all by stream again');

  for (const room of rooms) {
    const expected = Array.from({ length: said.get(room)! }, (_, n) => String(n + 1));
    for (const client of clients) {
      const shown = () => shownOf(client, room);
      await until(() => shown().length >= expected.length, { what: () => `all of ${room}: ${shown()}` });
      assert.deepEqual(
        shown().sort((a, b) => Number(a) - Number(b)),
        expected,
        `${room}: nothing lost, nothing twice`,
      );
    }
    for (const [index] of replicas.entries()) {
      assert.match(lanesOf(bridge, room, index, said.get(room)!), /^s+b*s+$/, `${room} through replica ${index}`);
    }
  }
  const fellBack = await Promise.all(
    replicas.map((replica) => metricOf(replica, 'event_transport_fallback_total{reason="connection_lost"}')),
  );
  assert.equal(fellBack[0]! + fellBack[1]!, broadcastsAt(bridge).length, 'each is counted');
});

/** One letter for each call that a room made through one replica: by stream, or by the bridge. */
function lanesOf(bridge: ToyBridge, room: string, replica: number, count: number): string {
  const atBridge = new Set(broadcastsAt(bridge).map(({ body }) => JSON.parse(body.toString()).event_id));
  const numbers = Array.from({ length: count }, (_, n) => n + 1).filter((n) => n % 2 === replica);
  return numbers.map((n) => (atBridge.has(`${room} ${n}`) ? 'b' : 's')).join('');
}

test('what was appended, but whose answer was lost, is shown once on every replica, by the log or by the bridge', async (t) => {
  const redis = await startRedis(t);
  const bridge = await startBridge(t);
  const proxy = await startProxy(t, redis.port);
  const flags = ['--bridge', bridge.url, '--publish-timeout', '100'];
  const deaf = await startAt100(t, [...flags, '--redis', `redis://127.0.0.1:${proxy.port}`]);
  const other = await startSidecar(t, [...flags, '--redis', redis.url]);
  const rooms = ['r', 's'];
  const clients = [await joinRooms(t, deaf, rooms), await joinRooms(t, other, rooms)];
  // Whether somebody was shown a message that came within a second of his join is in doubt, and then it is shown.
  const joinedAt = performance.now();
  await until(() => performance.now() - joinedAt > 1_000);
  // The same few payloads again and again, told apart by their ids alone.
  const content = (n: number) => (n % 2 === 0 ? 'even' : 'odd');
  let n = 0;
  for (let round = 1; round <= 3; round++) {
    await untilAll([deaf, other], ({ outage, log }) => outage === null && log.followed, {
      what: 'the stream lane',
      timeoutMs: 15_000,
    });
    proxy.swallowReplies();
    for (const room of rooms) {
      for (let repeat = 0; repeat < 2; repeat++) {
        n++;
        const body = { ...messageOf(room, content(n)), event_id: `${room} ${n}` };
        assert.deepEqual(await call(deaf.listen, 'chat/message', body), broadcast);
      }
    }
  }
  const entries = JSON.stringify(await redis.client().xrange('events:chat', '-', '+'));
  const atBridge: string[] = broadcastsAt(bridge).map(({ body }) => JSON.parse(body.toString()).event_id);
  const onBothLanes = atBridge.filter((eventId) => entries.includes(`"${eventId}"`)).length;
  await untilAll([deaf, other], ({ outage }) => outage === null, { what: 'the stream lane', timeoutMs: 15_000 });
  for (const room of rooms) await say(deaf, room, 'the end');
  for (const client of clients) {
    for (const room of rooms) {
      await until(() => shownOf(client, room).includes('the end'), { what: 'the end' });
      // What was acknowledged, but not read when the log fell silent, is shown late: see crossfade_order_unfenced_total.
      const shown = shownOf(client, room);
      assert.equal(shown.pop(), 'the end');
      assert.deepEqual(
        shown.sort(),
        ['even', 'even', 'even', 'odd', 'odd', 'odd'],
        'each once, though they look alike',
      );
    }
  }
  const settled = (outcome: string) => metricOf(deaf, `crossfade_appends_uncertain_total{outcome="${outcome}"}`);
  const [byLog, byBridge] = [await settled('read'), await settled('bridge')];
  assert.ok(byLog! + byBridge! > 0, 'the first call that got no answer was executed all the same');
  assert.ok(byLog! > 0, 'the other replica reads all the time, and says so');
  assert.ok(onBothLanes <= byBridge!, 'the bridge is not called for what a replica has read');
});

test('a repeat on another replica while Redis is away is known by what was read', async (t) => {
  const redis = await startRedis(t, { appendfsync: 'always' });
  const bridge = await startBridge(t);
  const flags = ['--redis', redis.url, '--bridge', bridge.url];
  const [a, b] = [await startAt100(t, flags), await startSidecar(t, flags)];
  const client = await joinRooms(t, b, ['r']);
  await say(a, 'r', '1');
  await until(() => shownOf(client, 'r').length === 1);
  await redis.kill9();
  const repeat = () => call(b.listen, 'chat/message', messageOf('r', '1'));
  assert.deepEqual(await repeat(), duplicate, 'before the room has fallen back');
  await say(b, 'r', '2');
  assert.deepEqual(await repeat(), duplicate, 'and after it has');
  await redis.restart();
  await untilAll([a, b], ({ outage, log }) => outage === null && log.followed, { what: 'the stream lane' });
  for (const { listen } of [a, b]) {
    for (const content of ['1', '2']) {
      assert.deepEqual(await call(listen, 'chat/message', messageOf('r', content)), duplicate, 'either lane took it');
    }
  }
  await say(a, 'r', '3');
  await until(() => shownOf(client, 'r').length >= 3);
  assert.deepEqual(shownOf(client, 'r'), ['1', '2', '3']);
});

test('a log slower than the publish timeout: the call goes to the bridge, and the log writes no ghost later', async (t) => {
  const redis = await startRedis(t);
  const bridge = await startBridge(t);
  const flags = ['--redis', redis.url, '--bridge', bridge.url, '--publish-timeout', '60'];
  const sidecar = await startAt100(t, flags);
  redis.pause();
  await say(sidecar, 'r', 'slow');
  assert.equal(broadcastsAt(bridge).length, 1);
  assert.equal(await metricOf(sidecar, 'event_transport_fallback_total{reason="timeout"}'), 1);
  redis.resume();
  const keys = redis.client();
  let n = 0;
  await until(async () => {
    await say(sidecar, 'r', `later ${++n}`);
    return (await keys.xlen('events:chat')) > 0;
  });
  const entries = await keys.xrange('events:chat', '-', '+');
  assert.ok(!JSON.stringify(entries).includes('r slow'), 'the call that went to the bridge is not in the log');
});

for (const [name, flags] of [
  ['without a bridge', () => []],
  ['with --no-fallback', (bridge: ToyBridge) => ['--bridge', bridge.url, '--no-fallback']],
] as [string, (bridge: ToyBridge) => string[]][]) {
  test(`${name} a call that the log cannot take is a 503 that says when to come again`, async (t) => {
    const redis = await startRedis(t, { appendfsync: 'always' });
    const bridge = await startBridge(t);
    const sidecar = await startSidecar(t, ['--redis', redis.url, ...flags(bridge)]);
    if (flags(bridge).length > 0) await force(sidecar, 100);
    await redis.kill9();
    const response = await fetch(`${sidecar.listen}/internal/chat/message`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-internal-api-key': apiKey },
      body: JSON.stringify(messageOf('r', 'a')),
    });
    assert.equal(response.status, 503);
    assert.equal(response.headers.get('retry-after'), '1');
    const { status, checks } = await readyz(sidecar);
    assert.deepEqual([status, checks.log!.ok, checks.audience!.ok], [503, false, true]);
    await redis.restart();
    await until(async () => (await call(sidecar.listen, 'chat/message', messageOf('r', 'a'))).status === 200);
    assert.deepEqual(await call(sidecar.listen, 'chat/message', messageOf('r', 'a')), duplicate);
    await until(async () => (await readyz(sidecar)).status === 200, { what: 'a probe to arrive again' });
    assert.equal(broadcastsAt(bridge).length, 0, 'the bridge got none of it');
  });
}

test('while the bridge is away its lane’s calls get its failure, the stream lane’s are counted as without an audience', async (t) => {
  const redis = await startRedis(t);
  const bridge = await startBridge(t);
  const port = Number(new URL(bridge.url).port);
  const sidecar = await startSidecar(t, ['--redis', redis.url, '--bridge', bridge.url]);
  const withoutAudience = () => metricOf(sidecar, 'crossfade_calls_without_audience_total');
  const client = await joinRooms(t, sidecar, ['r']);
  await say(sidecar, 'r', 'before');
  assert.deepEqual([(await readyz(sidecar)).status, await withoutAudience()], [200, 0]);
  await bridge.close();
  await until(() => client.connection.state === 'Disconnected', { what: 'the connection to end with its bridge' });
  assert.equal((await call(sidecar.listen, 'chat/message', messageOf('r', 'refused'))).status, 502);
  const { status, checks } = await readyz(sidecar);
  assert.deepEqual([status, checks.audience!.ok, checks.log!.ok], [503, false, true]);
  assert.equal(await withoutAudience(), 0, 'the backend knows of what was refused');
  await force(sidecar, 100);
  await say(sidecar, 'r', 'to nobody');
  assert.equal(await withoutAudience(), 1);

  await startBridge(t, { port });
  const back = await joinRooms(t, sidecar, ['r']);
  await until(async () => (await readyz(sidecar)).status === 200, { what: 'readiness', timeoutMs: 8_000 });
  await say(sidecar, 'r', 'after');
  await until(() => shownOf(back, 'r').length > 0);
  assert.deepEqual([shownOf(back, 'r'), await withoutAudience()], [['after'], 1]);
});

test('with --bridge-fallback the calls of a bridge that is away go by stream, once each', async (t) => {
  const redis = await startRedis(t);
  const bridges = [await startBridge(t), await startBridge(t)];
  const flags = ['--redis', redis.url, '--bridge-fallback'];
  const stranded = await startSidecar(t, [...flags, '--bridge', bridges[0]!.url]);
  // Another replica has a bridge that is up, and so clients that a stream can reach.
  const other = await startSidecar(t, [...flags, '--bridge', bridges[1]!.url]);
  const client = await joinRooms(t, other, ['r', 's']);
  await bridges[0]!.close();
  await say(stranded, 'r', '1');
  await say(stranded, 'r', '2');
  for (const { listen } of [stranded, other]) {
    assert.deepEqual(await call(listen, 'chat/message', messageOf('r', '1')), duplicate);
  }
  const typing = { event_id: 't', request_id: 's', user_id: 'u9', is_typing: true };
  assert.deepEqual(await call(stranded.listen, 'chat/typing', typing), broadcast);
  await until(() => client.of('TypingIndicator').length === 1);
  assert.deepEqual(shownOf(client, 'r'), ['1', '2']);
  assert.equal((await readyz(stranded)).checks.audience!.ok, false);
  assert.equal(await metricOf(stranded, 'crossfade_calls_without_audience_total'), 3);
  assert.equal(await metricOf(other, 'crossfade_calls_without_audience_total'), 0);
  assert.deepEqual(await ofAll([stranded, other], ({ percent }) => percent), [0, 0]);
});

test('with --bridge-fallback and several bridges that get every call, one that is away lets no call be shown twice at the other', async (t) => {
  const redis = await startRedis(t);
  const [stays, goes] = [await startBridge(t), await startBridge(t)];
  const bridges = ['--bridge', `${stays.url},${goes.url}`, '--bridge-calls', 'all', '--bridge-fallback'];
  const sidecar = await startSidecar(t, ['--redis', redis.url, ...bridges]);
  await goes.close();
  assert.equal((await call(sidecar.listen, 'chat/message', messageOf('r', '1'))).status, 502);
  assert.deepEqual([broadcastsAt(stays).length, await redis.client().xlen('events:chat')], [1, 0]);
  await stays.close();
  assert.deepEqual(await call(sidecar.listen, 'chat/message', messageOf('r', '2')), broadcast);
  assert.equal(await redis.client().xlen('events:chat'), 1);
});

test('a sidecar that starts while Redis is down sends every call to the bridge, and takes its percent when Redis is there', async (t) => {
  const redis = await startRedis(t, { appendfsync: 'always' });
  const bridge = await startBridge(t);
  await redis.kill9();
  const sidecar = await startSidecar(t, ['--redis', redis.url, '--bridge', bridge.url, '--percent', '100']);
  const client = await joinRooms(t, sidecar, ['r']);
  await say(sidecar, 'r', 'a');
  assert.equal(broadcastsAt(bridge).length, 1);
  assert.equal((await stateOf(sidecar)).effective.percent, 0);
  assert.equal((await readyz(sidecar)).status, 200);
  await redis.restart();
  await untilAll([sidecar], ({ effective }) => effective.percent === 100, { what: 'its percent', timeoutMs: 15_000 });
  await say(sidecar, 'r', 'b');
  await until(() => shownOf(client, 'r').length === 2);
  assert.deepEqual(shownOf(client, 'r'), ['a', 'b']);
  assert.equal(broadcastsAt(bridge).length, 1);
  assert.deepEqual(await sidecar.process.stop(), { code: 0, signal: null });
});

test('a sidecar that still waits for Redis ends at once on SIGTERM; without a bridge it does not start at all', async (t) => {
  const redis = await startRedis(t);
  const bridge = await startBridge(t);
  await redis.kill9();
  const addresses = ['--listen', '127.0.0.1:0', '--edge', '127.0.0.1:0', '--admin', '127.0.0.1:0'];
  const flags = ['--redis', redis.url, '--instance', 'early'];
  const waiting = spawnCrossfade(t, ['serve', ...addresses, ...flags, '--bridge', bridge.url], secrets);
  await until(() => waiting.stdout.includes('the backend side is open'), {
    what: () => waiting.stdout,
    timeoutMs: 40_000,
  });
  assert.deepEqual(await waiting.stop(), { code: 0, signal: null });
  const alone = spawnCrossfade(t, ['serve', ...addresses, ...flags], secrets);
  assert.equal((await alone.exited).code, 1);
  assert.match(alone.stderr, /^crossfade: LOG_UNAVAILABLE: Redis at 127\.0\.0\.1:\d+ did not answer within 5 s\n$/);
});

test('an embedded log that cannot be opened leaves the sidecar up, and its calls go to the bridge', async (t) => {
  const bridge = await startBridge(t);
  const dir = mkdtempSync(joinPath(tmpdir(), 'crossfade-broken-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  writeFileSync(joinPath(dir, 'log.sqlite'), 'certainly no database, and longer than the header of one '.repeat(100));
  const cases = {
    'a file that is damaged': dir,
    'a path that no directory can have': joinPath(dir, 'log.sqlite', 'x'),
  };
  for (const [what, dataDir] of Object.entries(cases)) {
    // Several times: the log fails at once, and what is open by then is a matter of luck.
    for (let start = 1; start <= 3; start++) {
      const sidecar = await startSidecar(t, ['--bridge', bridge.url, '--data-dir', dataDir]);
      await say(sidecar, 'r', `${what}, start ${start}`);
      assert.equal((await sidecar.process.stop()).code, 0, what);
    }
  }
  assert.equal(broadcastsAt(bridge).length, 6);
});
