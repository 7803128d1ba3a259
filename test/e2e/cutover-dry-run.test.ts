// A dry run against running replicas: what it says would move is what moves, and it changes nothing itself.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DryRun } from '../../src/cutover/dry-runs.ts';
import { bucketOf } from '../../src/rooms/bucket.ts';
import { startBridge } from '../support/bridge.ts';
import { startRedis } from '../support/redis.ts';
import { until } from '../support/wait.ts';
import { command, cutover, metricOf, say, stateOf } from './operating.ts';
import { join, patient, startSidecar } from './sidecar.ts';

const users = Array.from({ length: 8 }, (_, n) => `user-${n}`);
const rooms = Array.from({ length: 240 }, (_, n) => `room-${n}`);
/** Neighbours share half of their rooms, so that many have members at both replicas. */
const roomsOf = (user: number) => Array.from({ length: 60 }, (_, n) => rooms[(user * 30 + n) % rooms.length]!);

function within1Percent(found: number, actual: number, what: string): void {
  assert.ok(Math.abs(found - actual) <= actual / 100, `${what}: ${found} of ${actual}`);
}

test('what a dry run says would move, moves: rooms and connections to 1%', async (t) => {
  const flags = ['--redis', (await startRedis(t)).url, '--bridge', (await startBridge(t)).url, ...patient];
  const replicas = [await startSidecar(t, flags), await startSidecar(t, flags)] as const;
  const [asked] = replicas;
  for (const [n, user] of users.entries()) {
    const client = await join(t, replicas[n % 2]!.edge, 'chat', user);
    await Promise.all(roomsOf(n).map((room) => client.connection.invoke('JoinRoom', room)));
  }
  await until(async () => (await stateOf(asked)).replicas.length === 2, { what: 'both to know each other' });
  const before = await stateOf(asked);

  const { status, body } = await command(asked, { percent: 30, dryRun: true });
  const { moves, possible, fences } = body as unknown as DryRun;
  assert.deepEqual([status, possible, fences], [200, true, users.length], JSON.stringify(body));
  const { epoch, percent, history } = await stateOf(asked);
  assert.deepEqual([epoch, percent, history], [before.epoch, 0, []], 'nothing is changed');

  // A user is a room of its own for what is sent to that user alone.
  const isMoving = (room: string) => bucketOf(room) < 30;
  within1Percent(moves.rooms.known, rooms.length + users.length, 'rooms');
  within1Percent(moves.rooms.moving, [...rooms, ...users].filter(isMoving).length, 'moving rooms');
  assert.equal(moves.connections.known, users.length);
  const movingUsers = users.filter((user, n) => [user, ...roomsOf(n)].some(isMoving));
  within1Percent(moves.connections.moving, movingUsers.length, 'moving connections');

  assert.equal((await command(asked, { percent: 30, force: true, ifEpoch: epoch })).status, 200);
  for (const room of rooms) await say(asked, room, 'hello');
  const labels = (transport: string) => `{transport="${transport}",event_type="chat_message",status="success"}`;
  const byStream = await metricOf(asked, `events_published_total${labels('redis_streams')}`);
  within1Percent(moves.rooms.moving - users.filter(isMoving).length, byStream, 'rooms that have moved');
});

test('the command line says what would be refused, exits 1, and names the bound command where it would not', async (t) => {
  const flags = ['--redis', (await startRedis(t)).url, '--bridge', (await startBridge(t)).url];
  const sidecar = await startSidecar(t, flags);
  const words = (...words: string[]) => cutover(t, [...words, '--admin', sidecar.admin]);
  await words('hold', 'lunch', '--by', 'ada');
  const refused = await words('set', '25', '--dry-run', '--force');
  assert.deepEqual([refused.code, refused.stderr], [1, '']);
  assert.match(
    refused.stdout,
    /it would be refused\n[\s\S]*× hold +ada holds the cutover since .*: lunch\n +→ crossfade cutover release\n/,
  );
  assert.match(refused.stdout, /\nnothing was changed\n$/);
  await words('release');
  const { epoch } = await stateOf(sidecar);
  const possible = await words('pin', 'a room', 'stream', '--dry-run', '--force');
  assert.equal(possible.code, 0);
  const next = `crossfade cutover pin 'a room' stream --force --if-epoch ${epoch} --admin ${sidecar.admin}`;
  assert.ok(possible.stdout.endsWith(`next  ${next}\n`), possible.stdout);
  assert.match((await words('rollback', '--dry-run')).stdout, /√ order +through the log/);
  const { percent, history } = await stateOf(sidecar);
  assert.deepEqual([percent, history.map(({ what }) => what)], [0, ['hold', 'release']]);
});
