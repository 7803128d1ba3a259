// What is compared: each system is started as processes of its own, with a Redis of its own where it uses one. Out go its wire, and the
// processes whose CPU and memory count.

import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { SignalRWire } from '../src/bench/signalr.ts';
import type { Wire } from '../src/bench/wire.ts';
import { atPercent, patient, secrets } from '../test/e2e/sidecar.ts';
import { apiKey, jwtSecret } from '../test/support/bridge.ts';
import { Running, startCrossfade } from '../test/support/process.ts';
import { freePort, type Redis, startRedis } from '../test/support/redis.ts';
import { noDotnet, startReferenceBridge } from '../test/support/reference-bridge.ts';
import { until } from '../test/support/wait.ts';
import { type RequestsTransport, RequestsWire } from './requests-wire.ts';
import { FloorWire, NchanWire, SocketIoWire, SpreadWire } from './wires.ts';

export interface UnderLoad {
  wire: Wire;
  /** By the name of the part: `server` is what stands where crossfade stands. */
  pids: Record<string, number[]>;
}

export interface System {
  name: string;
  /** Has no clients: only its calls are measured. */
  isDeaf?: boolean;
  /** Why it cannot be run here; false where it can. */
  missing?: string | false;
  start(t: TestContext): Promise<UnderLoad>;
}

export interface Replicas {
  /** 1 where it is not given. */
  replicas?: number;
  /** WebSockets where it is not given. */
  transport?: 'WebSockets' | RequestsTransport;
  /** More flags of `serve`. */
  flags?: string[];
}

const servers = fileURLToPath(new URL('servers/', import.meta.url));
const nchanModule = '/usr/lib/nginx/modules/ngx_nchan_module.so';

export const systems: System[] = [
  { name: 'bridge', missing: noDotnet, start: startBridge },
  { name: 'crossfade native', start: (t) => startNative(t, true) },
  { name: 'crossfade native, embedded', start: (t) => startNative(t, false) },
  { name: 'crossfade proxied 100%', missing: noDotnet, start: (t) => startProxied(t, true, 100) },
  { name: 'crossfade proxied 100%, embedded', missing: noDotnet, start: (t) => startProxied(t, false, 100) },
  { name: 'crossfade proxied 0%', missing: noDotnet, start: (t) => startProxied(t, true, 0) },
  { name: 'socket.io', start: startSocketIo },
  { name: 'nchan', missing: isThere(nchanModule) ? false : 'no libnginx-mod-nchan', start: startNchan },
  { name: 'floor http', isDeaf: true, start: (t) => startFloor(t, false) },
  { name: 'floor xadd', isDeaf: true, start: (t) => startFloor(t, true) },
];

function isThere(file: string): boolean {
  try {
    return readFileSync(file).length > 0;
  } catch {
    return false;
  }
}

async function startBridge(t: TestContext): Promise<UnderLoad> {
  const bridge = await startReferenceBridge(t);
  return { wire: signalR(bridge.url, bridge.url), pids: { server: [bridge.pid] } };
}

async function startNative(t: TestContext, withRedis: boolean): Promise<UnderLoad> {
  return startSidecarWith(t, [], withRedis);
}

async function startProxied(t: TestContext, withRedis: boolean, percent: number): Promise<UnderLoad> {
  const bridge = await startReferenceBridge(t);
  const flags = ['--bridge', bridge.url, '--percent', String(percent)];
  const { wire, pids, admin } = await startSidecarWith(t, flags, withRedis);
  await atPercent({ admin }, percent);
  return { wire, pids: { ...pids, bridge: [bridge.pid] } };
}

/** Crossfade without a bridge, as so many replicas over one Redis; clients are spread over them, calls go to the first. */
export async function startReplicas(
  t: TestContext,
  { replicas = 1, transport = 'WebSockets', flags = [] }: Replicas,
): Promise<UnderLoad> {
  const redis = await startRedis(t);
  const started = await Promise.all(
    Array.from({ length: replicas }, (_, n) =>
      startCrossfade(t, ['--instance', `bench-${n}`, ...patient, '--redis', redis.url, ...flags], secrets),
    ),
  );
  const wires = started.map(({ edge }) => {
    const options = { url: edge, publish: started[0]!.listen, apiKey, jwtSecret };
    return transport === 'WebSockets' ? new SignalRWire(options) : new RequestsWire(options, transport);
  });
  const server = started.map(({ process: { pid } }) => pid);
  return { wire: new SpreadWire(wires), pids: { server, ...redisPid(redis) } };
}

