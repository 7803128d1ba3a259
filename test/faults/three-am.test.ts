// What an operator meets at 3 am: a kill switch, a rollback without Redis, a replica that starts without it, a Redis that
// comes back empty, older or with a state of its own. After each the states of all replicas are read, and at the end every
// client has been shown every message once and in order.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { command, cutover, force, ofAll, say, shownOf, stateOf, untilAll } from '../e2e/operating.ts';
import { join, startSidecar } from '../e2e/sidecar.ts';
import { startBridge, type ToyBridge } from '../support/bridge.ts';
import type { Crossfade } from '../support/process.ts';
import { type Redis, startRedis } from '../support/redis.ts';
import type { HubClient } from '../support/signalr.ts';
import { startProxy, type TcpProxy } from '../support/tcp-proxy.ts';
import { until } from '../support/wait.ts';

const rooms = Array.from({ length: 12 }, (_, n) => `room-${n}`);

/** Replicas that reach Redis through a proxy, so that it can be away for them and not for the test. */
class Night {
  readonly t: TestContext;
  readonly redis: Redis;
  readonly proxy: TcpProxy;
  readonly bridge: ToyBridge;
  replicas: Crossfade[] = [];
  readonly #clients: { client: HubClient; since: number }[] = [];
  #round = 0;

  private constructor(t: TestContext, redis: Redis, proxy: TcpProxy, bridge: ToyBridge) {
    this.t = t;
    this.redis = redis;
    this.proxy = proxy;
    this.bridge = bridge;
  }

  static async begin(t: TestContext, replicaCount: number): Promise<Night> {
    const redis = await startRedis(t, { appendfsync: 'always' });
    const night = new Night(t, redis, await startProxy(t, redis.port), await startBridge(t));
    for (let n = 0; n < replicaCount; n++) await night.start(`replica-${n}`);
    return night;
  }

  /** One more replica, with a client in every room. */
  async start(instance: string, env: Record<string, string> = {}, { port } = this.proxy): Promise<Crossfade> {
    const address = `redis://127.0.0.1:${port}`;
    // Long, so that a busy machine is not taken for a log that fails.
    const patience = ['--publish-timeout', '2000', '--handover-timeout', '1000'];
    const flags = ['--redis', address, '--bridge', this.bridge.url, '--instance', instance, ...patience];
    const replica = await startSidecar(this.t, flags, { env });
    this.replicas.push(replica);
    this.#clients.push(await this.#join(replica));
    return replica;
  }

  /** Waits until this replica has closed its client, which then comes back as an application does. */
  async untilClientIsBack(replica: Crossfade): Promise<void> {
    const index = this.replicas.indexOf(replica);
    const { connection } = this.#clients[index]!.client;
    await until(() => connection.state === 'Disconnected', { what: 'the client to be closed', timeoutMs: 10_000 });
    this.#clients[index] = await this.#join(replica);
  }

  async #join(replica: Crossfade): Promise<{ client: HubClient; since: number }> {
    const client = await join(this.t, replica.edge, 'chat', `client of ${replica.edge}`);
    for (const room of rooms) await client.connection.invoke('JoinRoom', room);
    return { client, since: this.#round };
  }

  /** Ends one replica with its client. */
  async stop(replica: Crossfade): Promise<void> {
    const index = this.replicas.indexOf(replica);
    await this.check();
    await this.#clients[index]!.client.connection.stop();
    this.#clients.splice(index, 1);
    this.replicas.splice(index, 1);
    await replica.process.stop();
  }

