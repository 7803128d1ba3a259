// deploy/compose.yaml: its files exist, its replicas start with what it gives them, nothing is open beyond this machine, and the
// parts that stand for bridge and backend do their work.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parse } from 'yaml';
import { readConfig } from '../../src/config.ts';
import { metricOf } from '../e2e/operating.ts';
import { join, startSidecar } from '../e2e/sidecar.ts';
import { apiKey, jwtSecret } from '../support/bridge.ts';
import { spawnCrossfade } from '../support/process.ts';
import { startRedis } from '../support/redis.ts';
import { until } from '../support/wait.ts';
import { deploy } from './queries.ts';

interface Service {
  image: string;
  build?: { context: string };
  command?: string[];
  environment?: Record<string, string>;
  ports?: string[];
  volumes?: string[];
  stop_grace_period?: string;
}

const text = readFileSync(`${deploy}compose.yaml`, 'utf8');
// `${NAME:-value}`, where NAME is not set.
const compose = parse(text.replaceAll(/\$\{\w+:-([^}]*)\}/g, '$1'), { merge: true });
const services: Record<string, Service> = compose.services;
const replicas = Object.entries(services).filter(([name]) => name.startsWith('crossfade-'));

test('the replicas of compose.yaml start with what it gives them', () => {
  assert.equal(replicas.length, 2);
  for (const [name, { environment, stop_grace_period }] of replicas) {
    const config = readConfig({}, environment!);
    assert.deepEqual([config.instance, config.bridges], [name, ['http://bridge:5000']]);
    // All clients within 60 s, 3 s for who is slow to go, then 9.5 s for the rest.
    assert.ok(Number.parseInt(stop_grace_period!, 10) >= 60 + 3 + 10, stop_grace_period!);
  }
});

test('Prometheus knows them by these names, with their token', () => {
  const { scrape_configs } = parse(readFileSync(`${deploy}prometheus/prometheus.yml`, 'utf8'));
  assert.deepEqual(
    scrape_configs[0].static_configs[0].targets,
    replicas.map(([name]) => `${name}:7402`),
  );
  assert.equal(compose.configs['admin-token'].content, replicas[0]![1].environment!.CROSSFADE_ADMIN_TOKEN);
});

test('what compose.yaml mounts exists, and nothing is open beyond this machine', () => {
  for (const { volumes = [], ports = [], build } of Object.values(services)) {
    if (build !== undefined) assert.ok(existsSync(`${deploy}${build.context}/Dockerfile`));
    for (const port of ports) assert.match(port, /^127\.0\.0\.1:\d+:\d+$/);
    for (const [path] of volumes.map((volume) => volume.split(':'))) {
      assert.ok(path === 'redis' || existsSync(deploy + path), path!);
    }
  }
});

test('the toy bridge and a backend at work, each a process of its own, have a sidecar between them', async (t) => {
  const redis = await startRedis(t);
  const env = { INTERNAL_API_KEY: apiKey, JWT_SECRET_KEY: jwtSecret };
  const bridge = spawnCrossfade(t, ['demo', 'bridge', '--listen', '127.0.0.1:0'], env);
  const url = await until(() => /toy bridge at (\S+)/.exec(bridge.stdout)?.[1], {
    what: () => `the toy bridge\n${bridge.stderr}`,
    timeoutMs: 20_000,
  });
  const sidecar = await startSidecar(t, ['--redis', redis.url, '--bridge', url]);
  const client = await join(t, sidecar.edge, 'chat', 'u1');
  await client.connection.invoke('JoinRoom', 'request-0');
  const backend = spawnCrossfade(t, ['demo', 'backend', '--calls', sidecar.listen], env);
  await until(() => client.of('ReceiveMessage').length > 0, {
    what: () => `a message of the backend\n${backend.stdout}${backend.stderr}`,
    timeoutMs: 20_000,
  });
  assert.notEqual(await metricOf(sidecar, 'crossfade_ingress_answers_total{status="200"}'), 0);
  for (const process of [backend, bridge]) assert.deepEqual(await process.stop(), { code: 0, signal: null });
});

test('the toy bridge lets nobody in without a key: it does not start without one', async (t) => {
  const bridge = spawnCrossfade(t, ['demo', 'bridge'], { JWT_SECRET_KEY: jwtSecret });
  assert.equal((await bridge.exited).code, 2);
  assert.match(bridge.stderr, /^crossfade: CONFIG_INVALID: INTERNAL_API_KEY: is not set\n$/);
});
