import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Batch } from '../../src/log/log.ts';
import { systemClock } from '../../src/telemetry/clock.ts';
import { startRedis } from '../support/redis.ts';
import { startProxy } from '../support/tcp-proxy.ts';
import { until } from '../support/wait.ts';
import { chat, contents, event, numbers, openTestLog, readUntil, ticket } from './redis-setup.ts';

/** Thousands of appends at once, on a machine that is busy with other tests. */
const patient = { publishTimeoutMs: 30_000 };

test('kill -9 of Redis loses nothing acknowledged, and the reader goes on without repeating anything', async (t) => {
  const redis = await startRedis(t, { appendfsync: 'always' });
  const log = await openTestLog(t, redis.url);
  const reader = await log.openReader([chat, ticket]);
  const acknowledged: string[] = [];
  let written = 0;
  let writing = true;
  const writer = (async () => {
    while (writing) {
      const content = String(written++);
      const stream = written % 2 ? chat : ticket;
      await log.append(event(content, { stream })).then(
        () => acknowledged.push(content),
        () => new Promise((resolve) => setTimeout(resolve, 20)),
      );
    }
  })();

  const read = readUntil(reader, (seen) => contents(seen.entries).includes('end'));
  await until(() => acknowledged.length > 200);
  await redis.kill9();
  const before = acknowledged.length;
  await redis.restart();
  await until(() => acknowledged.length > before + 200);
  writing = false;
  await writer;
  await log.append(event('end'));

  const { entries, missed, batches } = await read;
  const shown = contents(entries);
  assert.equal(new Set(shown).size, shown.length, 'nothing twice');
  assert.deepEqual(
    acknowledged.filter((content) => !shown.includes(content)),
    [],
  );
  assert.equal(missed, 0);
  assert.ok(batches.every(({ entries }) => entries.every((entry) => !entry.isHistory)));
  const client = redis.client();
  void reader.read();
  await until(async () => ((await client.xpending(chat, 'test:a')) as [number])[0] === 0, { what: 'all acknowledged' });
});

test('a reply of XREADGROUP that is lost on its way is read again, once', async (t) => {
  const redis = await startRedis(t);
  const client = redis.client();
  const proxy = await startProxy(t, redis.port);
  const log = await openTestLog(t, `redis://127.0.0.1:${proxy.port}`);
  const writer = await openTestLog(t, redis.url, { instance: 'writer' });
  const reader = await log.openReader([chat]);
  await writer.append(event('0'));
  const first = await reader.read();
  assert.deepEqual(contents(first!.entries), ['0']);

  const read = readUntil(reader, (seen) => seen.entries.length >= 2);
  proxy.swallowReplies();
  await writer.append(event('1'));
  await until(async () => ((await client.xpending(chat, 'test:a')) as [number])[0] === 2);
  proxy.cut();
  await writer.append(event('2'));

  assert.deepEqual(contents((await read).entries), ['1', '2']);
  reader.acknowledge(first!);
  void reader.read();
  await until(async () => ((await client.xpending(chat, 'test:a')) as [number])[0] === 0);
});

test('more than one read can hold comes in log order over all streams', async (t) => {
  const redis = await startRedis(t);
  const log = await openTestLog(t, redis.url, patient);
  const reader = await log.openReader([chat, ticket]);
  const all = numbers(2_000);
  await Promise.all(
    all.map((content) => log.append(event(content, { stream: Number(content) < 1_200 ? chat : ticket }))),
  );
  const { entries, missed } = await readUntil(reader, (seen) => seen.entries.length >= all.length);
  assert.deepEqual(contents(entries), all);
  assert.equal(missed, 0);
  assert.equal(reader.position, entries.at(-1)!.position);
});

test('what was trimmed before it was read is counted exactly', async (t) => {
  const redis = await startRedis(t);
  const log = await openTestLog(t, redis.url, patient);
  const reader = await log.openReader([chat, ticket]);
  await log.append(event('first'));
  await readUntil(reader, (seen) => seen.entries.length === 1);

  const count = 1_500;
  await Promise.all(numbers(count).map((content) => log.append(event(content, { maxLength: 500 }))));
  await until(async () => (await redis.client().xlen(chat)) < count);
  const seen = await readUntil(reader, ({ entries, missed }) => entries.length + missed >= count);
  assert.equal(seen.entries.length + seen.missed, count);
  assert.ok(seen.missed > 500);
  assert.deepEqual(contents(seen.entries), numbers(seen.entries.length, seen.missed));

  await log.append(event('after'));
  const rest = await readUntil(reader, ({ entries }) => contents(entries).includes('after'));
  assert.equal(rest.missed, 0);
});

