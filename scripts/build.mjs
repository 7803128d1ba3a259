// Makes dist/crossfade, one executable without a Node beside it: esbuild bundles the program, pkg puts bundle and assets
// into a copy of the Node binary of node_modules (Node's single executable applications), if it is the one that is pinned.
// Nothing is downloaded.
// Instant where nothing has changed since the last build. `--arch arm64` (or amd64) makes dist/crossfade-arm64 instead, on a
// machine of either kind.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  globSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { parseArgs } from 'node:util';
import { build } from 'esbuild';
import { assets } from '../src/assets.ts';
import { checkNode } from './pinned-node.ts';

const root = new URL('..', import.meta.url).pathname;
const dist = `${root}dist/`;
/** As Docker names it (TARGETARCH); undefined: the machine's own, without a name in the file's. */
const { arch: wanted } = parseArgs({ options: { arch: { type: 'string' } } }).values;
/** As Node names it. */
const arch = wanted === 'amd64' ? 'x64' : (wanted ?? process.arch);
const isForeign = arch !== process.arch;
const output = `${dist}crossfade${wanted === undefined ? '' : `-${wanted}`}`;
const stamp = `${output}.stamp`;
const foreignNode = `${dist}node-${arch}-original`;

mkdirSync(dist, { recursive: true });
const state = stateOfSources();
if (!existsSync(output) || !existsSync(stamp) || readFileSync(stamp, 'utf8') !== state) {
  await bundle();
  await makeExecutable();
  writeFileSync(stamp, state);
  console.log(`built ${output.slice(root.length)}`);
}

function stateOfSources() {
  const files = [...globSync('src/**/*', { cwd: root, withFileTypes: true })]
    .filter((entry) => entry.isFile())
    .map((entry) => `${entry.parentPath}/${entry.name}`);
  const hash = createHash('sha256');
  for (const file of [
    ...files.sort(),
    `${root}package-lock.json`,
    `${root}scripts/build.mjs`,
    `${root}scripts/pinned-node.ts`,
  ]) {
    hash.update(file).update(readFileSync(file));
  }
  return hash.digest('hex');
}

/** One ESM file, for main.ts awaits at its top; dependencies that are CommonJS find a `require` in it. */
async function bundle() {
  await build({
    absWorkingDir: root,
    entryPoints: ['src/main.ts'],
    outfile: `${dist}crossfade.mjs`,
    bundle: true,
    platform: 'node',
    target: 'node26',
    format: 'esm',
    banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(process.execPath);" },
    logLevel: 'warning',
  });
}

async function makeExecutable() {
  const node = strippedNode();
  const sea = createRequire(import.meta.url)('@yao-pkg/pkg/lib-es5/sea').default;
  const paths = Object.fromEntries(Object.entries(assets).map(([name, path]) => [name, root + path]));
  rmSync(output, { force: true });
  await sea(`${dist}crossfade.mjs`, {
    targets: [{ nodeRange: 'node26', platform: 'linux', arch, output }],
    nodePath: node,
    // A foreign Node cannot be run to make the blob; the host's must then be of the same release.
    ...(isForeign && { useLocalNode: true }),
    // On SIGUSR1 Node would open a debugger for everybody on the machine.
    seaConfig: { mainFormat: 'module', useCodeCache: !isForeign, assets: paths, execArgv: ['--disable-sigusr1'] },
  });
  rmSync(node);
  rmSync(foreignNode, { force: true });
}

/** Symbols are a fifth of the Node binary and nobody's business in production. */
function strippedNode() {
  const copy = `${dist}node-${arch}`;
  copyFileSync(isForeign ? otherNode() : process.execPath, copy);
  checkNode(copy, arch);
  const tool = isForeign ? 'llvm-strip' : 'strip';
  try {
    execFileSync(tool, ['--strip-unneeded', copy], { stdio: 'ignore' });
  } catch {
    console.log(`${tool} is not here: the binary stays a fifth larger`);
  }
  return copy;
}

function otherNode() {
  const spec = `node-linux-${arch}@${process.versions.node}`;
  try {
    const archive = execFileSync('npm', ['pack', '--silent', spec], { cwd: dist, encoding: 'utf8' }).trim();
    execFileSync('tar', ['-xzf', archive, 'package/bin/node'], { cwd: dist });
    rmSync(dist + archive);
  } catch {
    console.error(`the npm package ${spec} could not be had, so there is no binary for ${arch}`);
    process.exit(1);
  }
  renameSync(`${dist}package/bin/node`, foreignNode);
  rmSync(`${dist}package`, { recursive: true });
  return foreignNode;
}
