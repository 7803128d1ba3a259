// The Dockerfile, built for real and run: `node test/deploy/image.ts`, as root on Debian with buildah, debootstrap and redis-server;
// by hand, as it takes 5 minutes. Instead of pulling, the base images are made of Debian's own packages and of this Node and npm.
// The container's root is read-only and its user the image's own, as deploy/kubernetes starts it.

import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join as pathOf } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { join, secrets } from '../e2e/sidecar.ts';
import { call, startBridge } from '../support/bridge.ts';
import { Running } from '../support/process.ts';
import { freePort, startRedis } from '../support/redis.ts';
import { until } from '../support/wait.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
/** Kept, as the packages of the base take a minute. */
const work = pathOf(tmpdir(), 'crossfade-image');
const image = 'localhost/crossfade';
const clients = 20;

const needed = ['buildah', 'debootstrap', 'redis-server', 'unshare'];
const missing = needed.filter((program) => spawnSync(program, ['--version'], { stdio: 'ignore' }).error !== undefined);
const skip = missing.length > 0 ? `needs ${missing.join(', ')}` : process.getuid?.() !== 0 && 'needs root';

function buildah(...words: string[]): string {
  const places = ['--root', pathOf(work, 'storage'), '--runroot', pathOf(work, 'run')];
  const env = { ...process.env, STORAGE_DRIVER: 'vfs', BUILDAH_ISOLATION: 'chroot' };
  return execFileSync('buildah', [...places, ...words], {
    cwd: root,
    env,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  }).trim();
}

/** A container that is gone when the test ends. */
function containerOf(t: TestContext, from: string): string {
  const container = buildah('from', '--pull-never', from);
  t.after(() => buildah('rm', container));
  return container;
}

/** What stands in for the two images that the Dockerfile names. */
function makeBases(t: TestContext): void {
  const packages = pathOf(work, 'debian');
  if (!existsSync(pathOf(packages, 'etc/debian_version'))) {
    execFileSync('debootstrap', ['--variant=minbase', 'bookworm', packages], { stdio: 'inherit' });
  }
  const base = containerOf(t, 'scratch');
  buildah('add', base, packages, '/');
  buildah('commit', base, 'localhost/debian');
  const withNode = containerOf(t, 'localhost/debian');
  const npm = dirname(dirname(realpathSync(execFileSync('which', ['npm'], { encoding: 'utf8' }).trim())));
  buildah('add', withNode, process.execPath, '/usr/local/bin/node');
  buildah('add', withNode, npm, '/usr/local/lib/node_modules/npm');
  // This machine's authorities: its registry may have one of its own.
  buildah('add', withNode, '/etc/ssl/certs/ca-certificates.crt', '/etc/ssl/certs/ca-certificates.crt');
  const link = 'ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm && mkdir -p /usr/local/etc';
  const trust = 'echo cafile=/etc/ssl/certs/ca-certificates.crt > /usr/local/etc/npmrc';
  buildah(
    'run',
    withNode,
    '--',
    'sh',
    '-c',
    `${link} && ${trust} && apt-get update -qq && apt-get install -y -qq libatomic1`,
  );
  buildah('commit', withNode, 'localhost/node');
}

interface ImageConfig {
  User: string;
  Env: string[];
  Entrypoint: string[];
  Cmd: string[];
  Labels: Record<string, string>;
  Healthcheck: { Test: string[] };
}

/** Starts the image's own command, on ports of loopback. @param mounted the root of the container */
function startImage(t: TestContext, mounted: string, config: ImageConfig, env: string[]): Running {
  const enter = [
    'mount --bind "$0" "$0" && mount --rbind /proc "$0/proc" && mount --rbind /dev "$0/dev"',
    'mount -o remount,bind,ro "$0" && ! touch "$0/probe" 2>/dev/null',
    `exec chroot --userspec=${config.User} "$0" env -i "$@"`,
  ].join(' && ');
  const command = [...config.Env, ...env, ...config.Entrypoint, ...config.Cmd];
  const child = spawn('unshare', ['--mount', 'sh', '-c', enter, mounted, ...command], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const running = new Running(child);
  t.after(() => running.exit ?? running.kill());
  return running;
}

test('the image starts, answers its health check and drains', { skip }, async (t) => {
  makeBases(t);
  const bases = ['--build-arg', 'NODE_IMAGE=localhost/node', '--build-arg', 'BASE_IMAGE=localhost/debian'];
  buildah('bud', '--format', 'docker', '--pull-never', ...bases, '-t', image, '.');
  const { config } = JSON.parse(buildah('inspect', '--type', 'image', image)).Docker as { config: ImageConfig };
  assert.deepEqual([config.User, config.Entrypoint, config.Cmd], ['10001:10001', ['crossfade'], ['serve']]);
  assert.equal(
    config.Labels['org.opencontainers.image.version'],
    JSON.parse(readFileSync(`${root}package.json`, 'utf8')).version,
  );

  const redis = await startRedis(t);
  const bridge = await startBridge(t);
  const [listen, edge, admin] = await Promise.all([freePort(), freePort(), freePort()]);
  const env = [
    ...Object.entries({ ...secrets, REDIS_URL: redis.url, CROSSFADE_BRIDGE: bridge.url }).map(
      ([name, value]) => `${name}=${value}`,
    ),
    `CROSSFADE_LISTEN=127.0.0.1:${listen}`,
    `CROSSFADE_EDGE=127.0.0.1:${edge}`,
    `CROSSFADE_ADMIN=127.0.0.1:${admin}`,
  ];
  const container = containerOf(t, image);
  const running = startImage(t, buildah('mount', container), config, env);

  const [kind, ...check] = config.Healthcheck.Test;
  assert.equal(kind, 'CMD');
  const isHealthy = () => {
    const flags = ['--env', `CROSSFADE_ADMIN=127.0.0.1:${admin}`];
    try {
      return buildah('run', ...flags, container, '--', ...check) === 'ready';
    } catch {
      return false;
    }
  };
  await until(() => isHealthy() || running.exit, {
    timeoutMs: 60_000,
    what: () => `health\n${running.stdout}${running.stderr}`,
  });
  assert.equal(running.exit, undefined, running.stdout + running.stderr);

  const joined = await Promise.all(
    Array.from({ length: clients }, (_, number) => join(t, `http://127.0.0.1:${edge}`, 'chat', `u${number}`)),
  );
  await Promise.all(joined.map(({ connection }) => connection.invoke('JoinRoom', 'r')));
  const message = { id: 'm', requestId: 'r', content: 'hi', createdAt: '2026-01-16T10:30:00Z' };
  const answer = await call(`http://127.0.0.1:${listen}`, 'chat/message', { event_id: 'e', request_id: 'r', message });
  assert.deepEqual(answer, { status: 200, body: { broadcast: true } });
  await until(() => joined.every((client) => client.of('ReceiveMessage').length === 1), { what: 'all to have it' });

  let closed = 0;
  for (const { connection } of joined) connection.onclose(() => closed++);
  assert.deepEqual(await running.stop(), { code: 0, signal: null }, running.stdout + running.stderr);
  await until(() => closed === clients, { what: 'all clients to be let go' });
  assert.ok(!isHealthy(), 'and the health check says that it is gone');
});
