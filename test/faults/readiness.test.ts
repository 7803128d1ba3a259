// Whether clients should come to a replica: not while the bridge behind it is not there, in whatever way, nor while others
// read the log and it does not.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { cutover, force, metricOf, say, untilAll } from '../e2e/operating.ts';
import { startSidecar } from '../e2e/sidecar.ts';
import { startBridge } from '../support/bridge.ts';
import type { Crossfade } from '../support/process.ts';
import { startRedis } from '../support/redis.ts';
import { startProxy } from '../support/tcp-proxy.ts';
import { until } from '../support/wait.ts';

interface Readiness {
  status: number;
  checks: Record<string, { ok: boolean; detail: string }>;
}

async function readinessOf({ admin }: Crossfade): Promise<Readiness> {
  const response = await fetch(`${admin}/readyz`);
  const { checks } = (await response.json()) as Readiness;
  return { status: response.status, checks };
}

const untilReady = (sidecar: Crossfade, status: number) =>
  until(async () => (await readinessOf(sidecar)).status === status, { what: `readiness ${status}`, timeoutMs: 20_000 });

test('a replica whose bridge has never answered is not ready, says so, and is when it has', async (t) => {
  const redis = await startRedis(t);
  const bridge = await startBridge(t);
  const { url } = bridge;
  await bridge.close();
  const sidecar = await startSidecar(t, ['--redis', redis.url, '--bridge', url]);
  const { status, checks } = await readinessOf(sidecar);
  assert.deepEqual([status, checks.bridge!.ok, checks.log!.ok], [503, false, true]);
  assert.equal(checks.bridge!.detail, `${url}: ECONNREFUSED`);
  const metric = `crossfade_bridge_reachable{bridge="${url}"}`;
  assert.equal(await metricOf(sidecar, metric), 0);
  const { stdout } = await cutover(t, ['show', '--admin', sidecar.admin]);
  assert.match(stdout, /bridge +http:\S+ is not there: ECONNREFUSED/);
  await startBridge(t, { port: Number(new URL(url).port) });
  await untilReady(sidecar, 200);
  assert.equal(await metricOf(sidecar, metric), 1);
  const said = sidecar.process.lines.filter(({ msg }) => /^the bridge /.test(String(msg)));
  assert.deepEqual(
    said.map(({ msg }) => msg),
    ['the bridge does not answer', 'the bridge is back'],
  );
});

test('a bridge that hangs is noticed by a replica without any traffic', async (t) => {
  const redis = await startRedis(t);
  const bridge = await startBridge(t);
  const proxy = await startProxy(t, Number(new URL(bridge.url).port));
  const sidecar = await startSidecar(t, ['--redis', redis.url, '--bridge', `http://127.0.0.1:${proxy.port}`]);
  assert.equal((await readinessOf(sidecar)).status, 200);
  proxy.stall();
  await untilReady(sidecar, 503);
  assert.match((await readinessOf(sidecar)).checks.bridge!.detail, /no answer within 2 s/);
  proxy.pass();
  await untilReady(sidecar, 200);
});

test('a bridge whose proxy answers 503 in its place is not there', async (t) => {
  const server = createServer((_, response) => void response.writeHead(503).end());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const redis = await startRedis(t);
  const sidecar = await startSidecar(t, ['--redis', redis.url, '--bridge', `http://127.0.0.1:${port}`]);
  const { status, checks } = await readinessOf(sidecar);
  assert.deepEqual([status, checks.bridge!.detail], [503, `http://127.0.0.1:${port}: answers 503`]);
});

test('of two replicas the one that alone has lost the log is not ready; where both have lost it, both are', async (t) => {
  const redis = await startRedis(t);
  const bridge = await startBridge(t);
  const proxy = await startProxy(t, redis.port);
  const common = ['--bridge', bridge.url];
  const other = await startSidecar(t, ['--redis', redis.url, ...common]);
  const alone = await startSidecar(t, ['--redis', `redis://127.0.0.1:${proxy.port}`, ...common]);
  await force(other, 100);
  await untilAll([other, alone], ({ percent, replicas }) => percent === 100 && replicas.length === 2, {
    what: 'both at 100',
  });
  await say(alone, 'r', '1');
  proxy.refuse();
  await untilReady(alone, 503);
  const { checks } = await readinessOf(alone);
  assert.deepEqual([checks.reader!.ok, checks.log!.ok, checks.audience!.ok], [false, true, true]);
  assert.equal((await readinessOf(other)).status, 200);
  await redis.kill9();
  await untilReady(alone, 200);
  await redis.restart();
  proxy.pass();
  await untilAll([other, alone], ({ log, outage }) => log.followed && outage === null, {
    what: 'both to follow',
    timeoutMs: 20_000,
  });
  assert.deepEqual([(await readinessOf(other)).status, (await readinessOf(alone)).status], [200, 200]);
});

test('a replica whose clients are not reached by what the log keeps is not ready, though its sockets are up', async (t) => {
  const redis = await startRedis(t);
  const bridge = await startBridge(t);
  const flags = ['--redis', redis.url, '--bridge', bridge.url, '--health', '127.0.0.1:0'];
  const sidecar = await startSidecar(t, [...flags, '--instance', 'one']);
  await force(sidecar, 100);
  await untilReady(sidecar, 200);
  assert.ok((await metricOf(sidecar, 'crossfade_probe_age_seconds')) < 5);
  const length = await redis.client().xlen('crossfade:probe');
  assert.ok(length > 0 && length < 300, `${length} probes are kept`);

  // Its own reads go on and bring nothing: who has waited longest is served, and the replica asks again all the time.
  const thief = redis.client();
  const steal = (): Promise<unknown> =>
    thief
      .xreadgroup('GROUP', 'signalr-consumers:one', 'thief', 'BLOCK', 0, 'STREAMS', 'crossfade:probe', '>')
      .then(steal);
  const stealing = steal().catch(() => {});
  const isReady = async () => (await fetch(`${sidecar.health}/readyz`)).status === 200;
  await until(async () => !(await isReady()), { what: 'a replica that is not ready', timeoutMs: 30_000 });
  const { checks } = await readinessOf(sidecar);
  assert.deepEqual([checks.probe!.ok, checks.reader!.ok, checks.log!.ok, checks.edge!.ok], [false, true, true, true]);
  assert.ok((await metricOf(sidecar, 'crossfade_probe_age_seconds')) > 5);
  thief.disconnect();
  await stealing;
  await until(isReady, { what: 'the probes to arrive again' });
});
