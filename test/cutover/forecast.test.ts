// What a change would move, out of who is in which group at each replica.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addForecasts, forecastHere } from '../../src/cutover/forecast.ts';
import { countTogether, keptHashes, sketchHash, sketchOf } from '../../src/cutover/sketch.ts';
import type { Member } from '../../src/edge/audience.ts';
import { Groups } from '../../src/edge/groups.ts';
import { bucketOf } from '../../src/rooms/bucket.ts';
import { initialState } from '../../src/rooms/state.ts';

const contract = {
  roomOf: (_hub: string, group: string) => (group.startsWith('of:') ? group.slice(3) : undefined),
};
const sketchOfNames = (names: string[]) => sketchOf(names.map(sketchHash));
const change = { from: initialState, to: { ...initialState, percent: 25 } };

test('rooms and connections are counted once, wherever and in however many groups they are', async () => {
  const replicas = [new Groups(), new Groups()];
  const member = () => ({}) as Member;
  const [inAll, alone] = [member(), member()];
  const rooms = Array.from({ length: 400 }, (_, n) => `room-${n}`);
  const moving = rooms.filter((room) => bucketOf(room) < 25);
  for (const room of rooms) {
    replicas[0]!.join('chat', `of:${room}`, inAll);
    replicas[1]!.join('chat', `of:${room}`, member());
    replicas[1]!.join('ticket', `of:${room}`, member());
  }
  replicas[0]!.join('chat', 'of nobody', alone);
  replicas[0]!.join('chat', `of:${moving[0]}`, alone);
  const forecasts = await Promise.all(replicas.map((groups) => forecastHere({ groups, contract }, change)));
  assert.deepEqual(addForecasts(forecasts), {
    rooms: { known: 400, moving: moving.length, exact: true },
    connections: { known: 2 + 800, moving: 2 + 2 * moving.length },
    biggest: { room: moving[0], connections: 2 },
  });
});

test('more rooms than a sketch keeps are counted within 1%, and a sketch stays small', () => {
  const names = (from: number, to: number) => Array.from({ length: to - from }, (_, n) => `room-${from + n}`);
  const sketches = [names(0, 60_000), names(30_000, 90_000), names(80_000, 120_000)].map(sketchOfNames);
  const { count, exact } = countTogether(sketches);
  assert.equal(exact, false);
  assert.ok(Math.abs(count - 120_000) < 1_200, `${count}`);
  for (const sketch of sketches) assert.ok(sketch.length <= keptHashes * 8);
  assert.deepEqual(countTogether([sketchOfNames(names(0, 500)), sketchOfNames(names(250, 700))]), {
    count: 700,
    exact: true,
  });
});