async function startSidecarWith(t: TestContext, flags: string[], withRedis: boolean) {
  const redis = withRedis ? await startRedis(t) : undefined;
  const dir = mkdtempSync(join(tmpdir(), 'crossfade-bench-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const log = redis === undefined ? ['--data-dir', dir] : ['--redis', redis.url];
  const crossfade = await startCrossfade(t, ['--instance', 'bench', ...patient, ...log, ...flags], secrets);
  const pids = { server: [crossfade.process.pid], ...redisPid(redis) };
  return { wire: signalR(crossfade.edge, crossfade.listen), pids, admin: crossfade.admin };
}

async function startSocketIo(t: TestContext): Promise<UnderLoad> {
  const redis = await startRedis(t);
  const { url, pid } = await startServer(t, 'socket-io.js', redis);
  return { wire: new SocketIoWire(url), pids: { server: [pid], ...redisPid(redis) } };
}

async function startFloor(t: TestContext, withRedis: boolean): Promise<UnderLoad> {
  const redis = withRedis ? await startRedis(t) : undefined;
  const { url, pid } = await startServer(t, 'floor.js', redis);
  return { wire: new FloorWire(url), pids: { server: [pid], ...redisPid(redis) } };
}

/** One worker, as every other server here is one process. */
async function startNchan(t: TestContext): Promise<UnderLoad> {
  const redis = await startRedis(t);
  const port = await freePort();
  const dir = mkdtempSync(join(tmpdir(), 'nchan-bench-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  writeFileSync(join(dir, 'nginx.conf'), nginxConfig(dir, port, redis.url));
  const running = runProgram(t, 'nginx', ['-p', dir, '-c', join(dir, 'nginx.conf')]);
  const url = `http://127.0.0.1:${port}`;
  await until(async () => running.exit !== undefined || (await fetch(`${url}/ready`).catch(() => undefined))?.ok, {
    timeoutMs: 10_000,
    what: () => `nginx to answer\n${running.stderr}`,
  });
  if (running.exit !== undefined) throw new Error(`nginx ended\n${running.stderr}`);
  const workers = readFileSync(`/proc/${running.pid}/task/${running.pid}/children`, 'utf8').trim().split(' ');
  return { wire: new NchanWire(url), pids: { server: [running.pid, ...workers.map(Number)], ...redisPid(redis) } };
}

function nginxConfig(dir: string, port: number, redisUrl: string): string {
  return `load_module ${nchanModule};
daemon off;
user root;
worker_processes 1;
pid ${dir}/nginx.pid;
error_log stderr warn;
events { worker_connections 15000; }
http {
  access_log off;
  client_body_temp_path ${dir}/body;
  proxy_temp_path ${dir}/proxy;
  fastcgi_temp_path ${dir}/fastcgi;
  uwsgi_temp_path ${dir}/uwsgi;
  scgi_temp_path ${dir}/scgi;
  keepalive_requests 10000000;
  nchan_max_reserved_memory 256m;
  upstream log { nchan_redis_server ${redisUrl}; }
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location = /ready { return 200; }
    location ~ ^/pub/([\\w-]+)$ {
      nchan_publisher;
      nchan_channel_id $1;
      nchan_message_buffer_length 100;
      nchan_message_timeout 5m;
      nchan_redis_pass log;
    }
    location ~ ^/sub/([\\w-]+)$ {
      nchan_subscriber websocket;
      nchan_channel_id $1;
      nchan_subscriber_first_message newest;
      nchan_redis_pass log;
    }
  }
}
`;
}

async function startServer(t: TestContext, file: string, redis: Redis | undefined) {
  const port = await freePort();
  const ports = [port, ...(redis === undefined ? [] : [redis.port])].map(String);
  const running = runProgram(t, process.execPath, [servers + file, ...ports]);
  await until(() => running.stdout.includes('listening') || running.exit, { timeoutMs: 10_000, what: file });
  if (running.exit !== undefined) throw new Error(`${file} ended\n${running.stderr}`);
  return { url: `http://127.0.0.1:${port}`, pid: running.pid };
}

function runProgram(t: TestContext, program: string, args: string[]): Running {
  const running = new Running(spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] }));
  t.after(() => running.exit ?? running.stop());
  return running;
}

function signalR(url: string, publish: string): SignalRWire {
  return new SignalRWire({ url, publish, apiKey, jwtSecret });
}

function redisPid(redis: Redis | undefined): Record<string, number[]> {
  return redis === undefined ? {} : { redis: [redis.pid] };
}
