// The guard: while a client would miss the stream lane or see it twice the percent is held, in words that say why, by the
// command that raises it and by `serve` at its start; `--force` goes on, and so does `serve` when the reason is gone.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { startBridge } from '../support/bridge.ts';
import type { Crossfade } from '../support/process.ts';
import { type Redis, startRedis } from '../support/redis.ts';
import { noDotnet, startReferenceBridge } from '../support/reference-bridge.ts';
import { until } from '../support/wait.ts';
import { command, cutover, ofAll, say, shownOf, stateOf, untilAll } from './operating.ts';
import { join, startSidecar } from './sidecar.ts';

const direct = /1 client is connected to the bridge directly/;
const foreign = /the consumer group 'signalr-consumers' has read the streams in the last 60 s/;

/** The one log line that says what holds the percent. */
function heldLine({ process }: Crossfade, reason: RegExp): Record<string, unknown> | undefined {
  return process.lines.find(({ code, reasons }) => code === 'CUTOVER_GUARD' && reason.test(String(reasons)));
}

async function refuses(replica: Crossfade, reason: RegExp): Promise<void> {
  const { status, body } = await command(replica, { percent: 25 });
  assert.equal(status, 409);
  assert.equal(body.error, 'CUTOVER_GUARD');
  assert.match(String(body.message), reason);
}

test('a client connected directly to the second of two bridges holds 0 until it is gone, or until it is forced', async (t) => {
  const redis = await startRedis(t);
  const bridges = [await startBridge(t), await startBridge(t)];
  const flags = ['--redis', redis.url, ...bridges.flatMap(({ url }) => ['--bridge', url]), '--bridge-calls', 'all'];
  const wishing = await startSidecar(t, flags);
  const outsider = await join(t, bridges[1]!.url, 'chat', 'outsider');
  const proxied = await join(t, wishing.edge, 'chat', 'u1');
  await proxied.connection.invoke('JoinRoom', 'r');

  await t.test('set, pin and a PUT are refused with the reason, and leave nothing behind', async (t) => {
    await refuses(wishing, direct);
    for (const words of [
      ['set', '25'],
      ['pin', 'r', 'stream'],
    ]) {
      const { code, stdout, stderr } = await cutover(t, [...words, '--admin', wishing.admin]);
      assert.deepEqual([code, stdout], [1, ''], words.join(' '));
      assert.match(stderr, direct);
      assert.match(stderr, /^crossfade: CUTOVER_GUARD: [^\n]+\n$/, 'one line');
    }
    const { epoch, percent, pins, history } = await stateOf(wishing);
    assert.deepEqual({ epoch, percent, pins, history }, { epoch: 0, percent: 0, pins: {}, history: [] });
  });

  await t.test('what lowers is never refused', async () => {
    assert.equal((await command(wishing, { percent: 0 })).status, 200);
    assert.equal((await command(wishing, { pins: { r: 'bridge' } })).status, 200);
  });

  await t.test('--force goes on', async (t) => {
    const { code, stdout } = await cutover(t, ['set', '100', '--force', '--admin', wishing.admin]);
    assert.equal(code, 0);
    assert.match(stdout, /100% by stream/);
    assert.equal((await command(wishing, { percent: 0 })).status, 200);
    await refuses(wishing, direct);
  });

  await t.test('without its reason the same command goes through, and what was proxied sees everything', async () => {
    await outsider.connection.stop();
    await say(wishing, 'r', '1');
    const { status } = await until(
      async () => {
        const answer = await command(wishing, { percent: 100, pins: { r: null } });
        return answer.status === 200 && answer;
      },
      { what: 'the guard to pass', timeoutMs: 10_000 },
    );
    assert.equal(status, 200);
    await say(wishing, 'r', '2');
    await until(() => shownOf(proxied, 'r').length === 2);
    assert.deepEqual(shownOf(proxied, 'r'), ['1', '2']);
  });
});

