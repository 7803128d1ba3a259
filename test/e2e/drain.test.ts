// The end of a replica, as its clients and its pod see it: clients go one by one over each transport, whoever waits is shown
// what comes, nobody new is let in, and however often it is asked for, it is one drain.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { startBridge } from '../support/bridge.ts';
import { type Crossfade, spawnCrossfade } from '../support/process.ts';
import { startRedis } from '../support/redis.ts';
import { HttpTransportType, type HubClient } from '../support/signalr.ts';
import { until } from '../support/wait.ts';
import { force, metricOf, say, shownOf } from './operating.ts';
import { binary, join, patient, startSidecar } from './sidecar.ts';

const remaining = (replica: Crossfade) => metricOf(replica, 'crossfade_drain_remaining');

function drain(t: TestContext, { admin }: Crossfade, words: string[] = [], options = {}) {
  return spawnCrossfade(t, ['drain', '--admin', admin, ...words], {}, options);
}

/** Joins the room, and says when the connection is over. */
async function member(t: TestContext, { edge }: Crossfade, user: string, room: string, transport: HttpTransportType) {
  const client: HubClient & { closedAt?: number } = await join(t, edge, 'chat', user, { transport });
  client.connection.onclose(() => {
    client.closedAt = performance.now();
  });
  await client.connection.invoke('JoinRoom', room);
  return client;
}

const { WebSockets, ServerSentEvents, LongPolling } = HttpTransportType;

/** At one client a second so many stand in the way of who goes last, however slow the machine is, until they go by themselves. */
const crowdSize = 15;

function crowd(t: TestContext, replica: Crossfade, room: string) {
  return Promise.all(Array.from({ length: crowdSize }, (_, i) => member(t, replica, `crowd-${i}`, room, WebSockets)));
}

type Member = Awaited<ReturnType<typeof member>>;

/** Those who are not let go yet. */
function open(members: Member[]): Member[] {
  return members.filter(({ closedAt }) => closedAt === undefined);
}

/** Nobody waits for their turn any more. */
async function disperse(members: Member[]): Promise<void> {
  await Promise.all(open(members).map(({ connection }) => connection.stop()));
}

test('clients of every transport are let go one by one, the idle ones first; who waits is shown what comes', async (t) => {
  const redis = await startRedis(t);
  const flags = [...patient, '--redis', redis.url, '--bridge', (await startBridge(t)).url, '--drain-rate', '1'];
  const replica = await startSidecar(t, flags);
  await force(replica, 100);
  const busy = await member(t, replica, 'busy', 'r', WebSockets);
  const idle = [
    await member(t, replica, 'idle-1', 'other', LongPolling),
    await member(t, replica, 'idle-2', 'other', ServerSentEvents),
    await member(t, replica, 'idle-3', 'other', WebSockets),
  ];
  const waiting = await crowd(t, replica, 'other');
  const all = [...idle, ...waiting, busy];
  await say(replica, 'r', '1');
  await until(() => shownOf(busy, 'r').length === 1, { what: 'the first message' });

  const command = drain(t, replica);
  await until(async () => (await remaining(replica)) > 0, { what: 'the drain to begin', timeoutMs: 10_000 });
  await until(async () => (await remaining(replica)) < all.length, { what: 'the first to be gone' });
  const negotiation = await fetch(`${replica.edge}/hubs/chat/negotiate?negotiateVersion=1`, { method: 'POST' });
  assert.deepEqual([negotiation.status, negotiation.headers.get('retry-after')], [503, '1']);
  await assert.rejects(join(t, replica.edge, 'chat', 'late', { transport: WebSockets, skipNegotiation: true }));
  assert.equal((await fetch(`${replica.admin}/readyz`)).status, 503);
  await say(replica, 'r', '2');
  await until(() => shownOf(busy, 'r').length === 2, { what: 'what came meanwhile' });
  await until(() => open(idle).length === 0, { what: 'the idle ones to be told', timeoutMs: 10_000 });
  assert.ok(open(waiting).length > 0, 'one by one');
  assert.equal(busy.closedAt, undefined, 'whoever was shown something last goes last');

  await disperse(waiting);
  assert.equal((await command.exited).code, 0);
  assert.equal(command.stdout, 'drained: no client is left\n');
  await until(() => open(all).length === 0, { what: 'all to be told' });
  assert.ok(idle.every(({ closedAt }) => closedAt! < busy.closedAt!));
  assert.equal(await remaining(replica), 0);
  // The ingress ends by itself, later.
  await say(replica, 'r', '3');
  assert.equal((await drain(t, replica).exited).code, 0, 'there is nothing left to be done');
  assert.deepEqual(await replica.process.stop(), { code: 0, signal: null });
});

test('the binary goes on with a drain that was begun when SIGTERM comes, and ends after it', async (t) => {
  const redis = await startRedis(t);
  const replica = await startSidecar(t, ['--redis', redis.url, '--drain-rate', '1'], binary);
  const clients = await crowd(t, replica, 'r');
  const command = drain(t, replica, ['--output', 'json'], binary);
  await until(() => open(clients).length < crowdSize, { what: 'the first to be told', timeoutMs: 20_000 });
  process.kill(replica.process.pid, 'SIGTERM');
  process.kill(replica.process.pid, 'SIGTERM');
  const left = open(clients).length;
  await until(() => open(clients).length < left - 1, { what: 'others to be told', timeoutMs: 10_000 });
  assert.equal(replica.process.exit, undefined, 'it waits for who is left');
  await disperse(open(clients).slice(2));
  assert.deepEqual(await replica.process.exited, { code: 0, signal: null });
  await until(() => open(clients).length === 0, { what: 'all to be told' });
  assert.equal((await command.exited).code, 0, 'a replica that has ended has drained');
  assert.equal(command.stdout, '{"remaining":0,"done":true}\n');
  const said = replica.process.lines.map(({ msg }) => msg).filter((msg) => /let go|draining|stopped/.test(String(msg)));
  assert.deepEqual(said, ['clients are let go', 'draining', 'stopped']);
});

test('a replica that cannot go on does not keep its clients for the rate', async (t) => {
  const redis = await startRedis(t);
  const replica = await startSidecar(t, ['--redis', redis.url, '--drain-rate', '1', '--instance', 'one']);
  const clients = await crowd(t, replica, 'r');
  await redis.client().set('crossfade:lease:signalr-consumers:one', 'somebody else');
  await until(() => open(clients).length < crowdSize, { what: 'the first to be told', timeoutMs: 15_000 });
  const first = Math.min(...clients.flatMap(({ closedAt }) => closedAt ?? []));
  await until(() => open(clients).length === 0, { what: 'all to be told' });
  // At the rate it would be 14 s.
  assert.ok(Math.max(...clients.map(({ closedAt }) => closedAt!)) - first < 5_000);
  assert.equal((await replica.process.exited).code, 1);
});
