// Clients that are connected past crossfade: seen in the metrics at any percent, told of when they miss something.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { watchSurplus } from '../../src/cutover/alarm.ts';
import type { Guard } from '../../src/cutover/guard.ts';
import type { RoomLanes } from '../../src/rooms/room-lanes.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { TestClock } from '../support/clock.ts';
import { logLines } from '../support/log-lines.ts';

function setUp() {
  const clock = new TestClock();
  const metrics = createMetrics();
  const { logger, lines } = logLines();
  const roomLanes = { usesStream: false };
  const log = { reachable: true };
  const bridge: { surplus: number | undefined; reads: number } = { surplus: 1, reads: 0 };
  const guard = {
    async read() {
      bridge.reads++;
      return { ok: false, reasons: [], ...(bridge.surplus !== undefined && { surplus: bridge.surplus }) };
    },
  } as unknown as Guard;
  const told: number[] = [];
  const onLasting = (surplus: number) => told.push(surplus);
  const stop = watchSurplus({ roomLanes: roomLanes as RoomLanes, guard, log, clock, logger, metrics, onLasting });
  const pass = async (ms: number) => {
    clock.advance(ms);
    await new Promise((resolve) => setImmediate(resolve));
  };
  /** undefined: the metric says nothing. */
  const gauge = async () => (await metrics.guardSurplus.get()).values[0]?.value;
  return { roomLanes, log, bridge, pass, gauge, lines, told, stop };
}

test('the surplus is seen at percent 0 too, at which it harms nobody and is no alert', async () => {
  const { bridge, pass, gauge, lines, stop } = setUp();
  assert.equal(await gauge(), undefined, 'nothing is known yet');
  for (let seconds = 0; seconds < 60; seconds += 5) await pass(5_000);
  assert.equal(await gauge(), 1);
  assert.equal(bridge.reads, 6, 'each 10 s');
  assert.deepEqual(lines, []);
  stop();
});

test('while rooms are on the stream lane it is an alert when it has lasted 30 s', async () => {
  const { roomLanes, pass, lines, told, stop } = setUp();
  roomLanes.usesStream = true;
  for (let seconds = 0; seconds < 30; seconds += 5) await pass(5_000);
  assert.equal(lines.length, 0);
  await pass(5_000);
  assert.deepEqual(
    lines.map(({ level, surplus }) => [level, surplus]),
    [['error', 1]],
  );
  assert.deepEqual(told, [1], 'whoever runs a plan is told, too');
  stop();
});

test('what cannot be counted is not shown with its last value', async () => {
  const { log, bridge, pass, gauge, stop } = setUp();
  await pass(5_000);
  assert.equal(await gauge(), 1);
  bridge.surplus = undefined;
  await pass(10_000);
  assert.equal(await gauge(), undefined, 'the bridge does not say');
  bridge.surplus = 0;
  await pass(10_000);
  assert.equal(await gauge(), 0);
  log.reachable = false;
  await pass(10_000);
  assert.equal(await gauge(), undefined, 'the log does not say');
  stop();
});
