import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { hasCode } from '../../src/errors.ts';
import { type Log, type LogOptions, presenceTtlMs } from '../../src/log/log.ts';
import { type Clock, systemClock } from '../../src/telemetry/clock.ts';
import { startRedis } from '../support/redis.ts';
import { startProxy } from '../support/tcp-proxy.ts';
import { until } from '../support/wait.ts';
import { chat, event, openTestLog } from './redis-setup.ts';

const leaseKey = 'crossfade:lease:test:a';

/** Real time, but what recurs every minute or more recurs when the test says so, and later by the time it says. */
function skippingClock() {
  let skippedMs = 0;
  const slow = new Set<() => void>();
  const clock: Clock = {
    ...systemClock,
    monotonic: () => systemClock.monotonic() + skippedMs,
    every(ms, run) {
      if (ms < 60_000) return systemClock.every(ms, run);
      slow.add(run);
      return () => slow.delete(run);
    },
  };
  return {
    clock,
    skip(ms: number) {
      skippedMs += ms;
      for (const run of slow) run();
    },
  };
}

/** A log that holds its instance name. */
async function openNamed(t: TestContext, url: string, options: Partial<LogOptions> = {}): Promise<Log> {
  const log = await openTestLog(t, url, options);
  await log.openReader([chat]);
  return log;
}

test('a second process with the same instance name is refused while the first one renews its lease', async (t) => {
  const redis = await startRedis(t);
  await openNamed(t, redis.url);
  await assert.rejects(openNamed(t, redis.url), (error) => hasCode(error, 'LOG_INSTANCE_TAKEN'));
});

test('a second process is refused also while the first one is connecting again', async (t) => {
  const redis = await startRedis(t);
  await openNamed(t, redis.url);
  const second = await openTestLog(t, redis.url);
  const client = redis.client();
  const token = await client.get(leaseKey);
  const [, id] = new RegExp(`id=(\\d+) [^\\n]*name=crossfade:${token} `).exec((await client.client('LIST')) as string)!;
  const opening = second.openReader([chat]);
  await client.call('CLIENT', 'KILL', 'ID', id!);
  await assert.rejects(opening, (error) => hasCode(error, 'LOG_INSTANCE_TAKEN'));
  assert.equal(await client.get(leaseKey), token);
});

test('a second process is refused also where Redis lets nobody name a connection', async (t) => {
  const redis = await startRedis(t);
  await redis.client().call('ACL', 'SETUSER', 'default', '-client|setname');
  await openNamed(t, redis.url);
  await assert.rejects(openNamed(t, redis.url), (error) => hasCode(error, 'LOG_INSTANCE_TAKEN'));
});

test('a process that took its name, and did not hear of it, has it', async (t) => {
  const redis = await startRedis(t);
  const client = redis.client();
  const log = await openTestLog(t, redis.url);
  const list = (await client.client('LIST')) as string;
  const [, token] = /name=crossfade:(holder:\S+) /.exec(list)!;
  await client.set(leaseKey, token!, 'PX', 60_000);
  await log.openReader([chat]);
  assert.equal(await client.get(leaseKey), token);
});

test('a lease that nobody renews is waited out', async (t) => {
  const redis = await startRedis(t);
  await redis.client().set(leaseKey, 'dead', 'PX', 1_200);
  const log = await openNamed(t, redis.url);
  assert.ok(log.reachable);
  assert.equal((await redis.client().get(leaseKey))?.startsWith('holder:'), true);
});

test('the name of a process that was killed is taken long before its lease ends, and nothing that it counted is left', async (t) => {
  const redis = await startRedis(t);
  const client = redis.client();
  await client.set(leaseKey, 'holder:killed', 'PX', 60_000);
  await client.hset('crossfade:roster:a', { '': '{}', proxied: '7' });
  const log = await openNamed(t, redis.url);
  assert.notEqual(await client.get(leaseKey), 'holder:killed');
  log.roster.set('user:u1', 1);
  await until(async () => (await client.hget('crossfade:roster:a', 'user:u1')) === '1');
  assert.equal(await client.hget('crossfade:roster:a', 'proxied'), null);
});

test('events are kept while the name of a process that died is waited for, and the roster is not written', async (t) => {
  const redis = await startRedis(t);
  const client = redis.client();
  await client.set(leaseKey, 'dead', 'PX', 60_000);
  const log = await openTestLog(t, redis.url);
  log.roster.set('user:u1', 1);
  const reader = log.openReader([chat]).catch(() => undefined);
  assert.equal(await log.append(event('x')), 'appended');
  assert.equal(await log.readState(), undefined);
  assert.equal(await client.exists('crossfade:roster:a'), 0);
  await client.del(leaseKey);
  assert.notEqual(await reader, undefined);
  assert.equal(await client.hget('crossfade:roster:a', 'user:u1'), '1');
});

