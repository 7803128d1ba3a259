// Our own program as a child process of a test: in come arguments and environment, out goes a running crossfade.
// Promises that it is ready when it is handed over, and dead when the test ends, also if it was stopped by a signal.

import { type ChildProcess, spawn } from 'node:child_process';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { until } from './wait.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
/**
 * The npm scripts have built the bundle before they set this: a process starts from it with half of the CPU time. A single test
 * file that is run by hand takes the sources as they are at the moment.
 */
const usesBundle = process.env.CROSSFADE_TEST_BUNDLE === '1';
/** Hundreds of processes are started from the same code, each of which would strip and compile it anew. */
const compileCache = `${root}node_modules/.cache/compiled`;
/** Three test files at a time start several processes each. */
const readyTimeoutMs = 40_000;

/** The built binary, for `options.binary`. */
export const builtBinary = `${root}dist/crossfade`;

export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

/** A child process with what it has written so far. */
export class Running {
  readonly pid: number;
  readonly exited: Promise<Exit>;
  stdout = '';
  stderr = '';
  exit: Exit | undefined;
  readonly #child: ChildProcess;

  constructor(child: ChildProcess) {
    this.#child = child;
    this.pid = child.pid!;
    child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
    });
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    // A program that cannot be started at all closes too; its error says why.
    child.on('error', (error) => {
      this.stderr += `${error}\n`;
    });
    this.exited = new Promise((resolve) => {
      child.on('close', (code, signal) => {
        this.exit = { code, signal };
        resolve(this.exit);
      });
    });
  }

  /** The JSON log lines on stdout. */
  get lines(): Record<string, unknown>[] {
    const whole = this.stdout.split('\n').slice(0, -1);
    return whole.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line));
  }

  /** SIGTERM: lets it drain. */
  stop(): Promise<Exit> {
    return this.#signal('SIGTERM');
  }

  /** As `kill -9`. */
  kill(): Promise<Exit> {
    return this.#signal('SIGKILL');
  }

  /** Holds the process still until resume(). */
  pause(): void {
    this.#child.kill('SIGSTOP');
  }

  resume(): void {
    this.#child.kill('SIGCONT');
  }

  #signal(signal: NodeJS.Signals): Promise<Exit> {
    this.#child.kill(signal);
    return this.exited;
  }
}

/** A running `crossfade serve` with the URLs of its sides; one that is off has none that leads anywhere. */
export interface Crossfade {
  process: Running;
  /** `http://host:port` of the backend's side. */
  listen: string;
  edge: string;
  admin: string;
  /** Only with `--health`. */
  health: string;
}

export interface StartOptions {
  /** A built binary to run in place of the sources. */
  binary?: string;
  /** The sources as a checkout starts them, never the bundle. */
  source?: boolean;
}

/** The words that start it. */
export function commandOf({ binary, source = !usesBundle }: StartOptions): string[] {
  return binary === undefined ? [process.execPath, `${root}${source ? 'bin' : 'dist'}/crossfade.mjs`] : [binary];
}

/**
 * Starts crossfade and returns at once, ready or not: for commands that end, and for starts that should be refused.
 * @param env in place of the test's own environment, of which only PATH and HOME are passed on
 */
export function spawnCrossfade(
  t: TestContext,
  args: string[],
  env: Record<string, string> = {},
  options: StartOptions = {},
): Running {
  const { PATH = '', HOME = '' } = process.env;
  const [command, ...first] = commandOf(options);
  const child = spawn(command!, [...first, ...args], {
    env: { PATH, HOME, NODE_COMPILE_CACHE: compileCache, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const running = new Running(child);
  t.after(() => running.exit ?? running.kill());
  return running;
}

/**
 * Starts `crossfade serve` and waits until it says that it is ready.
 * @param args the flags behind `serve`; the three addresses are on free ports of loopback unless given here
 */
export async function startCrossfade(
  t: TestContext,
  args: string[],
  env: Record<string, string> = {},
  options: StartOptions = {},
): Promise<Crossfade> {
  const running = spawnCrossfade(t, ['serve', ...onFreePorts(args), ...args], env, options);
  const findReady = () => running.lines.find(({ msg }) => msg === 'ready');
  await until(() => findReady() ?? running.exit, {
    timeoutMs: readyTimeoutMs,
    what: () => `crossfade to be ready\n${running.stdout}${running.stderr}`,
  });
  const ready = findReady();
  if (ready === undefined) throw new Error(`crossfade ended before it was ready\n${running.stdout}${running.stderr}`);
  const { listen, edge, admin, health } = ready;
  const [atListen, atEdge, atAdmin, atHealth] = [listen, edge, admin, health].map((address) => `http://${address}`);
  return { process: running, listen: atListen!, edge: atEdge!, admin: atAdmin!, health: atHealth! };
}

function onFreePorts(args: string[]): string[] {
  const isGiven = (flag: string) => args.some((arg) => arg === flag || arg.startsWith(`${flag}=`));
  return ['--listen', '--edge', '--admin'].filter((flag) => !isGiven(flag)).flatMap((flag) => [flag, '127.0.0.1:0']);
}
