// A real Prometheus scrapes two replicas under load, with the configuration of deploy/: every query of the dashboard and every rule
// has something to say, no alert fires while all is well, and what goes wrong is noticed.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { command, force } from '../e2e/operating.ts';
import { join, patient, startSidecar } from '../e2e/sidecar.ts';
import { call, startBridge } from '../support/bridge.ts';
import type { Crossfade } from '../support/process.ts';
import { startRedis } from '../support/redis.ts';
import { until } from '../support/wait.ts';
import { type Prometheus, startPrometheus } from './prometheus.ts';
import { noParser, queriesOf, readDashboard, rulesOf, selectorsIn } from './queries.ts';

const token = 'token-of-the-admin-port';
/** One on each lane, whatever the percent. */
const rooms = ['by-bridge', 'by-stream'];
const loadEveryMs = 100;

test('every panel and every rule has data of two replicas under load, and no alert fires', {
  skip: noParser,
}, async (t) => {
  const redis = await startRedis(t);
  const bridge = await startBridge(t);
  const flags = [...patient, '--redis', redis.url, '--bridge', bridge.url];
  const env = { CROSSFADE_ADMIN_TOKEN: token };
  const replicas = [await startSidecar(t, flags, { env }), await startSidecar(t, flags, { env })];
  const [first, second] = replicas as [Crossfade, Crossfade];
  const { host } = new URL(first.admin);
  const prometheus = await startPrometheus(t, [host, new URL(second.admin).host], token);
  // A change is seen by what was there before.
  const areSeen = async () => (await prometheus.query('crossfade_cutover_percent')).length === replicas.length;
  await until(areSeen, { timeoutMs: 20_000, what: 'both to be scraped' });
  await force(first, 50);
  await command(first, { pins: { 'by-bridge': 'bridge', 'by-stream': 'stream' }, force: true });
  const load = await startLoad(t, replicas);

  const wanted = new Set(await queriesAndSelectors());
  await until(async () => load.fault ?? (await isSaidOf(prometheus, wanted)), {
    timeoutMs: 60_000,
    what: () => `data of:\n${[...wanted].join('\n')}`,
  });
  assert.equal(load.fault, undefined);
  const states = await prometheus.rules();
  assert.equal(states.length, rulesOf('rules.yaml').length + rulesOf('alerts.yaml').length);
  for (const { name, health, lastError, state } of states) {
    assert.equal(health, 'ok', `${name}: ${lastError}`);
    assert.notEqual(state, 'firing', name);
  }
  await checkMetrics(first);

  const isNoticed = async (alert: string) =>
    (await prometheus.rules()).some(({ name, state }) => name === alert && state !== 'inactive');
  load.stop();
  await second.process.kill();
  await bridge.close();
  await redis.kill9();
  for (const alert of ['CrossfadeReplicaMissing', 'CrossfadeBridgeDown', 'CrossfadeLogDown']) {
    await until(() => isNoticed(alert), { timeoutMs: 30_000, what: `${alert} to be noticed` });
  }
});

/** Every query of the dashboard, every rule that records, and what each alert looks at. */
async function queriesAndSelectors(): Promise<string[]> {
  const alerts = await Promise.all(rulesOf('alerts.yaml').map(({ expr }) => selectorsIn(expr)));
  return [
    ...queriesOf(readDashboard(), '10s'),
    ...rulesOf('rules.yaml').map(({ record }) => record!),
    ...alerts.flat().map(({ text }) => text),
  ];
}

/** Takes from `wanted` what has a value now. @returns whether nothing is left */
async function isSaidOf(prometheus: Prometheus, wanted: Set<string>): Promise<boolean> {
  for (const query of wanted) {
    const values = await prometheus.query(query);
    if (values.some((value) => Number.isFinite(value))) wanted.delete(query);
  }
  await sleep(250);
  return wanted.size === 0;
}

/** Members of both rooms at both replicas; messages, typing and read receipts by both; a client that comes and goes. */
async function startLoad(t: TestContext, replicas: Crossfade[]): Promise<{ fault: unknown; stop(): void }> {
  for (const { edge } of replicas) {
    const { connection } = await join(t, edge, 'chat', 'u1');
    for (const room of rooms) await connection.invoke('JoinRoom', room);
  }
  const passer = await join(t, replicas[0]!.edge, 'chat', 'u2');
  await passer.connection.stop();
  const load = { fault: undefined as unknown, stop: () => clearInterval(timer) };
  let turn = 0;
  const once = async () => {
    const { listen } = replicas[turn % replicas.length]!;
    const room = rooms[(turn++ >> 1) % rooms.length]!;
    const message = { id: randomUUID(), requestId: room, content: 'hi', createdAt: new Date().toISOString() };
    const typing = { request_id: room, user_id: 'u9', is_typing: true };
    const say = (path: string, body: object) => call(listen, path, { event_id: randomUUID(), ...body });
    await say('chat/message', { request_id: room, message });
    await Promise.all([say('chat/typing', typing), say('chat/typing', typing), say('chat/typing', typing)]);
  };
  const timer = setInterval(() => {
    once().catch((error) => {
      load.fault ??= error;
    });
  }, loadEveryMs);
  t.after(load.stop);
  return load;
}

/** By Prometheus' own tool. */
async function checkMetrics({ admin }: Crossfade): Promise<void> {
  const input = await (await fetch(`${admin}/metrics`)).text();
  const { status, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], { input, encoding: 'utf8' });
  assert.deepEqual([status, stdout, stderr], [0, '', '']);
}
