// The command line: what is wrong is one clear line and the right exit code, and nothing stays running.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { startBridge } from '../support/bridge.ts';
import { commandOf, spawnCrossfade } from '../support/process.ts';
import { startRedis } from '../support/redis.ts';
import { until } from '../support/wait.ts';
import { say } from './operating.ts';
import { programs, secrets, startSidecar } from './sidecar.ts';

for (const { name, options } of programs) {
  test(`${name} answers wrong use with one line and exit code 2`, async (t) => {
    const cases: [args: string[], env: Record<string, string>, line: RegExp][] = [
      [['serve', '--nope'], secrets, /unknown option '--nope'/],
      [['nope'], {}, /unknown command 'nope'/],
      [['serve', '--percent', '101', '--bridge', 'http://x'], secrets, /--percent \(EVENT_TRANSPORT.*'101'/],
      [['serve'], { JWT_SECRET_KEY: 'x' }, /INTERNAL_API_KEY/],
      [['serve'], { ...secrets, LOG_LEVEL: 'loud' }, /LOG_LEVEL: 'loud'/],
      [['serve'], { ...secrets, CROSSFADE_BRIGDE: 'http://x' }, /did you mean CROSSFADE_BRIDGE\?/],
      [['serve', '--redis', 'redis://h:notaport'], secrets, /--redis \(REDIS_URL\)/],
      [['serve', '--redis', 'http://x'], secrets, /--redis \(REDIS_URL\)/],
      [['serve', '--contract', '/nope.yaml'], secrets, /nope\.yaml.*ENOENT/],
      [['demo', '--port', 'x'], {}, /--port: 'x'/],
      [['contract', 'check', '/nope.yaml'], {}, /nope\.yaml/],
    ];
    for (const [args, env, line] of cases) {
      const { stderr, code } = await run(t, args, env, options);
      assert.match(stderr, line, args.join(' '));
      assert.match(stderr, /^crossfade: CONFIG_INVALID: [^\n]+\n$/, 'one line, with its code');
      assert.equal(code, 2, args.join(' '));
    }
  });

  test(`${name} shows its help and its release`, async (t) => {
    assert.match((await run(t, ['--help'], {}, options)).stdout, /serve[\s\S]*demo[\s\S]*contract/);
    assert.match((await run(t, ['serve', '--help'], {}, options)).stdout, /--publish-timeout <ms>/);
    assert.match((await run(t, ['--version'], {}, options)).stdout, /^\d+\.\d+\.\d+\n$/);
  });
}

async function run(
  t: Parameters<typeof spawnCrossfade>[0],
  args: string[],
  env: Record<string, string>,
  options: Parameters<typeof spawnCrossfade>[3] = {},
) {
  const process = spawnCrossfade(t, args, env, options);
  const { code } = await process.exited;
  return { code, stdout: process.stdout, stderr: process.stderr };
}

function dataDir(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'crossfade-cli-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

test('an address that is taken ends the start with a line that names it', async (t) => {
  const redis = await startRedis(t);
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const taken = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  for (const flag of ['--listen', '--edge', '--admin']) {
    const variable = `CROSSFADE_${flag.slice(2).toUpperCase()}`;
    const rest = ['--listen', '--edge', '--admin'].filter((other) => other !== flag);
    const args = ['serve', '--redis', redis.url, flag, taken, ...rest.flatMap((other) => [other, '127.0.0.1:0'])];
    const { code, stderr } = await run(t, [...args, '--instance', flag], secrets);
    assert.equal(stderr, `crossfade: CONFIG_INVALID: ${flag} (${variable}): cannot listen on ${taken} (EADDRINUSE)\n`);
    assert.equal(code, 2);
  }
});

test('a second holder of the name in front of a bridge ends too, though its backend side was open', async (t) => {
  const redis = await startRedis(t);
  const bridge = await startBridge(t);
  const flags = ['--redis', redis.url, '--bridge', bridge.url, '--instance', 'one'];
  await startSidecar(t, flags);
  const addresses = ['--listen', '127.0.0.1:0', '--edge', '127.0.0.1:0', '--admin', '127.0.0.1:0'];
  const { code, stderr } = await run(t, ['serve', ...addresses, ...flags], secrets);
  assert.equal(code, 1);
  assert.match(stderr, /^crossfade: LOG_INSTANCE_TAKEN: [^\n]*one[^\n]*\n$/);
});

for (const { name, options } of programs) {
  test(`${name} drains when its terminal goes, as on SIGTERM, and opens no debugger`, async (t) => {
    const flags = ['--bridge', (await startBridge(t)).url, '--data-dir', dataDir(t)];
    for (const signal of ['SIGHUP', 'SIGQUIT'] as const) {
      const { process: running } = await startSidecar(t, flags, options);
      process.kill(running.pid, 'SIGUSR1');
      process.kill(running.pid, signal);
      assert.deepEqual(await running.exited, { code: 0, signal: null }, signal);
      assert.ok(running.lines.some(({ msg, reason }) => msg === 'draining' && reason === signal));
      assert.doesNotMatch(running.stderr, /Debugger/);
    }
  });

  test(`${name} ends in silence when nobody reads on`, async (t) => {
    const [program, ...first] = commandOf(options);
    const child = spawn(program!, [...first, 'serve', '--help'], { stdio: ['ignore', 'pipe', 'pipe'] });
    t.after(() => child.kill('SIGKILL'));
    child.stdout.destroy();
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    const [code] = await once(child, 'close');
    assert.deepEqual([code, stderr], [0, '']);
  });
}

test('every line of the log says which replica speaks', async (t) => {
  const flags = ['--bridge', (await startBridge(t)).url, '--data-dir', dataDir(t), '--instance', 'replica-a'];
  const { process: running } = await startSidecar(t, flags);
  await running.stop();
  for (const line of running.lines) assert.deepEqual([line.name, line.instance], ['crossfade', 'replica-a']);
});

test('a wrong password of Redis is named as such', async (t) => {
  const redis = await startRedis(t, { password: 'right' });
  const wrong = redis.url.replace('right', 'wrong');
  const addresses = ['--listen', '127.0.0.1:0', '--edge', '127.0.0.1:0', '--admin', '127.0.0.1:0'];
  const { code, stderr } = await run(t, ['serve', ...addresses, '--redis', wrong], secrets);
  assert.equal(code, 1);
  assert.match(stderr, /^crossfade: LOG_UNAVAILABLE: Redis at \S+ refuses: WRONGPASS [^\n]+\n$/);
});

test('a Redis that evicts is warned of', async (t) => {
  const redis = await startRedis(t);
  const client = redis.client();
  await client.config('SET', 'maxmemory', '100mb', 'maxmemory-policy', 'allkeys-lru');
  const { process: running } = await startSidecar(t, ['--redis', redis.url]);
  const warned = () => running.lines.find(({ policy }) => policy === 'allkeys-lru');
  await until(warned, { what: 'the warning' });
  assert.equal(warned()!.level, 'warn');
});

test('a length for the streams that the environment sets is kept to', async (t) => {
  const redis = await startRedis(t);
  const env = { EVENT_TRANSPORT_STREAM_MAX_LEN: '100' };
  const sidecar = await startSidecar(t, ['--redis', redis.url, '--publish-timeout', '5000'], { env });
  const said = Array.from({ length: 400 }, (_, n) => say(sidecar, 'r', String(n)));
  await Promise.all(said);
  assert.ok((await redis.client().xlen('events:chat')) < 400);
});

test('a bridge that is one of our own ports is refused, with the flags that say so', async (t) => {
  for (const [flag, variable] of [
    ['--listen', 'CROSSFADE_LISTEN'],
    ['--edge', 'CROSSFADE_EDGE'],
    ['--admin', 'CROSSFADE_ADMIN'],
  ] as const) {
    const flags = [flag, '127.0.0.1:65001', '--bridge', 'http://localhost:65001'];
    const { code, stderr } = await run(t, ['serve', ...flags], secrets);
    assert.equal(code, 2);
    assert.match(stderr, /--bridge \(CROSSFADE_BRIDGE\): http:\/\/localhost:65001 is /);
    assert.ok(stderr.includes(`${flag} (${variable})`), stderr);
  }
});