test('pending entries that were trimmed while the connection was down count as missed', async (t) => {
  const redis = await startRedis(t);
  const client = redis.client();
  const proxy = await startProxy(t, redis.port);
  const log = await openTestLog(t, `redis://127.0.0.1:${proxy.port}`);
  const writer = await openTestLog(t, redis.url, { instance: 'writer' });
  const reader = await log.openReader([chat]);
  const read = readUntil(reader, ({ entries, missed }) => entries.length + missed >= 21);

  await until(async () => ((await client.client('LIST')) as string).includes('cmd=xreadgroup'));
  proxy.swallowReplies();
  await writer.append(event('lost'));
  await until(async () => ((await client.xpending(chat, 'test:a')) as [number])[0] === 1);
  for (const content of numbers(20)) await writer.append(event(content));
  await client.xtrim(chat, 'MAXLEN', 5);
  proxy.cut();

  const { entries, missed } = await read;
  assert.deepEqual(contents(entries), numbers(5, 15));
  assert.equal(missed, 16);
});

test('a replaced, empty Redis is read from its start; what is older than the outage is marked', async (t) => {
  const redis = await startRedis(t);
  const proxy = await startProxy(t, redis.port);
  const log = await openTestLog(t, `redis://127.0.0.1:${proxy.port}`);
  const reader = await log.openReader([chat, ticket]);
  await log.append(event('old'));
  await readUntil(reader, (seen) => seen.entries.length === 1);

  const read = readUntil(reader, (seen) => seen.entries.length >= 3);
  proxy.refuse();
  await redis.kill9();
  await redis.restart({ empty: true });
  for (const [id, ageMs] of [
    ['1-1', 60_000],
    ['1-2', 0],
  ] as const) {
    const fields = {
      event_type: 'x',
      room_id: 'r',
      payload: `"${id}"`,
      timestamp: new Date(Date.now() - ageMs).toISOString(),
    };
    await redis.client().xadd(chat, id, ...Object.entries(fields).flat());
  }
  proxy.pass();
  await until(() => log.append(event('new', { stream: ticket })).catch(() => false));

  const { entries } = await read;
  const history = entries.filter(({ isHistory }) => isHistory);
  assert.deepEqual([contents(entries).sort(), contents(history)], [['1-1', '1-2', 'new'], ['1-1']]);

  await log.append(event('later'));
  const after = await readUntil(reader, (seen) => seen.entries.length >= 1);
  assert.deepEqual(contents(after.entries), ['later']);
  assert.equal(after.entries[0]!.isHistory, undefined);
});

test('FLUSHALL under a waiting reader, and a group that someone removed, are survived', async (t) => {
  const redis = await startRedis(t);
  const client = redis.client();
  const log = await openTestLog(t, redis.url);
  const reader = await log.openReader([chat, ticket]);
  await log.append(event('0'));
  await readUntil(reader, (seen) => seen.entries.length === 1);

  const flushed = readUntil(reader, (seen) => seen.entries.length === 1);
  await client.flushall();
  await log.append(event('1'));
  assert.deepEqual(contents((await flushed).entries), ['1']);

  await client.xgroup('DESTROY', chat, 'test:a');
  await log.append(event('2'));
  await log.append(event('3'));
  assert.deepEqual(contents((await readUntil(reader, (seen) => seen.entries.length === 2)).entries), ['2', '3']);
});

test('a reader without a connection knows nothing of the log, and soon everything again', async (t) => {
  const redis = await startRedis(t);
  const proxy = await startProxy(t, redis.port);
  const log = await openTestLog(t, `redis://127.0.0.1:${proxy.port}`);
  const reader = await log.openReader([chat]);
  assert.equal(reader.stalenessMs, Number.POSITIVE_INFINITY, 'before the first answer');
  const read = reader.read();
  await until(() => reader.stalenessMs < 500);

  proxy.refuse();
  await until(() => reader.stalenessMs === Number.POSITIVE_INFINITY);
  proxy.pass();
  await until(() => reader.stalenessMs < 500);

  proxy.stall();
  await until(() => reader.stalenessMs > 500);
  proxy.pass();
  await until(() => reader.stalenessMs < 500);
  await log.close();
  assert.equal(await read, undefined);
  assert.equal(reader.stalenessMs, Number.POSITIVE_INFINITY);
});

test('a reader knows no more than what was delivered, and not before all that stood in the log was', async (t) => {
  const redis = await startRedis(t);
  const log = await openTestLog(t, redis.url);
  const reader = await log.openReader([chat, ticket]);
  await Promise.all(numbers(1_000).map((content) => log.append(event(content))));
  const batches = [await reader.read(), await reader.read()];
  assert.ok(batches.every((batch) => batch!.entries.length > 0));
  assert.equal(reader.stalenessMs, Number.POSITIVE_INFINITY, 'there is more');

  await readUntil(reader, (seen) => contents(seen.entries).includes('999'));
  assert.equal(reader.stalenessMs, Number.POSITIVE_INFINITY, 'the last batch is being delivered');
  const next = reader.read();
  await until(() => reader.stalenessMs < 500);
  await log.append(event('next'));
  await next;
  await until(() => reader.stalenessMs > 500, { what: 'a batch whose delivery takes long' });
});

