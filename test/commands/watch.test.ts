// `crossfade cutover show --watch` and whoever reads what it writes.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { commandOf } from '../support/process.ts';

test('a watch ends when whoever reads it has gone, and asks the admin port no more', { timeout: 30_000 }, async (t) => {
  const [command, ...first] = commandOf({});
  // Nobody answers there: it goes on all the same, as a replica may come back.
  const args = ['cutover', 'show', '--watch', '--admin', 'http://127.0.0.1:1'];
  const watch = spawn(command!, [...first, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => watch.kill('SIGKILL'));
  const exited = once(watch, 'exit');
  await once(watch.stdout, 'data');
  watch.stdout.destroy();
  assert.deepEqual(await exited, [0, null]);
});
