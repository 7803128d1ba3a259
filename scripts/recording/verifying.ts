// Writes the sessions of `crossfade verify` and `crossfade bench` anew in README.md and docs/benchmarks/README.md, in front of an ASP.NET
// Core bridge with Redis. What stands there is what the commands printed, failures too. Needs redis-server, the .NET SDK, and
// dist/crossfade. Run on a quiet machine, 4 minutes: node scripts/recording/verifying.ts

import { spawn } from 'node:child_process';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { patient, startSidecar } from '../../test/e2e/sidecar.ts';
import { apiKey, jwtSecret } from '../../test/support/bridge.ts';
import { builtBinary } from '../../test/support/process.ts';
import { startRedis } from '../../test/support/redis.ts';
import { startReferenceBridge } from '../../test/support/reference-bridge.ts';
import { writePage } from './write-page.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const pages = ['README.md', 'docs/benchmarks/README.md'];

const cleanups: (() => unknown)[] = [];
const context = { after: (run: () => unknown) => cleanups.unshift(run) } as unknown as TestContext;

try {
  const bridge = await startReferenceBridge(context);
  const redis = await startRedis(context);
  const recorded = new Map<string, string>();
  recorded.set('verify', await type(`crossfade verify --bridge ${bridge.url} --redis ${redis.url}`));
  const flags = ['--redis', redis.url, '--bridge', bridge.url, ...patient];
  const { edge, listen, admin } = await startSidecar(context, flags, { binary: builtBinary });
  recorded.set('bench', await type(`crossfade bench --url ${edge} --publish ${listen} --admin ${admin}`));
  for (const page of pages) writePage(`${root}${page}`, recorded);
} finally {
  for (const run of cleanups) await run();
}

/** @returns the command as it is typed, and what it printed */
async function type(command: string): Promise<string> {
  const { PATH = '', HOME = '' } = process.env;
  const child = spawn(builtBinary, command.split(' ').slice(1), {
    env: { PATH, HOME, INTERNAL_API_KEY: apiKey, JWT_SECRET_KEY: jwtSecret },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let printed = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    printed += text;
  });
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  if (code !== 0 && code !== 1) throw new Error(`${command}: ${printed}`);
  return `$ ${command}\n${printed.trimEnd()}\n`;
}