test('a start with the variable at 50 is held at 0 while a client is connected directly, and goes on by itself', async (t) => {
  const redis = await startRedis(t);
  const bridge = await startBridge(t);
  const outsider = await join(t, bridge.url, 'chat', 'outsider');
  const flags = ['--redis', redis.url, '--bridge', bridge.url, '--percent', '50'];
  const replicas = [await startSidecar(t, flags), await startSidecar(t, flags)];
  for (const replica of replicas) {
    const line = await until(() => heldLine(replica, direct), { what: 'the line that says why' });
    assert.match(String(line.msg), /^the percent is held at 0: 1 client is connected to the bridge directly/);
  }
  await untilAll(replicas, ({ effective }) => effective.percent === 0 && direct.test(effective.held ?? ''), {
    what: 'both replicas to be held',
  });
  await refuses(replicas[0]!, direct);
  await outsider.connection.stop();
  await untilAll(replicas, ({ effective }) => effective.percent === 50 && effective.held === undefined, {
    what: 'both to go on by themselves',
    timeoutMs: 10_000,
  });
  for (const { process } of replicas) {
    const repeats = process.lines.filter(({ msg }) => String(msg).startsWith('the percent is held'));
    assert.equal(repeats.length, 1, 'the same reason is said once');
  }
  const operated = await ofAll(replicas, ({ operated }) => operated);
  assert.deepEqual(operated, [false, false], 'flags are no operator');

  assert.equal((await command(replicas[0]!, { percent: 0 })).status, 200);
  const another = await join(t, bridge.url, 'chat', 'outsider');
  const reset = await command(replicas[0]!, {}, 'reset');
  assert.deepEqual([reset.status, reset.body.error], [409, 'CUTOVER_GUARD'], 'a reset to 50 is held as well');
  await another.connection.stop();
  assert.equal((await command(replicas[0]!, { percent: 100, force: true })).status, 200);
  assert.equal((await command(replicas[1]!, {}, 'reset')).status, 200, 'a reset that lowers needs no guard');
  await untilAll(replicas, ({ percent, operated }) => percent === 50 && !operated, { what: 'the flags to hold again' });
});

/** Reads as the first attempt's consumer does, without a bridge behind it. */
async function readForeign(t: TestContext, redis: Redis): Promise<{ leave(): Promise<void> }> {
  const client = redis.client();
  const streams = ['events:chat', 'events:ticket', 'events:notification', 'events:remote'];
  for (const stream of streams) await client.xgroup('CREATE', stream, 'signalr-consumers', '0', 'MKSTREAM');
  let isReading = true;
  const reading = (async () => {
    while (isReading) {
      await client.xreadgroup(
        'GROUP',
        'signalr-consumers',
        'bridge-1',
        'BLOCK',
        50,
        'STREAMS',
        ...streams,
        ...streams.map(() => '>'),
      );
    }
  })();
  const stop = async () => {
    isReading = false;
    await reading;
  };
  t.after(stop);
  return {
    async leave() {
      await stop();
      for (const stream of streams) await client.xgroup('DESTROY', stream, 'signalr-consumers');
    },
  };
}

test('a foreign consumer on the streams holds a start at 0, and a command; both go on when its group is gone', async (t) => {
  const redis = await startRedis(t);
  const bridge = await startBridge(t);
  const consumer = await readForeign(t, redis);
  const flags = ['--redis', redis.url, '--bridge', bridge.url, '--percent', '100'];
  const replica = await startSidecar(t, flags);
  await until(() => heldLine(replica, foreign), { what: 'the line that says why' });
  await refuses(replica, foreign);
  assert.equal((await stateOf(replica)).effective.percent, 0);
  await consumer.leave();
  await untilAll([replica], ({ effective }) => effective.percent === 100, {
    what: 'the start to go on',
    timeoutMs: 10_000,
  });
});

test('the stream consumer in a bridge holds the percent; forced, its clients see everything twice', {
  skip: noDotnet,
}, async (t) => {
  const redis = await startRedis(t);
  const bridge = await startReferenceBridge(t, { streamConsumer: redis.url });
  const replica = await startSidecar(t, ['--redis', redis.url, '--bridge', bridge.url]);
  const client = await join(t, replica.edge, 'chat', 'u1');
  await client.connection.invoke('JoinRoom', 'r');
  await refuses(replica, foreign);
  const { code } = await cutover(t, ['set', '100', '--force', '--admin', replica.admin]);
  assert.equal(code, 0);
  await say(replica, 'r', '1');
  await until(() => shownOf(client, 'r').length === 2, { what: 'what the guard protects from' });
});
