// Set-up for `npm start`, `npm test` and `npm run build`, on any Node from 20 on: installs what is missing, each package by the
// hash that the lock file has of it, and is instant otherwise.
// With --test it also installs what the tests run against (Redis, Chromium, promtool), where it is root on Debian.

import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';

const root = new URL('..', import.meta.url).pathname;
const stamp = `${root}node_modules/.installed-lock.json`;
const lock = readFileSync(`${root}package-lock.json`, 'utf8');

/** What the tests need from Debian: a program that must exist, and the package that brings it. */
const debianPackages = [
  { program: '/usr/bin/redis-server', name: 'redis-server' },
  { program: '/usr/bin/chromium', name: 'chromium' },
  { program: '/usr/bin/promtool', name: 'prometheus' },
];

installModules();
if (process.argv.includes('--test')) installDebianPackages();

/** The stamp is the lock file that was installed, so that a pull with new dependencies is noticed. */
function installModules() {
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === lock) return;
  console.log('crossfade: installing its npm packages …');
  const quiet = ['--no-audit', '--no-fund', '--loglevel=error'];
  // Some registries lack the optional packages of other platforms, without which `npm ci` takes nothing.
  const refusal = refusalOf('npm', ['ci', ...quiet]);
  if (refusal !== undefined) {
    console.log(`crossfade: \`npm ci\` is refused (${refusal}); \`npm install\` by the same lock file instead`);
    run('npm', ['install', '--no-save', ...quiet]);
  }
  writeFileSync(stamp, lock);
}

/** @returns the first line of what a command said as it failed; undefined where it did not */
function refusalOf(command, args) {
  const { status, error, stderr } = spawnSync(command, args, { cwd: root, stdio: ['ignore', 'inherit', 'pipe'] });
  return status === 0 ? undefined : (error?.message ?? stderr.toString().trim().split('\n')[0]);
}

function installDebianPackages() {
  const missing = debianPackages.filter(({ program }) => !existsSync(program)).map(({ name }) => name);
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

function run(command, args) {
  const { status, error } = spawnSync(command, args, {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  });
  if (status === 0) return;
  console.error(`crossfade: \`${command} ${args.join(' ')}\` failed${error ? ` (${error.message})` : ''}`);
  process.exit(1);
}
