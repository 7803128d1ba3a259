// A deployment of `crossfade verify`'s own: in come addresses of a bridge and of Redis, where there are any; out go a crossfade in front
// of that bridge, or of the toy bridge, each a process of its own by this very program, on free ports of loopback.
// Promises: secrets go by environment, never as arguments; everything ends with close(), its directory too.

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CrossfadeError } from '../errors.ts';
import { ownProgram } from './own-program.ts';

export interface OwnDeploymentOptions {
  /** Base URL of the bridge; without it the toy bridge is started. */
  bridge: string | undefined;
  redis: string | undefined;
  secrets: { apiKey: string; jwtSecret: string };
}

/** Addresses of its sides, as base URLs. */
export interface Sides {
  listen: string;
  edge: string;
  admin: string;
}

const startTimeoutMs = 30_000;
const endTimeoutMs = 15_000;
const anyPort = '127.0.0.1:0';

export class OwnDeployment {
  readonly #options: OwnDeploymentOptions;
  readonly #dir = mkdtempSync(join(tmpdir(), 'crossfade-verify-'));
  readonly #instance = `verify-${process.pid}`;
  #bridge: ChildProcess | undefined;
  #bridgeUrl: string | undefined;
  #crossfade: ChildProcess | undefined;

  constructor(options: OwnDeploymentOptions) {
    this.#options = options;
  }

  /** Starts what is not running yet, and crossfade anew. @param killSwitch everything by the bridge, whatever the percent */
  async start({ killSwitch = false } = {}): Promise<Sides> {
    await ended(this.#crossfade);
    const { bridge, redis } = this.#options;
    this.#bridgeUrl ??= bridge ?? (await this.#startToyBridge());
    const sides = ['listen', 'edge', 'admin'].flatMap((side) => [`--${side}`, anyPort]);
    const log = redis === undefined ? ['--data-dir', this.#dir] : ['--redis', redis];
    const args = ['serve', ...sides, ...log, '--bridge', this.#bridgeUrl, '--instance', this.#instance];
    const child = this.#spawn(args, { EVENT_TRANSPORT_USE_REDIS_STREAMS: String(!killSwitch) });
    this.#crossfade = child;
    const line = await lineOf(child, 'crossfade', (text) => text.includes('"msg":"ready"'));
    const { listen, edge, admin } = JSON.parse(line) as Sides;
    return { listen: `http://${listen}`, edge: `http://${edge}`, admin: `http://${admin}` };
  }

  async close(): Promise<void> {
    await ended(this.#crossfade);
    await ended(this.#bridge);
    rmSync(this.#dir, { recursive: true, force: true });
  }

  async #startToyBridge(): Promise<string> {
    this.#bridge = this.#spawn(['demo', 'bridge', '--listen', anyPort], {});
    const line = await lineOf(this.#bridge, 'the toy bridge', (text) => text.startsWith('toy bridge at '));
    return line.slice('toy bridge at '.length);
  }

  #spawn(args: string[], env: Record<string, string>): ChildProcess {
    const { apiKey, jwtSecret } = this.#options.secrets;
    const { PATH = '', HOME = '' } = process.env;
    const [command, ...own] = ownProgram();
    return spawn(command!, [...own, ...args], {
      env: { PATH, HOME, INTERNAL_API_KEY: apiKey, JWT_SECRET_KEY: jwtSecret, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }
}

/** The first line that it writes to stdout and that is `wanted`. Errors: BENCH_TARGET (it ended, or took too long) */
function lineOf(child: ChildProcess, what: string, wanted: (line: string) => boolean): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let text = '';
  const fail = (why: string) => reject(new CrossfadeError('BENCH_TARGET', `${what} ${why}\n${text.trim()}`));
  const timeout = setTimeout(() => fail('did not start in time'), startTimeoutMs);
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      // What it says later is nobody's business here, but has to be read.
      text = (text + chunk).slice(-10_000);
      const line = text.split('\n').slice(0, -1).find(wanted);
      if (line !== undefined) resolve(line);
    });
  }
  child.once('error', (error) => fail(error.message));
  child.once('exit', () => fail('ended before it was ready'));
  return promise.finally(() => clearTimeout(timeout));
}

async function ended(child: ChildProcess | undefined): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exited = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  const timeout = setTimeout(() => child.kill('SIGKILL'), endTimeoutMs);
  await exited;
  clearTimeout(timeout);
}
