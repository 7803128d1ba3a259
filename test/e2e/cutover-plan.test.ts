// A plan on two replicas and a real Redis: the one that leads is killed and it goes on, a log that hangs rolls it back, and a file that is
// wrong is refused by its lines.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { PlanRun } from '../../src/plan/run.ts';
import { call, startBridge } from '../support/bridge.ts';
import { type Crossfade, spawnCrossfade } from '../support/process.ts';
import { startRedis } from '../support/redis.ts';
import { startProxy } from '../support/tcp-proxy.ts';
import { until } from '../support/wait.ts';
import { cutover, messageOf, stateOf } from './operating.ts';
import { join, startSidecar } from './sidecar.ts';

const patientMs = 40_000;

async function runOf({ admin }: Pick<Crossfade, 'admin'>): Promise<PlanRun | null> {
  const response = await fetch(`${admin}/cutover/plan`);
  return ((await response.json()) as { run: PlanRun | null }).run;
}

function planFile(t: TestContext, text: string): string {
  const dir = mkdtempSync(joinPath(tmpdir(), 'crossfade-plan-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  writeFileSync(joinPath(dir, 'plan.yaml'), text);
  return joinPath(dir, 'plan.yaml');
}

/** The backend at work, by whichever replica is there, until the test ends. */
function keepBusy(t: TestContext, listens: string[]): void {
  let isOver = false;
  const working = (async () => {
    for (let number = 0; !isOver; number++) {
      const body = messageOf(`room-${number % 40}`, String(number));
      await call(listens[number % listens.length]!, 'chat/message', body).catch(() => {});
      await sleep(10);
    }
  })();
  t.after(async () => {
    isOver = true;
    await working;
  });
}

test('the replica that leads is killed and started again: the plan goes on; a log that hangs rolls it back', async (t) => {
  const [redis, bridge] = await Promise.all([startRedis(t), startBridge(t)]);
  const proxy = await startProxy(t, redis.port);
  const flags = ['--redis', `redis://127.0.0.1:${proxy.port}`, '--bridge', bridge.url, '--publish-timeout', '1000'];
  const start = (name: string, more: string[] = []) => startSidecar(t, [...flags, '--instance', name, ...more]);
  const [one, two] = await Promise.all([start('one'), start('two')]);
  const clients = await Promise.all([one, two].map(({ edge }, n) => join(t, edge, 'chat', `user-${n}`)));
  for (const { connection } of clients) await connection.invoke('JoinRoom', 'room-1');
  keepBusy(t, [one.listen, two.listen]);

  const wrong = planFile(t, 'name: evening\nsteps:\n  - percent: 5\n    hold: long\n');
  const refused = await cutover(t, ['run', wrong, '--admin', one.admin]);
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /CUTOVER_INVALID: .*plan\.yaml:4: steps\.0\.hold: a time is a number with its unit/);
  const file = planFile(
    t,
    `name: evening
steps:
  - { percent: 40, hold: 1s }
  - { percent: 80, hold: 1h }
guards: { p95_ratio: 1000, delivered_ratio: 0.1, unfenced: 1000000, fallback_rate: 0.5 }
samples: { every: 1s, count: 2, events: 5 }
`,
  );
  const following = spawnCrossfade(t, ['cutover', 'run', file, '--admin', one.admin, '--by', 'ada']);
  await until(async () => (await runOf(two))?.steps.length === 1, { timeoutMs: patientMs, what: 'the first step' });
  await following.kill();
  const paused = await cutover(t, ['pause', '--admin', two.admin, '--by', 'bob', '--why', 'what is that?']);
  assert.match(paused.stdout, /paused by bob: what is that\?/);
  const leader = await redis.client().get('crossfade:shared:plan-leader');
  const [dies, lives] = leader === 'one' ? [one, two] : [two, one];
  await dies.process.kill();
  const { listen, edge, admin } = dies;
  const again = [listen, edge, admin].map((url) => url.replace('http://', ''));
  await fetch(`${lives.admin}/cutover/plan/resume`, { method: 'POST' });
  await start(leader!, ['--listen', again[0]!, '--edge', again[1]!, '--admin', again[2]!]);
  await until(async () => (await runOf(lives))?.steps.length === 2, {
    timeoutMs: patientMs,
    what: 'the second step',
  });
  assert.deepEqual(
    (await stateOf(lives)).history.map(({ what }) => what),
    ['set 40', 'plan evening paused', 'set 80'],
    'no step is taken twice',
  );

  await until(async () => ((await runOf(lives))?.steps[1]?.samples.good ?? 0) > 0, { timeoutMs: patientMs });
  proxy.stall();
  await until(async () => (await stateOf(lives)).percent === 0, { timeoutMs: patientMs, what: 'the rollback' });
  proxy.pass();
  for (const replica of [one, two]) {
    await until(async () => (await runOf(replica))?.state === 'rolled back', { timeoutMs: patientMs });
    assert.equal((await stateOf(replica)).percent, 0);
  }
  const run = (await runOf(lives))!;
  const rolledBackAt = (await stateOf(lives)).history.findLast(({ what }) => what.startsWith('rollback'))!;
  const delayMs = Date.parse((rolledBackAt as unknown as { when: string }).when) - Date.parse(run.sampledAt);
  assert.ok(delayMs <= 2_000, `${delayMs} ms after the sample that made the verdict`);

  const report = file.replace('plan.yaml', 'report.md');
  const shown = await cutover(t, ['plan', '--admin', lives.admin, '--report', report]);
  assert.match(shown.stdout, /rolled back, step 2 of 2 \(80%\)/);
  assert.match(readFileSync(report, 'utf8'), /^# Plan evening: rolled back\n[\s\S]*\| 2 \| 80 \| .* \| broken \|/);
});
