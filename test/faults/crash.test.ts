// Crashes under load, counted by what is owed: every event that was acknowledged while a connection was up reaches that
// connection, once.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { join, startSidecar } from '../e2e/sidecar.ts';
import { call } from '../support/bridge.ts';
import type { Crossfade } from '../support/process.ts';
import { type Redis, startRedis } from '../support/redis.ts';
import type { HubClient } from '../support/signalr.ts';
import { until } from '../support/wait.ts';

const room = 'r';

/** Calls one after the other until stopped; keeps the numbers of those that were acknowledged. */
class Load {
  readonly acknowledged: number[] = [];
  readonly #done: Promise<void>;
  #stopped = false;
  #next = 0;

  constructor(targets: () => Crossfade) {
    this.#done = this.#run(targets);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#done;
  }

  async #run(targets: () => Crossfade): Promise<void> {
    while (!this.#stopped) {
      const i = this.#next++;
      const message = { id: String(i), requestId: room, content: String(i), createdAt: 'now' };
      const body = { event_id: `load-${i}`, request_id: room, message };
      const answer = await call(targets().listen, 'chat/message', body).catch(() => undefined);
      if (answer?.status === 200) this.acknowledged.push(i);
    }
  }
}

function shownTo(client: HubClient): number[] {
  return client.of('ReceiveMessage').map(({ args }) => Number((args[0] as { content: string }).content));
}

async function joinRoom(t: TestContext, sidecar: Crossfade, user: string): Promise<HubClient> {
  const client = await join(t, sidecar.edge, 'chat', user);
  await client.connection.invoke('JoinRoom', room);
  return client;
}

function assertOnceAndInOrder(client: HubClient): void {
  const shown = shownTo(client);
  assert.deepEqual(
    shown,
    [...new Set(shown)].sort((a, b) => a - b),
    'each once, in order',
  );
}

async function crashRedis(redis: Redis, load: Load): Promise<void> {
  const before = load.acknowledged.length;
  await until(() => load.acknowledged.length >= before + 100, { what: 'load before the crash', timeoutMs: 20_000 });
  await redis.kill9();
  await redis.restart();
  const after = load.acknowledged.length;
  await until(() => load.acknowledged.length >= after + 100, { what: 'load after the crash', timeoutMs: 20_000 });
}

test('Redis with AOF always is killed three times under load: nothing acknowledged is lost, nothing shown twice', async (t) => {
  const redis = await startRedis(t, { appendfsync: 'always' });
  const sidecar = await startSidecar(t, ['--redis', redis.url]);
  const client = await joinRoom(t, sidecar, 'u1');
  const load = new Load(() => sidecar);
  for (let i = 0; i < 3; i++) await crashRedis(redis, load);
  await load.stop();
  const owed = load.acknowledged;
  await until(() => owed.every((i) => shownTo(client).includes(i)), { what: 'everything owed', timeoutMs: 10_000 });
  assertOnceAndInOrder(client);
});

test('Redis with AOF everysec is killed: what was shown is shown once, what is lost was written in the last second', async (t) => {
  const redis = await startRedis(t, { appendfsync: 'everysec' });
  const sidecar = await startSidecar(t, ['--redis', redis.url]);
  const client = await joinRoom(t, sidecar, 'u1');
  const load = new Load(() => sidecar);
  await crashRedis(redis, load);
  await load.stop();
  const last = load.acknowledged.at(-1)!;
  await until(() => shownTo(client).includes(last), { what: 'the last event', timeoutMs: 10_000 });
  assertOnceAndInOrder(client);
  const lost = load.acknowledged.filter((i) => !shownTo(client).includes(i));
  // A connection that was up had been shown all but what lay between the append and the read: a handful at most.
  assert.ok(lost.length <= 5, `${lost.length} lost`);
});

test('crossfade is killed under load: what it acknowledged reaches the clients of the other replica, once', async (t) => {
  const redis = await startRedis(t, { appendfsync: 'always' });
  const survivor = await startSidecar(t, ['--redis', redis.url]);
  const victim = await startSidecar(t, ['--redis', redis.url]);
  const client = await joinRoom(t, survivor, 'u1');
  let target = victim;
  const load = new Load(() => target);
  await until(() => load.acknowledged.length >= 200, { what: 'load before the crash', timeoutMs: 20_000 });
  await victim.process.kill();
  target = survivor;
  const after = load.acknowledged.length;
  await until(() => load.acknowledged.length >= after + 100, { what: 'load after the crash', timeoutMs: 20_000 });
  await load.stop();
  await until(() => load.acknowledged.every((i) => shownTo(client).includes(i)), { what: 'everything owed' });
  assertOnceAndInOrder(client);
});