test('close() gives the name back at once', async (t) => {
  const redis = await startRedis(t);
  const log = await openNamed(t, redis.url);
  await log.close();
  assert.equal(await redis.client().get(leaseKey), null);
});

test('a lost lease is taken again; one that another holds ends this replica, once', async (t) => {
  const redis = await startRedis(t);
  const client = redis.client();
  let lost = 0;
  const log = await openTestLog(t, redis.url, { onInstanceLost: () => lost++ });
  const reader = await log.openReader([chat]);
  const read = reader.read();
  const token = await client.get(leaseKey);

  await client.del(leaseKey);
  await until(async () => (await client.get(leaseKey)) === token, { what: 'the lease to be taken again' });
  assert.equal(lost, 0);

  await client.set(leaseKey, 'other', 'PX', 60_000);
  await until(() => lost, { what: 'the loss to be told' });
  assert.equal(await read, undefined, 'it reads nothing of the new holder');
  await log.close();
  assert.equal(lost, 1);
  assert.equal(await client.get(leaseKey), 'other');
  assert.equal(((await client.xinfo('GROUPS', chat)) as unknown[]).length, 1, 'the group belongs to the new holder');
});

test('counters are seen by every replica, end with it, and are written again after a lost log', async (t) => {
  const redis = await startRedis(t);
  const [a, b] = [await openNamed(t, redis.url), await openNamed(t, redis.url, { instance: 'b' })];
  a.roster.set('user:u1', 2);
  a.roster.set('user:gone', 1);
  a.roster.set('user:gone', 0);
  b.roster.set('user:u1', 1);
  a.roster.describe({ release: '0' });
  a.roster.describe({ admin: 'http://10.0.0.1:7402' });
  const others = async () => (await b.roster.read()).slice(1).map((counters) => Object.fromEntries(counters));
  const told = async () => (await b.roster.replicas()).map(({ instance, facts }) => ({ instance, facts }));
  const toldOfBoth = [
    { instance: 'b', facts: {} },
    { instance: 'a', facts: { admin: 'http://10.0.0.1:7402' } },
  ];

  await until(async () => JSON.stringify(await others()) === '[{"user:u1":2}]');
  assert.deepEqual((await b.roster.read())[0], new Map([['user:u1', 1]]));
  assert.deepEqual(await told(), toldOfBoth);

  await redis.kill9();
  await redis.restart({ empty: true });
  await until(async () => JSON.stringify(await others().catch(() => '')) === '[{"user:u1":2}]');
  assert.deepEqual(await told(), toldOfBoth);

  a.roster.describe({});
  await until(async () => Object.keys((await told())[1]!.facts).length === 0);
  await a.close();
  assert.deepEqual(await others(), []);
});

test('counters that do not change are written again as well where others change before Redis’ loss is noticed', async (t) => {
  const redis = await startRedis(t);
  const client = redis.client();
  const { roster } = await openNamed(t, redis.url);
  const inRedis = async () => {
    const { '': facts, ...counters } = await client.hgetall('crossfade:roster:a');
    return { facts, counters };
  };
  roster.describe({ release: '1' });
  roster.set('user:u1', 1);
  await until(async () => 'user:u1' in (await inRedis()).counters);
  await client.flushall();
  roster.set('user:u2', 1);
  await until(async () => Object.keys((await inRedis()).counters).length === 2);
  assert.deepEqual(await inRedis(), { facts: '{"release":"1"}', counters: { 'user:u1': '1', 'user:u2': '1' } });
});

test('what Redis had lost of the last changes before a broken connection is put right', async (t) => {
  const redis = await startRedis(t);
  const proxy = await startProxy(t, redis.port);
  const client = redis.client();
  const { roster } = await openNamed(t, `redis://127.0.0.1:${proxy.port}`);
  for (const user of ['stays', 'goes', 'doubles']) roster.set(`user:${user}`, 1);
  await until(async () => (await client.hlen('crossfade:roster:a')) === 4);
  roster.set('user:goes', 0);
  roster.set('user:doubles', 2);
  await until(async () => (await client.hlen('crossfade:roster:a')) === 3);
  await client.hset('crossfade:roster:a', { 'user:goes': 1, 'user:doubles': 1 });
  proxy.cut();
  const counters = async (): Promise<Record<string, string>> => ({
    ...(await client.hgetall('crossfade:roster:a')),
    '': '',
  });
  await until(async () => (await client.hlen('crossfade:roster:a')) === 3);
  await until(async () => (await counters())['user:doubles'] === '2');
  assert.deepEqual(await counters(), { 'user:stays': '1', 'user:doubles': '2', '': '' });
});

