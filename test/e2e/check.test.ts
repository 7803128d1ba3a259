// `crossfade check` as an operator types it: of running replicas, and before serving.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { Checked } from '../../src/checks.ts';
import { startBridge } from '../support/bridge.ts';
import { type Crossfade, spawnCrossfade } from '../support/process.ts';
import { startRedis } from '../support/redis.ts';
import { until } from '../support/wait.ts';
import { command, stateOf } from './operating.ts';
import { secrets, startSidecar } from './sidecar.ts';

async function check(
  t: TestContext,
  words: string[],
  env: Record<string, string> = secrets,
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const process = spawnCrossfade(t, ['check', ...words], env);
  const { code } = await process.exited;
  return { code, stdout: process.stdout, stderr: process.stderr };
}

const failedIn = ({ groups }: Checked) =>
  groups.flatMap(({ name, findings }) =>
    findings.filter(({ status }) => status !== 'ok').map((each) => `${name}: ${each.name} ${each.status}`),
  );

test('however many ask at once, it is looked once', async (t) => {
  const redis = await startRedis(t);
  const bridge = await startBridge(t);
  const { admin } = await startSidecar(t, ['--redis', redis.url, '--bridge', bridge.url]);
  const client = redis.client();
  const connected = async () => Number(/total_connections_received:(\d+)/.exec(await client.info('stats'))![1]);
  const before = await connected();
  const answers = await Promise.all(Array.from({ length: 20 }, async () => (await fetch(`${admin}/check`)).json()));
  assert.equal(new Set(answers.map((answer) => JSON.stringify(answer))).size, 1);
  assert.equal((await connected()) - before, 1);
});

/** A check is one look: on a busy machine a replica may not answer in its time, as one that stands still does not. */
async function lookUntil<Seen>(look: () => Promise<Seen>, isSo: (seen: Seen) => boolean): Promise<Seen> {
  let seen: Seen | undefined;
  const isFound = async () => {
    seen = await look();
    return isSo(seen);
  };
  await until(isFound, { what: () => `the check to find it: ${JSON.stringify(seen)}`, timeoutMs: 30_000 });
  return seen!;
}

test('of running replicas: all passes; a hold, a frozen replica, a dead bridge are found', async (t) => {
  const redis = await startRedis(t, { appendfsync: 'always' });
  const bridge = await startBridge(t);
  const flags = ['--redis', redis.url, '--bridge', bridge.url];
  const [a, b] = [await startSidecar(t, flags), await startSidecar(t, flags)] as [Crossfade, Crossfade];
  await until(async () => (await stateOf(a)).replicas.length === 2, { what: 'both to know each other' });
  const calm = await lookUntil(
    () => check(t, ['--admin', a.admin]),
    ({ code }) => code === 0,
  );
  for (const heading of ['configuration', 'bridge', 'log', 'replicas', 'cutover'])
    assert.ok(calm.stdout.includes(`${heading}\n${'-'.repeat(heading.length)}\n√ `), calm.stdout);
  assert.match(calm.stdout, /√ rights +all commands.*\n√ on disk +appendonly yes, appendfsync always\n/);
  assert.match(calm.stdout, /reach each other\n\neverything is as it must be √\n$/);

  const asJson = async () => {
    const { code, stdout } = await check(t, ['--admin', a.admin, '--output', 'json']);
    return { code, ...(JSON.parse(stdout) as Checked) };
  };
  await command(a, { why: 'lunch' }, 'hold');
  const held = await lookUntil(asJson, (seen) => failedIn(seen).join() === 'cutover: hold warn');
  assert.deepEqual([held.code, held.ok], [0, true]);
  b.process.pause();
  const frozen = await asJson();
  b.process.resume();
  assert.deepEqual([frozen.code, frozen.ok], [1, false]);
  assert.ok(failedIn(frozen).includes('replicas: answer fail'), JSON.stringify(failedIn(frozen)));
  await bridge.close();
  await lookUntil(asJson, (seen) => {
    const found = failedIn(seen);
    return found.includes('bridge: health fail') && found.includes('cutover: way back fail');
  });
});

test('before serving: what can be used passes without a replica, and each fault says what to do', async (t) => {
  const redis = await startRedis(t, { appendfsync: 'always' });
  const bridge = await startBridge(t);
  const flags = ['--pre', '--redis', redis.url, '--bridge', bridge.url];
  const passed = await check(t, flags);
  assert.deepEqual([passed.code, passed.stderr], [0, ''], passed.stdout);
  assert.match(passed.stdout, /√ key +it takes INTERNAL_API_KEY/);
  assert.ok(!passed.stdout.includes('replicas'), 'nothing is said of what does not run yet');
  assert.equal(await redis.client().dbsize(), 0, 'nothing is left behind');

  const wrongKey = await check(t, flags, { INTERNAL_API_KEY: 'another' });
  assert.equal(wrongKey.code, 1);
  assert.match(wrongKey.stdout, /× key +\/internal\/stats answered 40\d\n +→ give crossfade the INTERNAL_API_KEY/);
  const faults = await check(t, [...flags, '--percent', '300', '--output', 'json'], { CROSSFADE_BRIGDE: 'x' });
  assert.equal(faults.code, 1);
  const { groups } = JSON.parse(faults.stdout) as Checked;
  assert.deepEqual([groups.length, groups[0]!.findings.length], [1, 2], faults.stdout);
  const away = await check(t, ['--pre', '--bridge', 'http://127.0.0.1:1', '--redis', 'redis://127.0.0.1:1']);
  assert.match(
    away.stdout,
    /× health[\s\S]*→ check --bridge[\s\S]*× redis[\s\S]*→ check --redis[\s\S]*\n2 failed ×\n$/,
  );
});
