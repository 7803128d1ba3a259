// What the mirror costs, and whether it works, is seen.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Mirror } from '../../src/lanes/mirror.ts';
import type { Log, NewEntry } from '../../src/log/log.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { TestClock } from '../support/clock.ts';
import { logLines } from '../support/log-lines.ts';

const entry = { stream: 'events:chat', eventType: 'chat_message' } as NewEntry;

test('each shadow is measured as a publish to Redis; one that fails is said at once, then each 10 s', async () => {
  const clock = new TestClock();
  const metrics = createMetrics();
  const { logger, lines } = logLines();
  const unshadowed: [string, number][] = [];
  let refuse: Error | undefined;
  const append = async () => {
    clock.advance(3);
    if (refuse !== undefined) throw refuse;
    return 'appended';
  };
  const mirror = new Mirror({
    log: { append, time: async () => 1_000 } as unknown as Log,
    clock,
    logger,
    metrics,
    onUnshadowed: (why, sinceMs) => unshadowed.push([why, sinceMs]),
  });
  assert.equal(mirror.isFailing, false, 'right from the start');
  mirror.shadow(entry, 7);
  await mirror.drain();
  const { values } = await metrics.publishDuration.get();
  const count = values.find(({ metricName }) => metricName?.endsWith('_count'));
  assert.deepEqual(count?.labels, { transport: 'redis_streams', event_type: 'chat_message' });
  assert.equal(count?.value, 1);

  refuse = new Error('OOM');
  for (let second = 0; second < 20; second++) {
    mirror.shadow(entry, 7);
    await mirror.drain();
    clock.advance(997);
  }
  assert.equal(mirror.isFailing, true);
  assert.deepEqual(unshadowed, Array(20).fill(['mirror failed', 7]), 'who compares is told of each');
  assert.deepEqual(
    lines.map(({ level, reason }) => [level, reason]),
    [
      ['warn', 'OOM'],
      ['warn', 'OOM'],
    ],
  );
  refuse = undefined;
  mirror.shadow(entry, 7);
  await mirror.drain();
  assert.equal(mirror.isFailing, false);
});
