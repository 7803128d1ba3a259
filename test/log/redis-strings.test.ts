// What the mere import of Redis' client does to the rest of the process.

import assert from 'node:assert/strict';
import { test } from 'node:test';

test('Redis’ client does not make the strings of the whole process slow', async () => {
  const text = Buffer.alloc(2_000_000, 'a').toString('latin1');
  const before = leastCpuMs(text);
  await import('../../src/log/redis/connections.ts');
  const behind = leastCpuMs(text);
  // As fast as before; it was five times as slow and more.
  assert.ok(behind < 2.5 * before, `${behind} ms, before ${before} ms`);
});

/** Of reading it character by character. */
function leastCpuMs(text: string): number {
  const took = Array.from({ length: 20 }, () => {
    const before = process.cpuUsage();
    let sum = 0;
    for (let i = 0; i < text.length; i++) sum += text.charCodeAt(i);
    assert.equal(sum, 97 * text.length);
    return process.cpuUsage(before).user / 1_000;
  });
  return Math.min(...took);
}
