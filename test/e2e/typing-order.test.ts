// One user's typing whose calls alternate over two replicas faster than their windows end: the last state that was accepted is the
// last that every reader is shown.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { call, startBridge } from '../support/bridge.ts';
import { randomFrom } from '../support/ledger/random.ts';
import type { Crossfade } from '../support/process.ts';
import { startRedis } from '../support/redis.ts';
import type { HubClient } from '../support/signalr.ts';
import { until } from '../support/wait.ts';
import { broadcast, command, force } from './operating.ts';
import { join, patient, startSidecar } from './sidecar.ts';

const rounds = 200;
const atOnce = 20;
const rooms = Array.from({ length: rounds }, (_, round) => `room-${round}`);

interface Shown {
  requestId: string;
  userId: string;
  isTyping: boolean;
}

let calls = 0;

async function type({ listen }: Crossfade, room: string, user: string, isTyping: boolean): Promise<void> {
  const body = { event_id: `typing-${++calls}`, request_id: room, user_id: user, is_typing: isTyping };
  assert.deepEqual(await call(listen, 'chat/typing', body), broadcast);
}

/** Two to six states, each accepted before the next, 0-20 ms apart. @returns the last one */
async function playRound(replicas: Crossfade[], room: string, random: () => number): Promise<boolean> {
  let isTyping = random() < 0.5;
  const count = 2 + Math.floor(random() * 5);
  for (let i = 0; i < count; i++) {
    if (i > 0) await sleep(random() * 20);
    isTyping = !isTyping;
    await type(replicas[i % 2]!, room, 'ada', isTyping);
  }
  // Behind whatever waits in the windows of either replica.
  for (const [n, replica] of replicas.entries()) await type(replica, room, `barrier-${n}`, true);
  return isTyping;
}

async function playAll(replicas: Crossfade[], readers: HubClient[], seed: number): Promise<string[]> {
  const random = randomFrom(seed);
  for (const reader of readers) for (const room of rooms) await reader.connection.invoke('JoinRoom', room);
  const accepted = new Map<string, boolean>();
  for (let from = 0; from < rounds; from += atOnce) {
    const some = rooms.slice(from, from + atOnce);
    await Promise.all(some.map(async (room) => accepted.set(room, await playRound(replicas, room, random))));
  }
  const wrong: string[] = [];
  for (const [n, reader] of readers.entries()) {
    const shown = () => reader.of('TypingIndicator').map(({ args }) => args[0] as Shown);
    const barriers = () => new Set(shown().map(({ requestId, userId }) => `${requestId} ${userId}`)).size;
    await until(() => barriers() === 3 * rounds, {
      timeoutMs: 15_000,
      what: () => `all rooms, of which ${barriers()}`,
    });
    for (const room of rooms) {
      const states = shown().filter(({ requestId, userId }) => requestId === room && userId === 'ada');
      if (states.at(-1)?.isTyping === accepted.get(room)) continue;
      wrong.push(`reader ${n}, ${room}: ${states.map(({ isTyping }) => isTyping)}, not ${accepted.get(room)}`);
    }
  }
  return wrong;
}

test('typing through two replicas ends in the state that was accepted last', async (t) => {
  const redis = await startRedis(t);
  const flags = [...patient, '--redis', redis.url, '--publish-timeout', '5000'];
  const replicas = await Promise.all([startSidecar(t, flags), startSidecar(t, flags)]);
  const readers = await Promise.all(replicas.map(({ edge }, n) => join(t, edge, 'chat', `reader-${n}`)));
  assert.deepEqual(await playAll(replicas, readers, 1), []);
});

test('so it does while rooms change lane', async (t) => {
  const redis = await startRedis(t);
  const flags = [...patient, '--redis', redis.url, '--bridge', (await startBridge(t)).url, '--publish-timeout', '5000'];
  const replicas = await Promise.all([startSidecar(t, flags), startSidecar(t, flags)]);
  await force(replicas[0]!, 100);
  const readers = await Promise.all(replicas.map(({ edge }, n) => join(t, edge, 'chat', `reader-${n}`)));
  let walks = true;
  const walking = (async () => {
    for (let n = 0; walks; n++) {
      await command(replicas[n % 2]!, { percent: [0, 100, 30, 70, 100][n % 5], force: true });
      await sleep(50);
    }
  })();
  t.after(() => {
    walks = false;
  });
  const wrong = await playAll(replicas, readers, 2);
  walks = false;
  await walking;
  assert.deepEqual(wrong, []);
});
