// The command line: what is wrong is one clear line and the right exit code, and nothing stays running.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { startBridge } from '../support/bridge.ts';
import { spawnCrossfade } from '../support/process.ts';
import { startRedis } from '../support/redis.ts';
import { programs, secrets, startSidecar } from './sidecar.ts';

for (const { name, options } of programs) {
  test(`${name} answers wrong use with one line and exit code 2`, async (t) => {
    const cases: [args: string[], env: Record<string, string>, line: RegExp][] = [
      [['serve', '--nope'], secrets, /unknown option '--nope'/],
      [['nope'], {}, /unknown command 'nope'/],
      [['serve', '--percent', '101', '--bridge', 'http://x'], secrets, /--percent \(EVENT_TRANSPORT.*'101'/],
      [['serve'], { JWT_SECRET_KEY: 'x' }, /INTERNAL_API_KEY/],
      [['serve', '--redis', 'http://x'], secrets, /--redis \(REDIS_URL\)/],
      [['serve', '--contract', '/nope.yaml'], secrets, /nope\.yaml.*ENOENT/],
      [['demo', '--port', 'x'], {}, /--port: 'x'/],
      [['contract', 'check', '/nope.yaml'], {}, /nope\.yaml/],
    ];
    for (const [args, env, line] of cases) {
      const { stderr, code } = await run(t, args, env, options);
      assert.match(stderr, line, args.join(' '));
      assert.match(stderr, /^crossfade: [^\n]+\n$/, 'one line');
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

test('an address that is taken ends the start with a line that names it', async (t) => {
  const redis = await startRedis(t);
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const taken = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  for (const flag of ['--listen', '--edge', '--admin']) {
    const rest = ['--listen', '--edge', '--admin'].filter((other) => other !== flag);
    const args = ['serve', '--redis', redis.url, flag, taken, ...rest.flatMap((other) => [other, '127.0.0.1:0'])];
    const { code, stderr } = await run(t, [...args, '--instance', flag], secrets);
    assert.equal(stderr, `crossfade: cannot listen on ${taken} (EADDRINUSE)\n`);
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
  assert.match(stderr, /^crossfade: [^\n]*one[^\n]*\n$/);
});