test('a reply that lay unread while the process stood still is old news', async (t) => {
  const redis = await startRedis(t);
  const client = redis.client();
  let stoodStillMs = 0;
  const clock = { ...systemClock, monotonic: () => systemClock.monotonic() + stoodStillMs };
  const log = await openTestLog(t, redis.url, { clock });
  const writer = await openTestLog(t, redis.url, { instance: 'writer' });
  const reader = await log.openReader([chat]);
  const read = reader.read();
  await until(() => reader.stalenessMs < 500);
  await until(async () => ((await client.client('LIST')) as string).includes('cmd=xreadgroup'));

  const appending = writer.append(event('0'));
  stoodStillMs = 10_000;
  await appending;
  await read;
  const next = reader.read();
  assert.ok(reader.stalenessMs > 9_000, `${reader.stalenessMs} ms`);
  await until(() => reader.stalenessMs < 500);
  await log.close();
  await next;
});

test('a malformed entry is set aside, acknowledged, and blocks nothing', async (t) => {
  const redis = await startRedis(t);
  const client = redis.client();
  const log = await openTestLog(t, redis.url);
  const reader = await log.openReader([chat]);
  await client.xadd(chat, '*', 'event_type', 'x', 'room_id', 'r', 'payload', '{broken');
  await log.append(event('next'));
  const { entries, batches } = await readUntil(reader, (seen) => seen.entries.length === 1);
  assert.deepEqual(contents(entries), ['next']);
  assert.deepEqual(
    batches.flatMap((batch) => batch.malformed.map(({ reason }) => reason)),
    ['payload is not JSON'],
  );
  void reader.read();
  await until(async () => ((await client.xpending(chat, 'test:a')) as [number])[0] === 0);
});

test('a deleted entry at the end of a stream does not keep the reader from waiting', async (t) => {
  const redis = await startRedis(t);
  const client = redis.client();
  const log = await openTestLog(t, redis.url);
  const reader = await log.openReader([chat]);
  const read = readUntil(reader, (seen) => seen.entries.length >= 1);
  const calls = async () => Number(/cmdstat_xreadgroup:calls=(\d+)/.exec(await client.info('commandstats'))?.[1] ?? 0);

  // A replica that must count and finds its stream's last entry gone.
  await client.multi().xadd(chat, '*', 'a', 'b').xtrim(chat, 'MAXLEN', 0).exec();
  await client.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
  await until(() => log.reachable);
  const before = await calls();
  const begin = performance.now();
  await until(() => performance.now() - begin > 500);
  assert.ok((await calls()) - before < 20);

  await until(() => log.append(event('next')).catch(() => false));
  const { entries, missed } = await read;
  assert.deepEqual(contents(entries), ['next']);
  assert.equal(missed, 1);
});

test('while Redis is down the reader waits without burning the processor', async (t) => {
  const redis = await startRedis(t);
  const log = await openTestLog(t, redis.url);
  const reader = await log.openReader([chat]);
  const read = reader.read();
  await redis.kill9();
  await until(() => !log.reachable);

  const cpu = process.cpuUsage();
  const begin = performance.now();
  await until(() => performance.now() - begin > 500);
  const { user, system } = process.cpuUsage(cpu);
  assert.ok((user + system) / 1_000 < 250, `${(user + system) / 1_000} ms of CPU in 500 ms`);

  await log.close();
  assert.equal(await read, undefined);
});

test('a new process begins at the tail, and close() ends a waiting read at once and removes the groups', async (t) => {
  const redis = await startRedis(t);
  const client = redis.client();
  const writer = await openTestLog(t, redis.url, { instance: 'writer' });
  await writer.append(event('before'));
  const log = await openTestLog(t, redis.url);
  const reader = await log.openReader([chat, ticket]);
  await writer.append(event('after'));
  assert.deepEqual(contents((await reader.read())!.entries), ['after']);
  assert.deepEqual(await log.streamStates(), [
    { stream: chat, depth: 2, lag: 1 },
    { stream: ticket, depth: 0, lag: 0 },
  ]);

  const read: Promise<Batch | undefined> = reader.read();
  const begin = performance.now();
  await log.close();
  assert.equal(await read, undefined);
  assert.ok(performance.now() - begin < 500);
  assert.deepEqual(await client.xinfo('GROUPS', chat), []);
  assert.equal(await client.scard('crossfade:groups'), 0);
});

test('a backlog of large entries is read in portions that are bounded in bytes', async (t) => {
  const redis = await startRedis(t);
  const log = await openTestLog(t, redis.url);
  const reader = await log.openReader([chat, ticket]);
  const payload = 'x'.repeat(1_000_000);
  for (const content of numbers(80)) await log.append(event(payload, { stream: Number(content) % 2 ? chat : ticket }));
  const { batches, entries } = await readUntil(reader, (seen) => seen.entries.length >= 80);
  const sizes = batches.map((batch) => batch.entries.length).filter((size) => size > 0);
  assert.equal(entries.length, 80);
  // The first read cannot know; what it has brought of two streams bounds the next ones.
  assert.ok(sizes.slice(2).length > 0, `batches of ${sizes}`);
  for (const size of sizes.slice(2)) assert.ok(size <= 16, `batches of ${sizes}`);
});
