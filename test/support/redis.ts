// A real Redis of a test's own: on a free port of loopback, in a directory of its own, gone when the test ends.
// It can be killed, restarted with or without its data, and held still; all by its own pid.

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { Redis as Client } from 'ioredis';
import { until } from './wait.ts';

export interface RedisOptions {
  /** How soon the append-only file is on disk; `no` keeps none at all. */
  appendfsync?: 'always' | 'everysec' | 'no';
  password?: string;
}

export class Redis {
  readonly port: number;
  readonly url: string;
  readonly #t: TestContext;
  readonly #dir: string;
  readonly #options: RedisOptions;
  #process: ChildProcess | undefined;

  constructor(t: TestContext, port: number, options: RedisOptions) {
    this.#t = t;
    this.port = port;
    this.#options = options;
    this.url = `redis://${options.password === undefined ? '' : `:${options.password}@`}127.0.0.1:${port}`;
    this.#dir = mkdtempSync(join(tmpdir(), 'crossfade-redis-'));
  }

  get pid(): number {
    return this.#process!.pid!;
  }

  async start(): Promise<void> {
    const { appendfsync = 'no', password } = this.#options;
    const persistence =
      appendfsync === 'no' ? ['--appendonly', 'no'] : ['--appendonly', 'yes', '--appendfsync', appendfsync];
    const secret = password === undefined ? [] : ['--requirepass', password];
    const place = ['--port', String(this.port), '--bind', '127.0.0.1', '--dir', this.#dir, '--save', ''];
    const child = spawn('redis-server', [...place, ...persistence, ...secret], { stdio: 'ignore' });
    this.#process = child;
    const client = this.client();
    await until(() => client.ping().catch(() => undefined), { what: 'Redis to answer' });
  }

  /** A client that ends with the test. */
  client(): Client {
    const { password } = this.#options;
    const place = { host: '127.0.0.1', port: this.port, ...(password !== undefined && { password }) };
    const client = new Client({ ...place, retryStrategy: () => 20, maxRetriesPerRequest: null });
    client.on('error', () => {});
    this.#t.after(() => client.disconnect());
    return client;
  }

  async kill9(): Promise<void> {
    const child = this.#process!;
    const exited = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGCONT');
    child.kill('SIGKILL');
    await exited;
  }

  async restart({ empty = false } = {}): Promise<void> {
    if (empty) rmSync(join(this.#dir, 'appendonlydir'), { recursive: true, force: true });
    await this.start();
  }

  pause(): void {
    this.#process!.kill('SIGSTOP');
  }

  resume(): void {
    this.#process!.kill('SIGCONT');
  }

  async end(): Promise<void> {
    if (this.#process!.exitCode === null && this.#process!.signalCode === null) await this.kill9();
    rmSync(this.#dir, { recursive: true, force: true });
  }
}

export async function startRedis(t: TestContext, options: RedisOptions = {}): Promise<Redis> {
  const redis = new Redis(t, await freePort(), options);
  t.after(() => redis.end());
  await redis.start();
  return redis;
}

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}
