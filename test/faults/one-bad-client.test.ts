// One client with a token does its worst: meanwhile the backend makes a call every 50 ms, and a bystander at each replica shall
// notice nothing. What it costs them is printed; the bounds are wide, as the machines of tests are slow and shared.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { broadcast, force, messageOf, metricOf } from '../e2e/operating.ts';
import { join as connect, startSidecar } from '../e2e/sidecar.ts';
import { type Attack, runAttack } from '../support/attacker.ts';
import { call, jwtSecret } from '../support/bridge.ts';
import type { Crossfade } from '../support/process.ts';
import { startRedis } from '../support/redis.ts';
import { noDotnet, startReferenceBridge } from '../support/reference-bridge.ts';
import { type HubClient, makeToken } from '../support/signalr.ts';
import { until } from '../support/wait.ts';

const attackMs = 1_000;
const callEveryMs = 50;
const maxStallMs = 1_000;
/** Other work on the machine may hold a replica up once; what an attack costs, it costs whenever it is made. */
const maxTries = 3;

interface Bystander {
  client: HubClient;
  /** By content: when it was shown, ms. */
  shownAt: Map<string, number>;
}

async function bystanderOf(t: TestContext, { edge }: Crossfade, user: string): Promise<Bystander> {
  const client = await connect(t, edge, 'chat', user);
  const shownAt = new Map<string, number>();
  client.connection.on('ReceiveMessage', ({ content }: { content: string }) => {
    assert.ok(!shownAt.has(content), `${content} is shown once`);
    shownAt.set(content, performance.now());
  });
  await client.connection.invoke('JoinRoom', 'bystanders');
  return { client, shownAt };
}

/** The longest that a replica's event loop stood still since it was asked before. */
async function longestStallMs(replica: Crossfade): Promise<number> {
  return 1_000 * (await metricOf(replica, 'nodejs_eventloop_lag_max_seconds'));
}

function quantile(values: number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
}

/** Calls through both replicas, one after the other, until the attack is over and its remains are gone. */
async function callMeanwhile(
  replicas: Crossfade[],
  attack: string,
  until: Promise<unknown>,
): Promise<Map<string, number>> {
  const sentAt = new Map<string, number>();
  let isOver = false;
  until.finally(() => {
    isOver = true;
  });
  for (let n = 0; !isOver; n++) {
    const content = `${attack} ${n}`;
    sentAt.set(content, performance.now());
    const answer = await call(replicas[n % replicas.length]!.listen, 'chat/message', messageOf('bystanders', content));
    assert.deepEqual(answer, broadcast, content);
    await sleep(Math.max(0, callEveryMs - (performance.now() - sentAt.get(content)!)));
  }
  return sentAt;
}

/** @returns the longest that a replica stood still, ms */
async function sufferOnce(
  t: TestContext,
  replicas: Crossfade[],
  bystanders: Bystander[],
  { name, attack, hub, token }: { name: string; attack: Attack; hub: string; token: string },
): Promise<number> {
  await Promise.all(replicas.map(longestStallMs));
  const hubUrl = `${replicas[0]!.edge}/hubs/${attack.startsWith('offers') ? 'remote-access' : hub}`;
  const attacking = runAttack({ hubUrl, token, attack, ms: attackMs });
  const sentAt = await callMeanwhile(replicas, name, attacking);
  const latencies: number[] = [];
  for (const { shownAt } of bystanders) {
    const missing = () => [...sentAt.keys()].filter((content) => !shownAt.has(content));
    await until(() => missing().length === 0, { timeoutMs: 10_000, what: () => `${missing()}` });
    for (const [content, at] of sentAt) latencies.push(shownAt.get(content)! - at);
  }
  const stalls = await Promise.all(replicas.map(longestStallMs));
  const [p50, p99] = [quantile(latencies, 0.5), quantile(latencies, 0.99)].map((ms) => ms.toFixed(1));
  t.diagnostic(
    `${name}: bystanders P50 ${p50} ms, P99 ${p99} ms; stalls ${stalls.map((ms) => ms.toFixed(1))} ms; ${await attacking} connections`,
  );
  return Math.max(...stalls);
}

async function suffer(t: TestContext, replicas: Crossfade[], hub: string, all: Attack[]): Promise<void> {
  const bystanders = await Promise.all(replicas.map((replica, n) => bystanderOf(t, replica, `bystander-${n}`)));
  const token = await makeToken({ sub: 'mallory' }, jwtSecret);
  for (const attack of all) {
    const stalls: number[] = [];
    while (Math.min(...stalls) >= maxStallMs && stalls.length < maxTries) {
      const name = `${attack}${stalls.length === 0 ? '' : ', once more'.repeat(stalls.length)}`;
      stalls.push(await sufferOnce(t, replicas, bystanders, { name, attack, hub, token }));
    }
    assert.ok(Math.min(...stalls) < maxStallMs, `${attack}: ${stalls} ms`);
  }
  for (const { client } of bystanders) assert.equal(client.connection.state, 'Connected');
}

test('one client of a native hub does its worst, and nobody else notices', { timeout: 180_000 }, async (t) => {
  const redis = await startRedis(t);
  const flags = ['--redis', redis.url, '--publish-timeout', '2000'];
  const replicas = await Promise.all([startSidecar(t, flags), startSidecar(t, flags)]);
  await suffer(t, replicas, 'chat', [
    'read receipts, 40,000 in a message',
    'read receipts, 4,000 in a message',
    'one record of a million values',
    'one read receipt of a million ids',
    'nothing but separators, 16 MiB',
    'nothing but separators, 4,000 at a time',
    'pings, 1.4 million',
    'typing in 45,000 rooms',
    'typing in 190 rooms',
    'typing in rooms of 1 MB',
    'joins of rooms of 1 MB',
    'joins of 200,000 rooms',
    'offers of 1 MB',
  ]);
});

test('one client of a native hub does its worst on the embedded log', { timeout: 180_000 }, async (t) => {
  const dataDir = mkdtempSync(join(tmpdir(), 'crossfade-bad-client-'));
  t.after(() => rmSync(dataDir, { recursive: true, force: true }));
  const replica = await startSidecar(t, ['--data-dir', dataDir, '--publish-timeout', '2000']);
  await suffer(t, [replica], 'chat', ['typing in 45,000 rooms', 'typing in 190 rooms', 'offers of 1 MB']);
});

test('one client of a proxied hub does its worst, and nobody else notices', {
  timeout: 180_000,
  skip: noDotnet,
}, async (t) => {
  const redis = await startRedis(t);
  const flags = ['--redis', redis.url, '--bridge', (await startReferenceBridge(t)).url, '--publish-timeout', '2000'];
  const replicas = await Promise.all([startSidecar(t, flags), startSidecar(t, flags)]);
  await force(replicas[0]!, 100);
  await suffer(t, replicas, 'chat', [
    'typing in rooms of 1 MB',
    'typing in 400 rooms, again and again',
    'typing in 3,000 rooms',
    'typing in 45,000 rooms',
    'a record of 14 million brackets',
    'nothing but separators, 16 MiB',
    'joins of 200,000 rooms',
  ]);
});
