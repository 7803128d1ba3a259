import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { hasCode } from '../../src/errors.ts';
import { comparePositions } from '../../src/log/log.ts';
import { startRedis } from '../support/redis.ts';
import { startProxy } from '../support/tcp-proxy.ts';
import { until } from '../support/wait.ts';
import { chat, contents, event, numbers, openTestLog, readUntil, ticket } from './redis-setup.ts';

test('positions are one order over all streams, also within one ms and with foreign XADD * between', async (t) => {
  const redis = await startRedis(t);
  const client = redis.client();
  const log = await openTestLog(t, redis.url);
  const reader = await log.openReader([chat, ticket]);
  const foreign = (stream: string, content: string) =>
    client.xadd(stream, '*', 'event_type', 'x', 'room_id', 'r', 'payload', JSON.stringify(content));

  const kept: Promise<unknown>[] = [];
  for (const content of numbers(200)) {
    kept.push(log.append(event(content, { stream: Number(content) % 2 ? chat : ticket })));
  }
  await Promise.all(kept);
  for (const content of numbers(50, 200)) {
    const stream = Number(content) % 3 ? chat : ticket;
    if (Number(content) % 2) await foreign(stream, content);
    else await log.append(event(content, { stream }));
  }

  const { entries } = await readUntil(reader, (seen) => seen.entries.length >= 250);
  const own = entries.filter((entry) => entry.deliveries !== undefined);
  assert.deepEqual(contents(own), [
    ...numbers(200),
    ...numbers(50, 200).filter((content) => Number(content) % 2 === 0),
  ]);
  assert.equal(new Set(own.map((entry) => entry.position)).size, own.length);
  for (const stream of [chat, ticket]) {
    const ofStream = entries.filter((entry) => entry.stream === stream);
    assert.deepEqual(
      contents(ofStream),
      contents(ofStream).sort((a, b) => Number(a) - Number(b)),
    );
  }
});

const idsAhead = {
  'an hour, as after a step of the clock of Redis': `${Date.now() + 3_600_000}-5`,
  'made of nanoseconds': '1764214372400000001-0',
  'without another one in its ms': '1764214372400000001-18446744073709551615',
  'at the end of all ms': '18446744073709551615-0',
};
for (const [what, ahead] of Object.entries(idsAhead)) {
  test(`an id far ahead in the stream (${what}) does not stop the appends`, async (t) => {
    const redis = await startRedis(t);
    const log = await openTestLog(t, redis.url);
    const reader = await log.openReader([chat, ticket]);
    await redis.client().xadd(chat, ahead, 'event_type', 'x', 'room_id', 'r', 'payload', '"ahead"');

    assert.equal(await log.append(event('next')), 'appended');
    assert.equal(await log.append(event('other stream', { stream: ticket })), 'appended');

    const { entries } = await readUntil(reader, (seen) => seen.entries.length >= 3);
    assert.deepEqual(contents(entries), ['ahead', 'next', 'other stream']);
    const order = entries.map(({ position }) => position.split('-').map(BigInt) as [bigint, bigint]);
    for (const [i, [ms, sequence]] of order.entries()) {
      const [beforeMs, before] = order[i - 1] ?? [0n, 0n];
      assert.ok(ms > beforeMs || (ms === beforeMs && sequence > before), `${entries[i]!.position} stands behind`);
      if (i > 0) assert.ok(comparePositions(entries[i]!.position, entries[i - 1]!.position) > 0);
    }
  });
}

test('an id shortly before the last one of its ms stops no stream, however often events follow it', async (t) => {
  const redis = await startRedis(t);
  const log = await openTestLog(t, redis.url);
  const reader = await log.openReader([chat, ticket]);
  const ahead = '1764214372400000001-18446744073709551613';
  await redis.client().xadd(chat, ahead, 'event_type', 'x', 'room_id', 'r', 'payload', '"ahead"');
  const sent: string[] = [];
  for (let i = 0; i < 4; i++) {
    for (const stream of [chat, ticket]) {
      assert.equal(await log.append(event(`${stream} ${i}`, { stream })), 'appended', `${stream} ${i}`);
      sent.push(`${stream} ${i}`);
    }
  }
  const { entries } = await readUntil(reader, (seen) => seen.entries.length >= sent.length + 1);
  for (const stream of [chat, ticket]) {
    const read = contents(entries.filter((entry) => entry.stream === stream)).filter((content) => content !== 'ahead');
    assert.deepEqual(
      read,
      sent.filter((content) => content.startsWith(stream)),
    );
  }
});

for (const ids of [['e-1', 'e-2'], []]) {
  test(`a reply that is lost after the append (${ids.length} ids) is found by looking it up`, async (t) => {
    const redis = await startRedis(t);
    const client = redis.client();
    const proxy = await startProxy(t, redis.port);
    const log = await openTestLog(t, `redis://127.0.0.1:${proxy.port}`, { publishTimeoutMs: 300 });

    proxy.swallowReplies();
    const outcome = log.append(event('x', { eventIds: ids }));
    await until(() => client.xlen(chat), { what: 'Redis to execute the append' });
    proxy.cut();

    assert.equal(await outcome, 'appended');
    assert.equal(await client.xlen(chat), 1);
    if (ids.length > 0) {
      await until(() => log.reachable);
      assert.equal(await log.append(event('x', { eventIds: ['e-2'] })), 'duplicate');
    }
  });
}