for (const [what, end] of [
  ['gone', (redis: Redis) => redis.kill9()],
  ['silent', (redis: Redis) => redis.pause()],
] as const) {
  test(`a replica that is told to end while Redis is ${what} ends by itself, with exit 0`, async (t) => {
    const redis = await startRedis(t);
    const { process: replica } = await startSidecar(t, ['--redis', redis.url]);
    await end(redis);
    await until(() => replica.stdout.includes('no connection to Redis'), {
      what: 'Redis to be missed',
      timeoutMs: 10_000,
    });
    const { code } = await replica.stop();
    redis.resume();
    assert.equal(code, 0, replica.stdout);
    assert.doesNotMatch(replica.stdout, /"level":"error"/);
  });
}

test('a replica that is stopped until its stream is trimmed past it counts the gap and closes its clients', async (t) => {
  const redis = await startRedis(t);
  const stopped = await startSidecar(t, ['--redis', redis.url]);
  const other = await startSidecar(t, ['--redis', redis.url]);
  const client = await join(t, stopped.edge, 'chat', 'u1', { reconnectMs: [0, 100, 200, 500, 1000] });
  let reconnects = 0;
  client.connection.onreconnected(() => {
    reconnects++;
  });
  await client.connection.invoke('JoinRoom', room);
  stopped.process.pause();
  t.after(() => stopped.process.resume());
  const message = { id: 'm', requestId: room, content: '1', createdAt: 'now' };
  for (let i = 0; i < 20; i++)
    await call(other.listen, 'chat/message', { event_id: `gap-${i}`, request_id: room, message });
  await redis.client().xtrim('events:chat', 'MAXLEN', 5);
  // A stall of a few seconds is what makes a replica look; the stopped one must have been away for longer than that.
  const pausedAt = performance.now();
  await until(() => performance.now() - pausedAt > 4_000, { timeoutMs: 10_000 });
  stopped.process.resume();
  await until(() => reconnects === 1, { what: 'the client to be closed and to come back', timeoutMs: 10_000 });
  const metrics = await (await fetch(`${stopped.admin}/metrics`)).text();
  assert.match(metrics, /crossfade_entries_missed_total 1\d\b/);
});

test('a replaced, empty log is read from its start', async (t) => {
  const redis = await startRedis(t);
  const sidecar = await startSidecar(t, ['--redis', redis.url]);
  const client = await joinRoom(t, sidecar, 'u1');
  const load = new Load(() => sidecar);
  await until(() => load.acknowledged.length >= 50, { what: 'load before' });
  await redis.kill9();
  await redis.restart({ empty: true });
  const after = load.acknowledged.length;
  await until(() => load.acknowledged.length >= after + 50, { what: 'load after', timeoutMs: 20_000 });
  await load.stop();
  const owed = load.acknowledged.slice(after);
  await until(() => owed.every((i) => shownTo(client).includes(i)), { what: 'the new log' });
  assertOnceAndInOrder(client);
});

test('SIGTERM drains: calls under way are answered, windows flushed, clients told to reconnect, exit 0', async (t) => {
  const redis = await startRedis(t);
  const sidecar = await startSidecar(t, ['--redis', redis.url, '--coalesce-window', '5000']);
  const other = await startSidecar(t, ['--redis', redis.url]);
  const watcher = await joinRoom(t, other, 'u2');
  const client = await join(t, sidecar.edge, 'chat', 'u1', { reconnectMs: [60_000] });
  let reconnecting = false;
  client.connection.onreconnecting(() => {
    reconnecting = true;
  });
  await call(sidecar.listen, 'chat/typing', { event_id: 't', request_id: room, user_id: 'u9', is_typing: true });
  const load = new Load(() => sidecar);
  await until(() => load.acknowledged.length >= 20);
  assert.deepEqual(await sidecar.process.stop(), { code: 0, signal: null });
  await load.stop();
  await until(() => reconnecting, { what: 'the client to be told' });
  await until(() => load.acknowledged.every((i) => shownTo(watcher).includes(i)), { what: 'what was acknowledged' });
  await until(() => watcher.of('TypingIndicator').length === 1, { what: 'the open window' });
});