  /** One message in each room, through replicas in turn. @returns how many went to the bridge */
  async play(replicas = this.replicas): Promise<number> {
    this.#round++;
    const before = this.#callsAtBridge();
    for (const [n, room] of rooms.entries()) await say(replicas[n % replicas.length]!, room, String(this.#round));
    return this.#callsAtBridge() - before;
  }

  /** Every client was shown everything since it joined. */
  async check(): Promise<void> {
    for (const { client, since } of this.#clients) {
      const expected = Array.from({ length: this.#round - since }, (_, n) => String(since + n + 1));
      const isThere = (room: string) => shownOf(client, room).length >= expected.length;
      await until(() => rooms.every(isThere), {
        what: () => `${expected} in each room; shown ${JSON.stringify(rooms.map((room) => shownOf(client, room)))}`,
      });
      for (const room of rooms) assert.deepEqual(shownOf(client, room), expected, room);
    }
  }

  /** Redis is away, and all replicas know. */
  async lose(): Promise<void> {
    this.proxy.refuse();
    await untilAll(this.replicas, ({ log }) => !log.reachable && !log.followed, { what: 'Redis to be away' });
  }

  /** Waits until all replicas have compared their state with the log's, and none of them has left the percent meanwhile. */
  async untilFollowed(percent: number): Promise<void> {
    const log = this.redis.client();
    await until(
      async () => {
        const states = await ofAll(this.replicas, (state) => state);
        for (const { effective } of states) assert.equal(effective.percent, percent, 'it never changes on the way');
        const epochs = [Number(await log.hget('crossfade:cutover', 'epoch')), ...states.map(({ epoch }) => epoch)];
        return states.every((state) => state.log.followed && state.outage === null) && new Set(epochs).size === 1;
      },
      { what: 'all replicas to follow the log again, in one epoch with it', timeoutMs: 10_000 },
    );
  }

  #callsAtBridge(): number {
    return this.bridge.calls.filter(({ url }) => url === '/internal/chat/message').length;
  }
}

const percents = (replicas: Crossfade[]) => ofAll(replicas, ({ effective }) => effective.percent);

test('a kill switch on one of three replicas takes all to 0 within a second, and lets them go past the guard', async (t) => {
  const night = await Night.begin(t, 2);
  await force(night.replicas[0]!, 100);
  assert.equal(await night.play(), 0);
  const killed = await night.start('killed', { EVENT_TRANSPORT_USE_REDIS_STREAMS: 'false' });
  await untilAll(night.replicas, ({ effective }) => effective.percent === 0, { what: 'all at 0', timeoutMs: 1_000 });
  for (const { effective } of await ofAll(night.replicas, (state) => state)) {
    assert.equal(effective.why, 'the kill switch of killed');
  }
  assert.equal(await night.play(), rooms.length, 'every call goes to the bridge');
  assert.equal((await command(night.replicas[0]!, { percent: 60, pins: { 'room-0': 'stream' } })).status, 200);
  assert.deepEqual(await percents(night.replicas), [0, 0, 0], 'what is set meanwhile waits');
  assert.equal(await night.play(), rooms.length, 'pins as well');

  const outsider = await join(t, night.bridge.url, 'chat', 'outsider');
  await night.stop(killed);
  await untilAll(night.replicas, ({ effective }) => /directly/.test(effective.held ?? ''), {
    what: 'the guard to hold what the kill switch lets go',
    timeoutMs: 10_000,
  });
  assert.deepEqual(await percents(night.replicas), [0, 0]);
  await outsider.connection.stop();
  await untilAll(night.replicas, ({ effective }) => effective.percent === 60, { what: '60 again', timeoutMs: 10_000 });
  const steps = (await stateOf(night.replicas[0]!)).history.map(({ what, from, to }) => [what, from, to]);
  assert.deepEqual(steps, [
    ['set 100', 0, 100],
    ['kill switch on', 100, 0],
    ['set 60, pin room-0 stream', 0, 0],
    ['kill switch of killed gone', 0, 60],
  ]);
  await night.play();
  await night.check();
});

test('without Redis a rollback reaches all replicas by HTTP, and outranks what stands in Redis when it is back', async (t) => {
  const night = await Night.begin(t, 3);
  const [a, b, c] = night.replicas as [Crossfade, Crossfade, Crossfade];
  const raise = async () => {
    const raised = { percent: 100, mirror: true, pins: { 'room-0': 'stream' }, force: true };
    const { status, body } = await command(a, raised);
    assert.equal(status, 200, JSON.stringify(body));
    await untilAll(night.replicas, ({ percent }) => percent === 100, { what: 'all at 100' });
  };
  const assertRolledBack = async (replicas: Crossfade[]) => {
    for (const { percent, pins, mirror, effective } of await ofAll(replicas, (state) => state)) {
      assert.deepEqual([percent, pins, mirror, effective.percent], [0, {}, false, 0]);
    }
  };
  await untilAll(night.replicas, ({ replicas }) => replicas.length === 3, { what: 'each to know the others' });

  await t.test('all are reached: exit 0', async (t) => {
    await raise();
    await night.play();
    // What is acknowledged and unread when Redis goes may come late; it is counted, and not what is tested here.
    await night.check();
    night.proxy.refuse();
    const { code, stdout } = await cutover(t, ['rollback', '--admin', a.admin]);
    assert.equal(code, 0);
    assert.match(stdout, /0% by stream/);
    await assertRolledBack(night.replicas);
    assert.equal(await night.play(), rooms.length);
    night.proxy.pass();
    await night.untilFollowed(0);
    await assertRolledBack(night.replicas);
    await night.play();
    await night.check();
  });

  await t.test('Redis comes back with a higher epoch', async (t) => {
    await raise();
    night.proxy.refuse();
    assert.equal((await cutover(t, ['rollback', '--admin', b.admin])).code, 0);
    const { epoch, history } = await stateOf(b);
    const another = { ...(await stateOf(b)), epoch: epoch + 100, percent: 100, history, killed: [], remembers: true };
    await night.redis.client().hset('crossfade:cutover', 'epoch', epoch + 100, 'value', JSON.stringify(another));
    night.proxy.pass();
    await night.untilFollowed(0);
    await assertRolledBack(night.replicas);
    assert.ok((await stateOf(a)).epoch > epoch + 100);
    await night.play();
    await night.check();
  });

  await t.test('one cannot be reached: it is named, exit 1, and follows later', async (t) => {
    await raise();
    night.proxy.refuse();
    c.process.pause();
    const { code, stderr } = await cutover(t, ['rollback', '--admin', a.admin]);
    c.process.resume();
    assert.equal(code, 1);
    assert.match(stderr, /^crossfade: LOG_UNAVAILABLE: not reached: replica-2;[^\n]*\n$/);
    await assertRolledBack([a, b]);
    night.proxy.pass();
    await untilAll(night.replicas, ({ effective, log }) => effective.percent === 0 && log.followed, {
      what: 'the third to follow as well',
    });
    await night.untilFollowed(0);
    await assertRolledBack(night.replicas);
    await night.play();
    await night.check();
  });

  await t.test('Redis hangs: all are at 0 within a second and a bit', async () => {
    await raise();
    night.redis.pause();
    const rolledBack = command(a, {}, 'rollback');
    await untilAll(night.replicas, ({ effective }) => effective.percent === 0, { what: 'all at 0', timeoutMs: 1_500 });
    const { status, body } = await rolledBack;
    assert.deepEqual([status, body.notReached], [200, []]);
    assert.deepEqual([...(body.reached as string[])].sort(), ['replica-1', 'replica-2']);
    night.redis.resume();
    await night.untilFollowed(0);
    await assertRolledBack(night.replicas);
    await night.play();
    await night.check();
  });

  await t.test('a rollback that the log knows is not written again over what was set later', async () => {
    await raise();
    await night.lose();
    night.proxy.pass();
    await night.untilFollowed(100);
    assert.equal((await command(b, {}, 'rollback')).status, 200);
    await night.play();
    await night.check();
  });
});

test('a rollback asked of the one replica that has no Redis moves the others, whatever they have learnt meanwhile', async (t) => {
  const night = await Night.begin(t, 2);
  const own = await startProxy(t, night.redis.port);
  const cutOff = await night.start('cut-off', {}, own);
  await force(cutOff, 50);
  await night.play();
  own.refuse();
  await untilAll([cutOff], ({ log }) => !log.reachable, { what: 'it to be cut off' });
  for (const percent of [60, 70, 100]) await force(night.replicas[0]!, percent);
  assert.deepEqual(await percents(night.replicas), [100, 100, 50]);
  const { code } = await cutover(t, ['rollback', '--admin', cutOff.admin]);
  assert.equal(code, 0);
  assert.deepEqual(await percents(night.replicas), [0, 0, 0]);
  own.pass();
  await night.untilFollowed(0);
  await force(cutOff, 40);
  await untilAll(night.replicas, ({ effective }) => effective.percent === 40, { what: 'what is set later to hold' });
  await night.play();
  await night.check();
});

test('a replica that starts without Redis sends its calls to the bridge and counts them, then follows the shared state and closes who came before', async (t) => {
  const night = await Night.begin(t, 2);
  await force(night.replicas[0]!, 25);
  night.proxy.refuse();
  const late = await night.start('late', { EVENT_TRANSPORT_REDIS_STREAMS_PERCENTAGE: '50' });
  assert.deepEqual(await percents(night.replicas), [25, 25, 0]);
  assert.equal(await night.play([late]), rooms.length);
  const unfenced = () => late.process.lines.filter(({ reason }) => reason === 'state_unknown');
  await until(() => unfenced().length === rooms.length, { what: 'what others may overtake to be counted' });
  night.proxy.pass();
  await untilAll(night.replicas, ({ effective, log }) => effective.percent === 25 && log.followed, {
    what: 'all to be where the shared state is',
    timeoutMs: 10_000,
  });
  await night.untilFollowed(25);
  await night.untilClientIsBack(late);
  await night.play();
  await night.play([late]);
  await night.check();
});

test('a Redis that comes back empty or older gets the state that the replicas know; only reset drops it', async (t) => {
  const night = await Night.begin(t, 2);
  const stored = async () => JSON.parse((await night.redis.client().hget('crossfade:cutover', 'value')) ?? '{}');
  await force(night.replicas[0]!, 60);
  await night.play();
  const older = await stored();
  await command(night.replicas[1]!, { percent: 40, pins: { 'room-0': 'stream' } });
  const { epoch } = await stateOf(night.replicas[0]!);

  await t.test('empty after a restart', async () => {
    await night.redis.kill9();
    await night.redis.restart({ empty: true });
    await night.untilFollowed(40);
    assert.equal((await stored()).epoch, epoch);
    await night.play();
    await night.check();
  });

  await t.test('emptied under living connections', async () => {
    await night.redis.client().flushall();
    await until(async () => (await stored()).epoch === epoch, { what: 'the state to be written back' });
    await night.untilFollowed(40);
    await night.play();
    await night.check();
  });

  await t.test('older', async () => {
    await night.lose();
    await night.redis.client().hset('crossfade:cutover', 'epoch', older.epoch, 'value', JSON.stringify(older));
    night.proxy.pass();
    await night.untilFollowed(40);
    assert.equal((await stored()).epoch, epoch);
    await night.play();
    await night.check();
  });

  await t.test('a restart with another wish changes nothing, a reset does', async (t) => {
    const env = { EVENT_TRANSPORT_REDIS_STREAMS_PERCENTAGE: '50' };
    const wishing = await night.start('wishing', env);
    await night.untilFollowed(40);
    const { code } = await cutover(t, ['reset', '--force', '--admin', wishing.admin]);
    assert.equal(code, 0);
    await untilAll(night.replicas, ({ percent, pins, operated }) => percent === 50 && !pins['room-0'] && !operated, {
      what: 'all to be where the flags of the asked one are',
    });
    assert.ok((await stateOf(wishing)).epoch > epoch, 'its number goes on all the same');
    await night.play();
    await night.check();
  });
});
