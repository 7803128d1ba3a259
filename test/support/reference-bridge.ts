// A real ASP.NET Core SignalR bridge (test/reference-bridge/) for machines with the .NET SDK. In come its switches, all off
// unless named; out goes a running bridge with the tests' key, secret and origin.
// Promises that it listens when it is handed over, keeps its port over restarts, and is dead when the test ends.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { allowedOrigin, apiKey, jwtSecret } from './bridge.ts';
import { buildDotnet } from './dotnet-build.ts';
import { until } from './wait.ts';

const sources = fileURLToPath(new URL('../reference-bridge', import.meta.url));
const outputs = fileURLToPath(new URL('../../dist/reference-bridge', import.meta.url));
const startTimeoutMs = 30_000;
const hasDotnet = findDotnet();

/**
 * Why the tests against the reference bridge are skipped here; false where they run. Pass it as a test's `skip`.
 * CI insists on them: without the .NET SDK they fail there.
 */
export const noDotnet: string | false =
  hasDotnet || process.env.CI === 'true' ? false : 'no .NET SDK (dotnet) on this machine';

export interface ReferenceBridgeOptions {
  /** 0 (the default) takes a free one. */
  port?: number;
  /** Offers MessagePack beside JSON, with the members that JSON has. */
  messagePack?: boolean;
  /** Lets a connection go on after a lost transport. */
  statefulReconnects?: boolean;
  /** URL of the Redis over which several bridges share their broadcasts. */
  backplane?: string;
  /** URL of the Redis whose four streams are read, shown and acknowledged as the first attempt at the migration did. */
  streamConsumer?: string;
  /** URL of the Redis in which presence keys are kept. */
  presence?: string;
  /** How long each broadcast call waits before it sends, in ms; slow() changes it later. */
  slowMs?: number;
  /** Lets slow() work. */
  testSwitches?: boolean;
  /** Ids of requests and sessions whose join throws, or returns without joining and without its confirmation. */
  refuse?: {
    throwing?: string[];
    silent?: string[] /** Whose connect is aborted before any join. */;
    users?: string[];
  };
}

/** @throws where the .NET SDK is missing although CI insists on it */
export async function startReferenceBridge(
  t: TestContext,
  options: ReferenceBridgeOptions = {},
): Promise<ReferenceBridge> {
  if (!hasDotnet) throw new Error('CI insists on the .NET SDK (dotnet), which this machine lacks');
  const program = join(await buildDotnet(sources, outputs), 'ReferenceBridge.dll');
  const bridge = new ReferenceBridge(program, options);
  t.after(() => bridge.kill());
  await bridge.start();
  return bridge;
}

export class ReferenceBridge {
  readonly #program: string;
  readonly #options: ReferenceBridgeOptions;
  #port: number;
  #child: ChildProcess | undefined;
  #exited: Promise<unknown> | undefined;

  constructor(program: string, options: ReferenceBridgeOptions) {
    this.#program = program;
    this.#options = options;
    this.#port = options.port ?? 0;
  }

  /** `http://host:port` */
  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  get pid(): number {
    return this.#child!.pid!;
  }

  async start(): Promise<void> {
    const child = spawn('dotnet', [this.#program], {
      env: { ...process.env, ...environment(this.#options), ASPNETCORE_URLS: this.url },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    this.#exited = new Promise((resolve) => child.once('exit', resolve));
    this.#port = await listeningPort(child);
  }

  /** As `kill -9`: every connection ends abruptly. */
  async kill(): Promise<void> {
    this.#child?.kill('SIGKILL');
    await this.#exited;
  }

  /** On the same port and with the same switches; it remembers nothing of what was before. */
  async restart(): Promise<void> {
    await this.kill();
    await this.start();
  }

  /**
   * Makes later broadcast calls wait before they send, until it is said otherwise (or the bridge restarts).
   * @param method a hub method to slow down in their stead; `connect` is every hub's connect, with its joins
   */
  async slow(ms: number, method?: string): Promise<void> {
    const response = await fetch(`${this.url}/test/slow`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ms, method }),
    });
    if (!response.ok) throw new Error(`POST /test/slow was answered ${response.status}; is testSwitches on?`);
  }
}

function environment(options: ReferenceBridgeOptions): Record<string, string> {
  const {
    messagePack,
    statefulReconnects,
    backplane,
    streamConsumer,
    presence,
    slowMs,
    testSwitches,
    refuse = {},
  } = options;
  return {
    BRIDGE_API_KEY: apiKey,
    BRIDGE_JWT_SECRET: jwtSecret,
    // Of several: only then does ASP.NET say `Vary: Origin`, as the recorded bridge does.
    BRIDGE_ORIGINS: `${allowedOrigin},http://localhost:3000`,
    BRIDGE_MESSAGEPACK: messagePack ? '1' : '',
    BRIDGE_STATEFUL: statefulReconnects ? '1' : '',
    BRIDGE_TEST_SWITCHES: testSwitches ? '1' : '',
    BRIDGE_SLOW_MS: String(slowMs ?? 0),
    BRIDGE_REFUSE_THROW: (refuse.throwing ?? []).join(','),
    BRIDGE_REFUSE_SILENT: (refuse.silent ?? []).join(','),
    BRIDGE_REFUSE_USERS: (refuse.users ?? []).join(','),
    ...(backplane && { BRIDGE_BACKPLANE: inStackExchangeForm(backplane) }),
    ...(presence && { BRIDGE_PRESENCE: inStackExchangeForm(presence) }),
    ...(streamConsumer && { BRIDGE_STREAM_CONSUMER: inStackExchangeForm(streamConsumer) }),
  };
}

/** StackExchange.Redis knows no `redis://`; without `abortConnect=false` it gives up where Redis is away at first. */
function inStackExchangeForm(redisUrl: string): string {
  const { host, password } = new URL(redisUrl);
  return `${host},abortConnect=false${password && `,password=${decodeURIComponent(password)}`}`;
}

async function listeningPort(child: ChildProcess): Promise<number> {
  let output = '';
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  const findUrl = () => /^listening (\S+)$/m.exec(output)?.[1];
  const what = () => `the reference bridge to listen\n${output}`;
  const url = await until(() => findUrl() ?? (child.exitCode !== null && 'none'), { timeoutMs: startTimeoutMs, what });
  if (url === 'none') throw new Error(`the reference bridge ended before it listened\n${output}`);
  return Number(new URL(url).port);
}

function findDotnet(): boolean {
  try {
    execFileSync('dotnet', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
