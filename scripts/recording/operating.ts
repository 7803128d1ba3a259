// Writes the terminal sessions of docs/operating.md and README.md anew, and docs/sessions.svg: a running system (Redis, a bridge, two replicas, clients in
// rooms, a backend at work), and the commands of an operator. What stands in the pages is what the commands printed.
// Needs redis-server and port 7402; without the .NET SDK the toy bridge stands in. Run: node scripts/recording/operating.ts

import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { join, patient, startSidecar } from '../../test/e2e/sidecar.ts';
import { apiKey, call, startBridge } from '../../test/support/bridge.ts';
import { startRedis } from '../../test/support/redis.ts';
import { noDotnet, startReferenceBridge } from '../../test/support/reference-bridge.ts';
import { svg } from './svg.ts';
import { writePage } from './write-page.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const pages = ['docs/operating.md', 'README.md'];
const admin = '127.0.0.1:7402';
const rooms = Array.from({ length: 400 }, (_, n) => `request-${n + 1}`);
const users = Array.from({ length: 60 }, (_, n) => `user-${n + 1}`);
const roomsPerUser = 20;
const betweenCallsMs = 15;
const settleMs = 11_000;
const watchedBlocks = 2;
/** Sessions that the picture shows, one after the other. */
const pictured = ['check', 'hold', 'watch'];
const readMs = 7_000;

/** Name of the place in a page -> what is typed; `{epoch}` is that of the last dry run. */
const sessions: [name: string, commands: string[]][] = [
  ['check-pre', ['crossfade check --pre']],
  ['check', ['crossfade check']],
  ['mirror', ['crossfade cutover mirror 10 --by ada --why "what does the log cost?"']],
  ['dry-run', ['crossfade cutover set 25 --dry-run']],
  ['set', ['crossfade cutover set 25 --if-epoch {epoch} --by ada']],
  ['hold', ['crossfade cutover hold "the evening shift decides" --by ada', 'crossfade cutover set 50']],
  ['watch', ['crossfade cutover show --watch']],
  ['release', ['crossfade cutover release --by bob']],
  [
    'rollback',
    ['crossfade cutover rollback --dry-run', 'crossfade cutover rollback --by bob --why "end of the trial"'],
  ],
];

const cleanups: (() => unknown)[] = [];
const context = { after: (run: () => unknown) => cleanups.unshift(run) } as unknown as TestContext;

try {
  const redis = await startRedis(context, { appendfsync: 'always' });
  const bridge = noDotnet ? await startBridge(context) : await startReferenceBridge(context);
  const env = { INTERNAL_API_KEY: apiKey, REDIS_URL: redis.url, CROSSFADE_BRIDGE: bridge.url };
  const recorded = new Map<string, string>();
  const record = async (name: string, commands: string[]) => {
    const texts: string[] = [];
    for (const command of commands) texts.push(await type(command, env, [...recorded.values(), ...texts].join('\n')));
    recorded.set(name, texts.join('\n'));
  };
  const [before, ...rest] = sessions;
  await record(...before!);
  // The machine that records is no machine that serves: a slow moment of it is no failing log.
  const flags = ['--redis', redis.url, '--bridge', bridge.url, ...patient];
  const one = await startSidecar(context, [...flags, '--instance', 'one', '--admin', admin]);
  const two = await startSidecar(context, [...flags, '--instance', 'two']);
  for (const [n, user] of users.entries()) {
    const { connection } = await join(context, [one, two][n % 2]!.edge, 'chat', user);
    await Promise.all(
      Array.from({ length: roomsPerUser }, (_, m) => connection.invoke('JoinRoom', rooms[(n * 7 + m) % rooms.length]!)),
    );
  }
  cleanups.unshift(work(one.listen));
  await sleep(settleMs);
  for (const session of rest) {
    await record(...session);
    // What it has changed shows in the rates of the lanes.
    await sleep(settleMs);
  }
  for (const page of pages) writePage(`${root}${page}`, recorded);
  writeFileSync(`${root}docs/sessions.svg`, pictureOf(pictured.map((name) => recorded.get(name)!)));
} finally {
  for (const run of cleanups) await run();
}

/** @returns ends it */
function work(listen: string): () => void {
  let n = 0;
  const timer = setInterval(() => {
    const room = rooms[n % rooms.length]!;
    const id = `event-${n++}`;
    const message = { id, requestId: room, content: 'hello', createdAt: '2026-01-16T10:30:00Z' };
    call(listen, 'chat/message', { event_id: id, request_id: room, message }).catch(() => {});
  }, betweenCallsMs);
  return () => clearInterval(timer);
}

/** @returns the command as it is typed, and what it printed */
async function type(command: string, env: Record<string, string>, before: string): Promise<string> {
  const epoch = /--if-epoch (\d+)/g;
  const last = [...before.matchAll(epoch)].at(-1)?.[1] ?? '';
  const typed = command.replace('{epoch}', last);
  const shell = typed.replace(/^crossfade/, `'${process.execPath}' '${root}bin/crossfade.mjs'`);
  const { PATH = '', HOME = '' } = process.env;
  const child = spawn('bash', ['-c', `exec ${shell}`], { env: { PATH, HOME, ...env } });
  let printed = '';
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      printed += text;
      if (typed.endsWith('--watch') && printed.split('\n\nbridge ').length > watchedBlocks) child.kill();
    });
  }
  // 126 and 127 are the shell's: it could not start it.
  if (((await ended) ?? 0) > 2) throw new Error(`${typed}: ${printed}`);
  const shown = typed.endsWith('--watch')
    ? printed.split('\n\nbridge ').slice(0, watchedBlocks).join('\n\nbridge ')
    : printed;
  return `$ ${typed}\n${shown.trimEnd()}\n`;
}

/** A screen for each command; what is redrawn is a screen anew. */
function pictureOf(shown: string[]): string {
  const screens = shown.flatMap((session) => session.trimEnd().split(/\n\n(?=\$ |bridge )/));
  const lines = screens.map((screen) => screen.split('\n'));
  const height = Math.max(...lines.map(({ length }) => length));
  const frames = lines.map((rows, index) => ({
    at: index * readMs,
    rows: Array.from({ length: height }, (_, row) => rows[row] ?? ''),
  }));
  const columns = Math.max(...lines.flat().map(({ length }) => length));
  return svg({ title: 'crossfade check, cutover hold, cutover show --watch', columns, frames, restMs: readMs });
}
