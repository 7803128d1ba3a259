// Ingress and edge apart: calls at one, clients at another, one log between them. What each is ready for, and who may ask.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { startBridge } from '../support/bridge.ts';
import { noNamespace, startProber } from '../support/network-namespace.ts';
import { type Crossfade, spawnCrossfade } from '../support/process.ts';
import { startRedis } from '../support/redis.ts';
import { until } from '../support/wait.ts';
import { command, force, metricOf, say, shownOf, stateOf, untilAll } from './operating.ts';
import { join, patient, programs, startSidecar } from './sidecar.ts';

const onHealthPort = ['--health', '127.0.0.1:0'];
const ingressAlone = ['--edge', 'off', ...onHealthPort];
const edgeAlone = ['--listen', 'off', ...onHealthPort];

const probe = async ({ health }: Crossfade, path = '/readyz') => (await fetch(health + path)).status;

/** What `GET /readyz` of the admin port says. */
async function checksOf({ admin }: Crossfade): Promise<Record<string, { ok: boolean; detail: string }>> {
  return ((await (await fetch(`${admin}/readyz`)).json()) as { checks: Record<string, never> }).checks;
}

async function healthOf(t: TestContext, { admin }: Crossfade, options = {}): Promise<[code: number | null, string]> {
  const process = spawnCrossfade(t, ['health', '--admin', admin], {}, options);
  const { code } = await process.exited;
  return [code, process.stdout + process.stderr];
}

test('calls at an ingress alone reach the clients of an edge alone, by either lane and while rooms move', async (t) => {
  const redis = await startRedis(t);
  const flags = [...patient, '--redis', redis.url, '--bridge', (await startBridge(t)).url];
  const ingress = await startSidecar(t, [...flags, ...ingressAlone]);
  const edge = await startSidecar(t, [...flags, ...edgeAlone]);
  const [ready] = ingress.process.lines.filter(({ msg }) => msg === 'ready');
  assert.ok(ready !== undefined && !('edge' in ready), 'an ingress alone opens no port for clients');

  const client = await join(t, edge.edge, 'chat', 'u1');
  await client.connection.invoke('JoinRoom', 'r');
  const words = ['by the bridge', 'by the stream', 'by the bridge again'];
  for (const [index, percent] of [0, 100, 0].entries()) {
    // Through either's admin port.
    await force(index === 1 ? edge : ingress, percent);
    await untilAll([ingress, edge], ({ effective }) => effective.percent === percent, { what: `percent ${percent}` });
    await say(ingress, 'r', words[index]!);
  }
  await until(() => shownOf(client, 'r').length === words.length, { what: 'all three' });
  assert.deepEqual(shownOf(client, 'r'), words);
  const unfenced = 'crossfade_order_unfenced_total{reason="unread"}';
  for (const replica of [ingress, edge]) assert.equal(await metricOf(replica, unfenced), 0);
});

test('what an edge alone was started with moves no room: it decides no lane', async (t) => {
  const redis = await startRedis(t);
  const flags = ['--redis', redis.url, '--bridge', (await startBridge(t)).url];
  const ingress = await startSidecar(t, [...flags, ...ingressAlone, '--percent', '25']);
  await untilAll([ingress], ({ percent }) => percent === 25, { what: 'the percent of the ingress', timeoutMs: 20_000 });
  const edge = await startSidecar(t, [...flags, ...edgeAlone]);
  const before = await stateOf(edge);
  assert.deepEqual([before.percent, before.replicas.length], [25, 2]);
  // Behind a change of both nothing older is under way.
  await command(ingress, { pins: { r: 'bridge' } });
  await untilAll([ingress, edge], ({ pins }) => pins.r === 'bridge', { what: 'both to have the pin' });
  const { percent, history } = await stateOf(edge);
  assert.equal(percent, 25, JSON.stringify(history));

  const reset = await fetch(`${edge.admin}/cutover/reset`, { method: 'POST', body: '{}' });
  assert.equal(reset.status, 400);
  assert.match(((await reset.json()) as { message: string }).message, /no flags to go back to: give --admin of one/);
  assert.equal((await stateOf(ingress)).percent, 25);
});

test('an ingress alone is ready as long as it can forward or append, and says which', async (t) => {
  const redis = await startRedis(t);
  const bridge = await startBridge(t);
  const port = Number(new URL(bridge.url).port);
  const ingress = await startSidecar(t, ['--redis', redis.url, '--bridge', bridge.url, ...ingressAlone]);
  assert.deepEqual([await probe(ingress, '/startupz'), await probe(ingress)], [200, 200]);
  assert.deepEqual(Object.keys(await checksOf(ingress)), ['calls', 'draining']);

  const untilSaid = (pattern: RegExp) =>
    until(async () => pattern.test((await checksOf(ingress)).calls!.detail), {
      what: String(pattern),
      timeoutMs: 15_000,
    });
  await bridge.close();
  await untilSaid(/ECONNREFUSED; the log: takes events/);
  assert.equal(await probe(ingress), 200);

  await redis.kill9();
  await untilSaid(/ECONNREFUSED; the log: not reachable/);
  assert.deepEqual(
    [await probe(ingress), await probe(ingress, '/livez'), await probe(ingress, '/startupz')],
    [503, 200, 200],
  );
  const [code, words] = await healthOf(t, ingress);
  assert.equal(code, 1);
  assert.match(words, /^not ready\ncalls +http:\S+ ECONNREFUSED; the log: not reachable\n$/);

  await startBridge(t, { port });
  await until(async () => (await probe(ingress)) === 200, { what: 'the bridge to be back', timeoutMs: 15_000 });
  assert.match((await checksOf(ingress)).calls!.detail, /answers 200; the log: not reachable/);
  assert.equal((await fetch(`${ingress.listen}/health`)).status, 200);
});

for (const { name, options } of programs) {
  test(`${name} tells a container’s health check by its exit code`, async (t) => {
    const redis = await startRedis(t);
    const bridge = await startBridge(t);
    const replica = await startSidecar(t, ['--redis', redis.url, '--bridge', bridge.url], options);
    assert.deepEqual(await healthOf(t, replica, options), [0, 'ready\n']);
    await replica.process.stop();
    const [code, words] = await healthOf(t, replica, options);
    assert.equal(code, 1);
    assert.match(words, /^crossfade: ADMIN_UNREACHABLE: no crossfade answers at \S+ \(ECONNREFUSED\)\n$/);
  });
}

test('a probe that comes from another host gets its answer, which the admin port keeps from it', {
  skip: noNamespace,
}, async (t) => {
  const redis = await startRedis(t);
  const { address, ask } = startProber(t);
  const env = { CROSSFADE_ADMIN_TOKEN: 'secret' };
  const flags = ['--redis', redis.url, '--admin', `${address}:0`, '--health', `${address}:0`];
  const replica = await startSidecar(t, [...flags, '--edge', 'off'], { env });
  const portOf = (url: string) => Number(new URL(url).port);
  for (const path of ['/startupz', '/livez', '/readyz']) assert.equal(ask(portOf(replica.health), path), '200', path);
  assert.equal(ask(portOf(replica.health), '/metrics'), '404');
  assert.equal(ask(portOf(replica.admin), '/healthz'), '401');
});
