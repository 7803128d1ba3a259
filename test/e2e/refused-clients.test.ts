// Refused clients of every kind, many of them, against both kinds of hubs: when they are gone, or were told to go, everything
// is as it was before them. CROSSFADE_TEST_REFUSED sets how many come to each; `npm test` takes a tenth of what was promised.

import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { jwtSecret, startBridge } from '../support/bridge.ts';
import type { Crossfade } from '../support/process.ts';
import { noDotnet, startReferenceBridge } from '../support/reference-bridge.ts';
import { makeToken } from '../support/signalr.ts';
import { until } from '../support/wait.ts';
import { join as joinHub, startSidecar } from './sidecar.ts';

const clientCount = Number(process.env.CROSSFADE_TEST_REFUSED ?? 500);
const atATime = 50;
/** What was promised: everything is back within 60 s. */
const backMs = 60_000;
const noProc = existsSync('/proc/net/tcp') ? false : 'no /proc on this machine';

const upgrade =
  'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';
const request = (line: string, headers = '') => `${line} HTTP/1.1\r\nHost: x\r\n${headers}\r\n`;

interface Kind {
  name: string;
  says: string;
  /** What it does once it has its answer; the default is to leave. */
  after?: 'stays' | 'says more' | 'leaves unanswered';
}

async function kinds(): Promise<Kind[]> {
  const expired = await makeToken({ sub: 'u', exp: 1 }, jwtSecret);
  const asked: Kind[] = [
    { name: 'no token', says: request('GET /hubs/chat', upgrade) },
    { name: 'expired', says: request(`GET /hubs/chat?access_token=${expired}`, upgrade) },
    { name: 'wrong path', says: request('GET /nowhere', upgrade) },
    { name: 'wrong hub', says: request('GET /hubs/nothing', upgrade) },
    { name: 'with a body', says: request('GET /hubs/chat', `${upgrade}Content-Length: 9\r\n`) },
    { name: 'negotiates without a token', says: request('POST /hubs/chat/negotiate', 'Content-Length: 0\r\n') },
    { name: 'negotiates with an expired token', says: request(`POST /hubs/chat/negotiate?access_token=${expired}`) },
    { name: 'asks for a wrong path', says: request('GET /nowhere') },
    { name: 'polls', says: request('GET /hubs/chat?id=nothing') },
    { name: 'posts half a body', says: `${request('POST /hubs/chat?id=nothing', 'Content-Length: 9\r\n')}half` },
    { name: 'asks for too much', says: request(`GET /hubs/chat?${'a&'.repeat(200)}`, upgrade) },
    { name: 'upgrades behind a request', says: request('GET /hubs/chat') + request('GET /hubs/chat', upgrade) },
  ];
  const unanswered: Kind = {
    name: 'half a request',
    says: 'GET /hubs/chat HTTP/1.1\r\nHost: x\r\n',
    after: 'leaves unanswered',
  };
  return [
    ...asked,
    ...asked.map((kind) => ({ ...kind, name: `${kind.name}, stays`, after: 'stays' as const })),
    ...asked.map((kind) => ({ ...kind, name: `${kind.name}, says more`, after: 'says more' as const })),
    ...asked.map((kind) => ({ ...kind, name: `${kind.name}, hurries`, after: 'leaves unanswered' as const })),
    unanswered,
    { ...unanswered, name: 'half a request, stays', after: 'stays' },
  ];
}

/** @returns a client that has been refused, or has left; `stays` keeps its side open whatever the server does */
function refusedClient(t: TestContext, url: string, { name, says, after }: Kind): Promise<Socket> {
  const socket = connect({ port: Number(new URL(url).port), host: '127.0.0.1', allowHalfOpen: true });
  t.after(() => socket.destroy());
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  const isAnswered = () => socket.bytesRead > 0 || socket.readableEnded || socket.closed;
  const go = () => {
    if (after === 'says more') socket.end('x');
    else if (after !== 'stays') socket.end();
    resolve(socket);
  };
  socket.on('error', () => {}).resume();
  socket.once('connect', () => {
    socket.write(says);
    if (after === 'leaves unanswered') socket.end();
    if (after === 'leaves unanswered' || name.startsWith('half a request')) resolve(socket);
    else until(isAnswered, { timeoutMs: 30_000, what: `the refusal of: ${name}` }).then(go, reject);
  });
  return promise;
}

async function refuseAll(t: TestContext, { edge }: Crossfade, count: number): Promise<void> {
  const all = await kinds();
  for (let from = 0; from < count; from += atATime) {
    const some = Array.from({ length: Math.min(atATime, count - from) }, (_, i) => all[(from + i) % all.length]!);
    await Promise.all(some.map((kind) => refusedClient(t, edge, kind)));
  }
}

const descriptorsOf = (pid: number) => readdirSync(`/proc/${pid}/fd`).length;

/** Connections that the server of this port has, as the kernel knows them. */
function connectionsAt(url: string): number {
  const port = Number(new URL(url).port).toString(16).toUpperCase().padStart(4, '0');
  const sockets = ['/proc/net/tcp', '/proc/net/tcp6'].filter(existsSync).flatMap((file) => {
    return readFileSync(file, 'latin1').split('\n').slice(1, -1);
  });
  const [established, closeWait] = ['01', '08'];
  const isOpen = (state: string | undefined) => state === established || state === closeWait;
  return sockets
    .map((line) => line.trim().split(/\s+/))
    .filter(([, local, , state]) => local!.endsWith(`:${port}`) && isOpen(state)).length;
}

/** The edge's connections and the faults, each with its labels. */
async function metricsOf({ admin }: Crossfade): Promise<string[]> {
  const text = await (await fetch(`${admin}/metrics`)).text();
  return text.split('\n').filter((line) => /^crossfade_(edge_connections|faults_total|held_messages)[ {]/.test(line));
}

async function leaveNothingBehind(t: TestContext, crossfade: Crossfade, bridgeUrl: string | undefined): Promise<void> {
  const { pid } = crossfade.process;
  const atBridge = () => (bridgeUrl === undefined ? 0 : connectionsAt(bridgeUrl));
  // One of each that has an answer first: what is opened once and kept is there then.
  const back = { timeoutMs: backMs, what: () => `${descriptorsOf(pid)} descriptors, ${atBridge()} connections` };
  const idle = descriptorsOf(pid);
  await refuseAll(t, crossfade, (await kinds()).length - 2);
  await until(() => descriptorsOf(pid) <= idle && atBridge() === 0, back);
  const before = await metricsOf(crossfade);

  await refuseAll(t, crossfade, clientCount);
  await until(() => descriptorsOf(pid) <= idle && atBridge() === 0, back);
  assert.deepEqual(await metricsOf(crossfade), before);
  assert.equal(crossfade.process.exit, undefined);
  const { connection } = await joinHub(t, crossfade.edge, 'chat', 'u1');
  assert.equal(await connection.invoke('JoinRoom', 'r'), null);
}

test('refused clients leave nothing behind', { skip: noProc, concurrency: true }, async (t) => {
  await Promise.all([
    t.test('neither here nor at the bridge, where hubs are proxied', async (t) => {
      const { url } = noDotnet ? await startBridge(t) : await startReferenceBridge(t);
      await leaveNothingBehind(t, await startSidecar(t, ['--bridge', url]), url);
    }),
    t.test('where hubs are native', async (t) => {
      const dataDir = mkdtempSync(join(tmpdir(), 'crossfade-refused-'));
      t.after(() => rmSync(dataDir, { recursive: true }));
      await leaveNothingBehind(t, await startSidecar(t, ['--data-dir', dataDir]), undefined);
    }),
  ]);
});
