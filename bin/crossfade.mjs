#!/usr/bin/env node
// The launcher for a checkout: any Node from 20 on starts it; the program itself runs under the Node 26 of node_modules.

import { spawn } from 'node:child_process';

if (Number(process.versions.node.split('.')[0]) >= 26) {
  await import('../src/main.ts');
} else {
  const node = new URL('../node_modules/node/bin/node', import.meta.url).pathname;
  const child = spawn(node, [import.meta.filename, ...process.argv.slice(2)], { stdio: 'inherit' });
  child.once('error', (error) => {
    console.error(`crossfade: Node 26 is not installed here yet (${error.code}); run \`node scripts/setup.mjs\` first`);
    process.exit(1);
  });
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT']) process.on(signal, () => child.kill(signal));
  // Node would open a debugger.
  process.on('SIGUSR1', () => {});
  child.once('exit', (code, signal) => process.exit(code ?? (signal === 'SIGINT' ? 130 : 143)));
}