test('a replica that has lost its name leaves the roster and the presence of who has it now alone', async (t) => {
  const redis = await startRedis(t);
  const client = redis.client();
  let lost = 0;
  const { roster } = await openTestLog(t, redis.url, { onInstanceLost: () => lost++ }).then(async (log) => {
    await log.openReader([chat]);
    return log;
  });
  roster.set('user:u1', 1);
  roster.holdPresence('u1', 's1');
  await until(async () => (await client.exists('presence:desktop:s1', 'presence:user:u1')) === 2);
  await client.set(leaseKey, 'other', 'PX', 60_000);
  await until(() => lost, { what: 'the loss to be told' });
  roster.set('user:u1', 0);
  roster.releasePresence('u1', 'user:u1');
  roster.describe({ admin: 'ours' });
  // What follows over the same connection has been executed when this is.
  await roster.read();
  assert.deepEqual(await client.hgetall('crossfade:roster:a'), { '': '{}', 'user:u1': '1' });
  assert.equal(await client.exists('presence:desktop:s1', 'presence:user:u1'), 2);
});

test('presence is held for 660 s, renewed, and ends with the last connection of any replica', async (t) => {
  const redis = await startRedis(t);
  const client = redis.client();
  const { clock, skip } = skippingClock();
  const [a, b] = [await openNamed(t, redis.url, { clock }), await openNamed(t, redis.url, { instance: 'b' })];
  a.roster.set('user:u1', 1);
  b.roster.set('user:u1', 1);
  a.roster.holdPresence('u1', 's1');
  await until(async () => (await client.get('presence:desktop:s1')) === 'u1');
  assert.deepEqual(await client.smembers('presence:user:u1'), ['s1']);

  await client.pexpire('presence:desktop:s1', 5_000);
  skip(220_000);
  await until(async () => (await client.pttl('presence:desktop:s1')) > presenceTtlMs - 5_000);

  await until(async () => (await client.hget('crossfade:roster:b', 'user:u1')) === '1');
  a.roster.set('user:u1', 0);
  a.roster.releasePresence('u1', 'user:u1');
  await until(async () => (await client.hget('crossfade:roster:a', 'user:u1')) === null);
  await a.roster.read();
  assert.equal(await client.exists('presence:desktop:s1'), 1, 'the user is still connected to the other replica');

  b.roster.set('user:u1', 0);
  b.roster.releasePresence('u1', 'user:u1');
  await until(async () => (await client.exists('presence:desktop:s1', 'presence:user:u1')) === 0);
});

test('the group of a replica that is gone for 10 minutes is removed, a foreign group never', async (t) => {
  const redis = await startRedis(t);
  const client = redis.client();
  const { clock, skip } = skippingClock();
  const a = await openTestLog(t, redis.url, { clock });
  await a.openReader([chat]);
  await client.xgroup('CREATE', chat, 'signalr-consumers', '$');
  await client.xgroup('CREATE', chat, 'test:dead', '$');
  await client.sadd('crossfade:groups', JSON.stringify([chat, 'test', 'dead']));
  const groups = async () => ((await client.xinfo('GROUPS', chat)) as string[][]).map((group) => group[1]).sort();

  let skippedMs = 0;
  await until(async () => {
    skip(60_000);
    skippedMs += 60_000;
    return (await groups()).length < 3;
  });
  assert.deepEqual(await groups(), ['signalr-consumers', 'test:a']);
  assert.ok(skippedMs > 10 * 60_000, `removed after ${skippedMs} ms`);
});

test('claims are open for their replica until they are settled', async (t) => {
  const redis = await startRedis(t);
  const client = redis.client();
  const [a, b] = [await openTestLog(t, redis.url), await openTestLog(t, redis.url, { instance: 'b' })];
  assert.equal(await a.claim('e'), 'claimed');
  assert.equal(await client.get('crossfade:id:e'), 'open:a');
  assert.equal(await b.claim('e'), 'undecided');
  assert.equal(await b.append(event('x', { eventIds: ['e'] })), 'undecided');

  await b.settle('e', false);
  assert.equal(await b.claim('e'), 'undecided', 'only its own replica ends a claim');
  await a.settle('e', false);
  assert.equal(await b.claim('e'), 'claimed');
  await b.settle('e', true);
  assert.equal(await a.claim('e'), 'duplicate');
  assert.equal(await a.append(event('x', { eventIds: ['new', 'e'] })), 'duplicate');
  assert.equal(await a.append(event('x', { eventIds: ['e'], idsSettled: true })), 'appended');
});

