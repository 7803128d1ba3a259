// A prober that does not sit on this machine, as far as the network can tell: a network namespace with one cable to here. In
// come an URL's port and path, out comes the status that is answered there. Needs root and Debian's iproute2; ends with the test.

import { execFileSync, spawnSync } from 'node:child_process';
import { randomInt } from 'node:crypto';
import type { TestContext } from 'node:test';

const script = `
  const [address, port, path] = process.argv.slice(1);
  require('node:http')
    .get({ host: address, port, path, timeout: 5000 }, (answer) => console.log(answer.statusCode))
    .on('error', (error) => console.log(error.code));`;

/** Why none can be made here; false: one can. */
export const noNamespace = reasonAgainst();

function reasonAgainst(): string | false {
  const name = `crossfade-try-${process.pid}`;
  const { error, status, stderr } = spawnSync('ip', ['netns', 'add', name], { encoding: 'utf8' });
  if (error !== undefined) return 'needs iproute2: there is no `ip` here';
  if (status !== 0) return `needs the right to make a network namespace: ${stderr.trim()}`;
  spawnSync('ip', ['netns', 'del', name]);
  return false;
}

/** @returns the address of this machine on the cable, and how the other end asks */
export function startProber(t: TestContext): { address: string; ask(port: number, path: string): string } {
  const name = `crossfade-${process.pid}`;
  const [here, there] = [`cf${process.pid}a`, `cf${process.pid}b`];
  // RFC 2544's addresses: nobody routes them.
  const net = `198.18.${randomInt(256)}`;
  const ip = (...words: string[]) => execFileSync('ip', words, { stdio: ['ignore', 'pipe', 'pipe'] });
  const inside = (...words: string[]) => ip('netns', 'exec', name, ...words);
  t.after(() => ip('netns', 'del', name));
  ip('netns', 'add', name);
  ip('link', 'add', here, 'type', 'veth', 'peer', 'name', there, 'netns', name);
  ip('addr', 'add', `${net}.1/30`, 'dev', here);
  ip('link', 'set', here, 'up');
  inside('ip', 'addr', 'add', `${net}.2/30`, 'dev', there);
  inside('ip', 'link', 'set', there, 'up');
  return {
    address: `${net}.1`,
    ask: (port, path) => inside(process.execPath, '-e', script, `${net}.1`, String(port), path).toString().trim(),
  };
}
