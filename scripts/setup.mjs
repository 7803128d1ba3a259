// Set-up for `npm start` and `npm test`, on any Node from 20 on: installs what is missing and is instant otherwise.
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
  // Not `npm ci`: it refuses the lock file where a registry lacks the optional packages of other platforms.
  run('npm', ['install', '--no-save', '--no-audit', '--no-fund', '--loglevel=error']);
  writeFileSync(stamp, lock);
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