/** Appends; Redis executes it, and both the write's connection and that of its look-up break off before they have an answer. */
async function appendWithoutConnections(t: TestContext, publishTimeoutMs: number) {
  const redis = await startRedis(t);
  const client = redis.client();
  const proxy = await startProxy(t, redis.port);
  const log = await openTestLog(t, `redis://127.0.0.1:${proxy.port}`, { publishTimeoutMs });
  const connections = async () => (await client.client('LIST')) as string;
  const kill = async (role: string) => {
    const id = new RegExp(`^id=(\\d+) .* name=crossfade:${role}`, 'm').exec(await connections())![1]!;
    await client.client('KILL', 'ID', id);
  };

  proxy.swallowReplies();
  const outcome = log.append(event('x', { eventIds: ['e-1'] }));
  await until(() => client.xlen(chat), { what: 'Redis to execute the append' });
  await kill('holder');
  await until(async () => /name=crossfade:lookups .* cmd=eval/.test(await connections()), { what: 'the look-up' });
  return { client, outcome, breakLookUp: () => kill('lookups') };
}

test('a look-up that breaks off with its own connection is made again', async (t) => {
  const { outcome, breakLookUp } = await appendWithoutConnections(t, 3_000);
  await breakLookUp();
  assert.equal(await outcome, 'appended');
});

test('what is not found once the connection has broken is no proof: another Redis may answer there, without what the first one has shown', async (t) => {
  const { client, outcome, breakLookUp } = await appendWithoutConnections(t, 1_000);
  await client.flushall();
  await breakLookUp();
  await assert.rejects(outcome, { code: 'LOG_APPEND_UNKNOWN' });
});

test('an append that was lost on its way, of an id that another replica kept meanwhile, is a duplicate', async (t) => {
  const redis = await startRedis(t);
  const client = redis.client();
  const proxy = await startProxy(t, redis.port);
  const log = await openTestLog(t, `redis://127.0.0.1:${proxy.port}`, { publishTimeoutMs: 300 });

  proxy.stall();
  const outcome = log.append(event('x', { eventIds: ['e-1'] }));
  await client.set('crossfade:id:e-1', 'kept:other');
  setTimeout(() => {
    proxy.cut();
    proxy.pass();
  }, 50);
  assert.equal(await outcome, 'duplicate');
  assert.equal(await client.xlen(chat), 0);
});

test('an append that was lost on its way is refused once its deadline has passed, and is not written', async (t) => {
  const redis = await startRedis(t);
  const client = redis.client();
  const proxy = await startProxy(t, redis.port);
  const log = await openTestLog(t, `redis://127.0.0.1:${proxy.port}`, { publishTimeoutMs: 200 });

  proxy.stall();
  const outcome = log.append(event('x', { eventIds: ['e-1'] }));
  setTimeout(() => {
    proxy.cut();
    proxy.pass();
  }, 50);

  await assert.rejects(outcome, (error) => hasCode(error, 'LOG_APPEND_REFUSED', 'LOG_APPEND_UNKNOWN'));
  await until(() => log.reachable);
  assert.equal(await client.xlen(chat), 0);
});

test('while Redis hangs, appends fail within two publish timeouts, and none is written later', async (t) => {
  const redis = await startRedis(t);
  const client = redis.client();
  const log = await openTestLog(t, redis.url, { publishTimeoutMs: 100 });
  assert.equal(await log.append(event('before', { eventIds: ['before'] })), 'appended');

  redis.pause();
  const begin = performance.now();
  const outcomes = await Promise.allSettled(
    numbers(20).map((content) => log.append(event(content, { eventIds: [content] }))),
  );
  const tookMs = performance.now() - begin;
  redis.resume();

  for (const outcome of outcomes) {
    assert.equal(outcome.status, 'rejected');
    assert.ok(hasCode(outcome.reason, 'LOG_APPEND_REFUSED', 'LOG_APPEND_UNKNOWN'), String(outcome.reason));
    assert.equal(outcome.reason.reason, 'timeout');
  }
  assert.ok(tookMs < 1_000, `took ${tookMs} ms`);
  await until(() => log.reachable);
  assert.equal(await log.append(event('after', { eventIds: ['after'] })), 'appended');
  assert.equal(await client.xlen(chat), 2, 'no ghost of the hung appends');
});

test('without a connection an append is refused at once', async (t) => {
  const redis = await startRedis(t);
  const log = await openTestLog(t, redis.url);
  await redis.kill9();
  await until(() => !log.reachable);

  const begin = performance.now();
  await assert.rejects(
    log.append(event('x')),
    (error) => hasCode(error, 'LOG_APPEND_REFUSED') && error.reason === 'connection_lost',
  );
  assert.ok(performance.now() - begin < 200);
  await assert.rejects(log.claim('e'), (error) => hasCode(error, 'LOG_UNAVAILABLE'));
  await assert.rejects(log.roster.read(), (error) => hasCode(error, 'LOG_UNAVAILABLE'));
});