test('a replica of an older release, which says nothing of itself, is a replica', async (t) => {
  const redis = await startRedis(t);
  const client = redis.client();
  const log = await openNamed(t, redis.url);
  await client.sadd('crossfade:replicas', 'old', 'dead');
  await client.hset('crossfade:roster:old', { '': '1', 'user:u1': '2', 'user:u2': '3' });
  assert.deepEqual((await log.roster.replicas(['user:u1'])).slice(1), [
    { instance: 'old', facts: {}, counters: new Map([['user:u1', 2]]) },
  ]);
  assert.deepEqual(
    (await client.smembers('crossfade:replicas')).sort(),
    ['a', 'old'],
    'a dead one leaves no name behind',
  );
});

test('however many counters end at once, the roster follows, and others read it in parts', async (t) => {
  const redis = await startRedis(t);
  const client = redis.client();
  const [a, b] = [await openNamed(t, redis.url), await openNamed(t, redis.url, { instance: 'b' })];
  const users = Array.from({ length: 150_000 }, (_, n) => `user:${n}`);
  a.roster.set('proxied', 7);
  for (const user of users) a.roster.set(user, 1);
  const fields = () => client.hlen('crossfade:roster:a');
  await until(async () => (await fields()) === users.length + 2, { what: 'the counters', timeoutMs: 20_000 });
  const [self, other] = await b.roster.replicas(['proxied']);
  assert.deepEqual([self!.counters, other!.counters], [new Map(), new Map([['proxied', 7]])]);
  assert.equal((await b.roster.read())[1]!.size, users.length + 1);
  for (const user of users) a.roster.set(user, 0);
  await until(async () => (await fields()) === 2, { what: 'their end', timeoutMs: 20_000 });
});

test('what another program has written into the roster is passed over where it is not understood', async (t) => {
  const redis = await startRedis(t);
  const client = redis.client();
  const log = await openTestLog(t, redis.url);
  const garbage = ['{', 'null', '[]', '7', '"x"', '{"admin":7,"a":{}}', '{"release":"1","admin":null}'];
  for (const [i, told] of garbage.entries()) {
    await client.sadd('crossfade:replicas', `g${i}`);
    await client.hset(`crossfade:roster:g${i}`, { '': told, proxied: 'many', 'user:u': '-Infinity', '7': '1' });
  }
  await client.sadd('crossfade:replicas', 'text', 'list', '', '*');
  await client.set('crossfade:roster:text', 'x');
  await client.rpush('crossfade:roster:list', 'x');
  await client.sadd('crossfade:groups', '{', 'null', '[]', '[1,2,3]', '{"a":1}');
  const others = (await log.roster.replicas(['proxied'])).slice(1);
  assert.equal(others.length, garbage.length);
  for (const { facts, counters } of others) {
    assert.deepEqual([counters, Object.keys(facts).filter((fact) => fact !== 'release')], [new Map(), []]);
  }
  assert.deepEqual((await log.roster.read())[1], new Map([['7', 1]]));
  assert.deepEqual(await log.foreignReaders([chat], 60_000), []);
  await log.roster.releasePresence('u', 'user:u');
  log.roster.holdPresence('v', 's');
  log.roster.releasePresence('v', 'user:v');
  await until(async () => (await client.exists('presence:desktop:s')) === 0);
});

test('a value that one replica shares is read by another', async (t) => {
  const redis = await startRedis(t);
  const [a, b] = [await openTestLog(t, redis.url), await openTestLog(t, redis.url, { instance: 'b' })];
  a.share('token', 'bridge', 60_000);
  await until(async () => (await b.shared('token')) === 'bridge');
});

test('what a bridge removes of the presence that is held is written again at once, until it is the bridge’s alone', async (t) => {
  const redis = await startRedis(t);
  const client = redis.client();
  const { roster } = await openNamed(t, redis.url, {});
  roster.keepPresence(true);
  roster.holdPresence('u1', 's1');
  roster.holdPresence('u1', 's2');
  const keys = ['presence:desktop:s1', 'presence:desktop:s2', 'presence:user:u1'];
  const areThere = async () => (await client.exists(keys)) === 3;
  await until(areThere);
  // It listens from the moment at which it notices a key of its own.
  await until(async () => ((await client.client('LIST')) as string).includes('crossfade:presence'));
  for (const removed of [keys, ['presence:user:u1'], ['presence:desktop:s2']]) {
    await client.del(removed);
    await until(areThere);
    assert.deepEqual((await client.smembers('presence:user:u1')).sort(), ['s1', 's2']);
    assert.ok((await client.pttl('presence:user:u1')) > presenceTtlMs - 60_000);
  }
  roster.keepPresence(false);
  assert.equal(await client.exists(keys), 3, 'they are left as they are');
  await client.del(keys);
  await roster.read();
  assert.equal(await client.exists(keys), 0);
});
