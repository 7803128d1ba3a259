// A replica that alone has lost the log: told from a log that is away for all.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ReaderWatch } from '../../src/cutover/reader-watch.ts';
import { TestClock } from '../support/clock.ts';
import { logLines } from '../support/log-lines.ts';

function setUp() {
  const clock = new TestClock();
  const { logger, lines } = logLines();
  const scene = { usesStream: true, stalenessMs: 0, reachable: true, others: [] as string[] };
  const watch = new ReaderWatch({
    roomLanes: scene,
    reads: scene,
    log: scene,
    peers: { ask: async () => ({ answers: scene.others.map(() => ({ reads: true })), notReached: [] }) },
    clock,
    logger,
  });
  const pass = async (seconds: number) => {
    for (let n = 0; n < seconds; n++) {
      clock.advance(1_000);
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  return { scene, watch, pass, lines };
}

test('a replica that others leave behind at the log is cut off after 5 s, and says so once', async () => {
  const { scene, watch, pass, lines } = setUp();
  await pass(3);
  Object.assign(scene, { stalenessMs: Number.POSITIVE_INFINITY, reachable: false, others: ['b'] });
  await pass(4);
  assert.equal(watch.isCutOff, false, 'a short loss is nobody’s business');
  await pass(3);
  assert.equal(watch.isCutOff, true);
  assert.deepEqual(
    lines.map(({ level }) => level),
    ['error'],
  );
  Object.assign(scene, { stalenessMs: 0, reachable: true });
  assert.equal(watch.isCutOff, false);
  watch.close();
});

test('a reader that is silent while the log answers is as bad', async () => {
  const { scene, watch, pass } = setUp();
  scene.stalenessMs = 60_000;
  await pass(6);
  assert.equal(watch.isCutOff, true);
  watch.close();
});

test('where the log is away for all, or no room is on the stream lane, no replica is worse than another', async () => {
  const { scene, watch, pass } = setUp();
  Object.assign(scene, { stalenessMs: Number.POSITIVE_INFINITY, reachable: false });
  await pass(10);
  assert.equal(watch.isCutOff, false, 'nobody reads it');
  Object.assign(scene, { others: ['b'], usesStream: false });
  await pass(10);
  assert.equal(watch.isCutOff, false, 'percent 0');
  watch.close();
});
