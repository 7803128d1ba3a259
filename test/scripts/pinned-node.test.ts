// What ships is pinned: the build takes one Node, byte for byte, and package.json names the same release.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkNode, pinned } from '../../scripts/pinned-node.ts';

const root = new URL('../..', import.meta.url).pathname;
const installed = `${root}node_modules/node/bin/node`;

test('the Node that was installed is the one that is pinned, and a changed byte is refused', (t) => {
  checkNode(installed, process.arch);
  const dir = mkdtempSync(join(tmpdir(), 'crossfade-node-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const bytes = readFileSync(installed);
  bytes[bytes.length - 1]! ^= 1;
  writeFileSync(join(dir, 'node'), bytes);
  assert.throws(() => checkNode(join(dir, 'node'), process.arch), /is not the Node 26\./);
  assert.throws(() => checkNode(installed, process.arch === 'x64' ? 'arm64' : 'x64'), /linux-/);
});

test('the lock file, package.json and the pinned hash name one release', () => {
  const { devDependencies } = JSON.parse(readFileSync(`${root}package.json`, 'utf8'));
  const { packages } = JSON.parse(readFileSync(`${root}package-lock.json`, 'utf8'));
  assert.deepEqual([devDependencies.node, packages['node_modules/node'].version], [pinned.release, pinned.release]);
});
