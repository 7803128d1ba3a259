// One client with a token that means harm, in a thread of its own so that whoever measures is not held up by it: in comes an attack
// by name, out goes how many connections it was worth. An attack is what its client sends behind the handshake; when the
// connection is closed, or has sent all, the next one begins, until the time is over.

import { setTimeout as sleep } from 'node:timers/promises';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { WebSocket } from 'ws';

const separator = '\x1e';
const megabyte = 'x'.repeat(1_000_000);

function invocation(target: string, ...args: unknown[]): string {
  return JSON.stringify({ type: 1, target, arguments: args }) + separator;
}

function many(count: number, one: (n: number) => string): string[] {
  return Array.from({ length: count }, (_, n) => one(n));
}

/** The messages of each attack. */
const attacks = {
  // Native hubs.
  'read receipts, 40,000 in a message': () => [many(40_000, (n) => invocation('MarkRead', 'r', [`m${n}`])).join('')],
  'read receipts, 4,000 in a message': () => [many(4_000, (n) => invocation('MarkRead', 'r', [`m${n}`])).join('')],
  'one record of a million values': () => [invocation('MarkRead', 'r', Array(500_000).fill(1))],
  'one read receipt of a million ids': () => [invocation('MarkRead', 'r', Array(340_000).fill(''))],
  'nothing but separators, 16 MiB': () => [separator.repeat(16 * 1024 * 1024)],
  'nothing but separators, 4,000 at a time': () => many(100, () => separator.repeat(4_000)),
  'pings, 1.4 million': () => [`{"type":6}${separator}`.repeat(1_400_000)],
  'typing in 45,000 rooms': () => [many(45_000, (n) => invocation('SendTyping', `r${n}`, true)).join('')],
  'typing in 190 rooms': () => [many(190, (n) => invocation('SendTyping', `r${n}`, true)).join('')],
  'typing in rooms of 1 MB': () => many(300, (n) => invocation('SendTyping', `${megabyte}${n}`, true)),
  'joins of rooms of 1 MB': () => many(150, (n) => invocation('JoinRoom', `${megabyte}${n}`)),
  'joins of 200,000 rooms': () =>
    many(50, (m) => many(4_000, (n) => invocation('JoinRoom', `room-${m}-${n}`)).join('')),
  'offers of 1 MB': () => many(600, () => invocation('SendSdpOffer', 'nobody', megabyte)),
  // Proxied hubs.
  'typing in 3,000 rooms': () => [many(3_000, (n) => invocation('SendTyping', `r${n}`, true)).join('')],
  'typing in 400 rooms, again and again': () =>
    many(40, (m) => many(400, (n) => invocation('SendTyping', `r${m}-${n}`, true)).join('')),
  'a record of 14 million brackets': () => [
    `{"type":1,"target":"SendTyping","arguments":[${'['.repeat(7_000_000)}${']'.repeat(7_000_000)}]}${separator}`,
  ],
};

export type Attack = keyof typeof attacks;

interface Order {
  hubUrl: string;
  token: string;
  attack: Attack;
  ms: number;
}

/** Resolves with the number of connections when the time is over, and all of them are gone. */
export function runAttack(order: Order): Promise<number> {
  const worker = new Worker(new URL(import.meta.url), { workerData: order });
  return new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
}

async function attackForAWhile({ hubUrl, token, attack, ms }: Order): Promise<number> {
  const messages = attacks[attack]().map((text) => Buffer.from(text));
  const endsAt = performance.now() + ms;
  let connections = 0;
  while (performance.now() < endsAt) {
    connections++;
    await attackOnce(hubUrl, token, messages, endsAt);
  }
  return connections;
}

async function attackOnce(hubUrl: string, token: string, messages: Buffer[], endsAt: number): Promise<void> {
  const url = new URL(hubUrl.replace('http', 'ws'));
  url.searchParams.set('access_token', token);
  const socket = new WebSocket(url, { perMessageDeflate: false });
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  socket.on('error', () => socket.terminate());
  socket.once('open', () => {
    socket.send(`{"protocol":"json","version":1}${separator}`);
    for (const message of messages) socket.send(message, { binary: false });
    // Answered when everything before it was handled.
    socket.send(`{"type":1,"invocationId":"last","target":"Nope","arguments":[]}${separator}`);
  });
  const answered = new Promise<void>((resolve) => {
    socket.on('message', (data) => {
      if (data.toString().includes('"invocationId":"last"')) resolve();
    });
  });
  await Promise.race([closed, answered, sleep(Math.max(0, endsAt - performance.now()))]);
  socket.terminate();
  await closed;
}

if (!isMainThread) parentPort!.postMessage(await attackForAWhile(workerData as Order));
