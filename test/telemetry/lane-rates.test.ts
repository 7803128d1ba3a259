// What the lanes did lately, out of the metrics: within the window alone, and added up over replicas.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addUp, LaneRates, quantileMs } from '../../src/telemetry/lane-rates.ts';
import { countFallback, createMetrics } from '../../src/telemetry/metrics.ts';
import { TestClock } from '../support/clock.ts';

async function setUp() {
  const metrics = createMetrics();
  const clock = new TestClock();
  const rates = new LaneRates({ metrics, clock });
  const carry = (transport: 'http' | 'redis_streams', status: string, count: number, seconds?: number) => {
    metrics.published.inc({ transport, event_type: 'chat_message', status }, count);
    for (let n = 0; seconds !== undefined && n < count; n++)
      metrics.deliveryDuration.observe({ transport, event_type: 'chat_message' }, seconds);
  };
  /** Its timer reads asynchronously. */
  const pass = async (seconds: number) => {
    for (let second = 0; second < seconds; second++) {
      clock.advance(1_000);
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  return { metrics, rates, carry, pass };
}

test('what happened within the window counts, by lane; what happened before does not', async () => {
  const { metrics, rates, carry, pass } = await setUp();
  carry('http', 'success', 1_000, 0.3);
  await pass(11);
  carry('http', 'success', 30, 0.015);
  carry('http', 'failure', 2);
  carry('redis_streams', 'duplicate', 5);
  countFallback(metrics, 'timeout');
  await pass(1);
  const { windowMs, bridge, stream, fallbacks } = await rates.read();
  assert.equal(windowMs, 9_000);
  assert.deepEqual([bridge.events, bridge.failures, stream.events, fallbacks], [30, 2, 5, 1]);
  const p95 = quantileMs(bridge, 0.95)!;
  assert.ok(p95 > 10 && p95 <= 20, `${p95}`);
  assert.equal(quantileMs(stream, 0.95), undefined);
  rates.close();
});

test('the latencies of several replicas are those of all their events together', async () => {
  const [fast, slow] = [await setUp(), await setUp()];
  fast.carry('redis_streams', 'success', 90, 0.0015);
  slow.carry('redis_streams', 'success', 10, 0.4);
  const { stream } = addUp([await fast.rates.read(), await slow.rates.read()]);
  assert.equal(stream.events, 100);
  assert.ok(quantileMs(stream, 0.5)! <= 2);
  assert.ok(quantileMs(stream, 0.95)! > 200);
  fast.carry('redis_streams', 'success', 1, 60);
  assert.equal(quantileMs((await fast.rates.read()).stream, 1), 5_000, 'above the highest bound nothing more is known');
});