test('what Redis refuses is refused with its reason, and no error holds the payload', async (t) => {
  const redis = await startRedis(t);
  const log = await openTestLog(t, redis.url);
  await redis.client().config('SET', 'maxmemory', '1');

  await assert.rejects(log.append(event('a secret text')), (error) => {
    assert.ok(hasCode(error, 'LOG_APPEND_REFUSED'));
    assert.equal(error.reason, 'redis_error');
    assert.match(error.message, /OOM/);
    assert.doesNotMatch(JSON.stringify([error.message, error, error.cause]), /secret/);
    return true;
  });
});

test('a password with / + = @ opens the log, a wrong one does not and is not told', async (t) => {
  const redis = await startRedis(t, { password: 'a/b+c=d@e' });
  const log = await openTestLog(t, redis.url);
  assert.equal(await log.append(event('x')), 'appended');

  await assert.rejects(
    openTestLog(t, `redis://:wrong@127.0.0.1:${redis.port}`, { instance: 'b' }),
    (error) =>
      hasCode(error, 'LOG_UNAVAILABLE') &&
      error.message.includes(`127.0.0.1:${redis.port}`) &&
      !`${error.message}${error.cause}`.includes(':wrong@'),
  );
});

test('of the appends that travel together each gets its own answer', async (t) => {
  const redis = await startRedis(t);
  const client = redis.client();
  const log = await openTestLog(t, redis.url);
  assert.equal(await log.append(event('kept before', { eventIds: ['known'] })), 'appended');
  await client.set('crossfade:id:claimed', 'open:b');
  await client.hset('crossfade:cutover', 'epoch', '5');
  await client.set(ticket, 'a key that is no stream');
  await client.hset('crossfade:id:no-mark', 'a', 'hash');

  const outcomes = await Promise.allSettled([
    log.append(event('first', { eventIds: ['e-1', 'e-2'], epoch: 5 })),
    log.append(event('known', { eventIds: ['new', 'known'] })),
    log.append(event('refused', { eventIds: ['e-3'], stream: ticket })),
    log.append(event('claimed', { eventIds: ['claimed'] })),
    log.append(event('no mark', { eventIds: ['no-mark'] })),
    log.append(event('stale', { eventIds: ['e-4'], epoch: 4 })),
    log.append(event('again', { eventIds: ['e-2'] })),
    log.append(event('last')),
  ]);

  assert.deepEqual(
    outcomes.map((outcome) => (outcome.status === 'fulfilled' ? outcome.value : outcome.reason.code)),
    [
      'appended',
      'duplicate',
      'LOG_APPEND_REFUSED',
      'undecided',
      'LOG_APPEND_REFUSED',
      'stale',
      'duplicate',
      'appended',
    ],
  );
  const payloads = (await client.xrange(chat, '-', '+')).map(([, fields]) => fields[fields.indexOf('payload') + 1]);
  assert.deepEqual(payloads, ['"kept before"', '"first"', '"last"']);
  assert.equal(await client.exists('crossfade:id:new', 'crossfade:id:e-3', 'crossfade:id:e-4'), 0);
});

test('what one turn brings goes to Redis in few calls, whatever its number and its size', async (t) => {
  const redis = await startRedis(t);
  const client = redis.client();
  const log = await openTestLog(t, redis.url, { publishTimeoutMs: 5_000 });
  const reader = await log.openReader([chat]);
  await log.append(event('the script is known'));
  const scriptsRun = async () =>
    Number(/cmdstat_evalsha:calls=(\d+)/.exec(await client.info('commandstats'))?.[1] ?? 0);

  const before = await scriptsRun();
  const large = numbers(4, 200).map((content) => content.padEnd(200_000));
  const all = [...numbers(200), ...large];
  await Promise.all(all.map((content) => log.append(event(content))));
  const calls = (await scriptsRun()) - before;

  assert.ok(calls >= 4 + 3 && calls < 20, `${calls} calls`);
  const { entries } = await readUntil(reader, (seen) => seen.entries.length > all.length);
  assert.deepEqual(contents(entries).slice(1), all);
});

test('appends that travelled together and have no answer are looked up one by one', async (t) => {
  const redis = await startRedis(t);
  const client = redis.client();
  const proxy = await startProxy(t, redis.port);
  const log = await openTestLog(t, `redis://127.0.0.1:${proxy.port}`, { publishTimeoutMs: 300 });
  assert.equal(await log.append(event('kept before', { eventIds: ['known'] })), 'appended');

  proxy.swallowReplies();
  const outcomes = Promise.all(['e-1', 'known', 'e-2'].map((id) => log.append(event(id, { eventIds: [id] }))));
  await until(async () => (await client.xlen(chat)) === 3, { what: 'Redis to execute the appends' });
  proxy.cut();

  assert.deepEqual(await outcomes, ['appended', 'duplicate', 'appended']);
  assert.equal(await client.xlen(chat), 3);
});
