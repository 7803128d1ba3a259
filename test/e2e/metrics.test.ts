// /metrics as a Prometheus reads it: clean by its own tool, with every series there from the start, for both lanes, and without
// values that nobody knows.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { version } from '../../src/version.ts';
import { startBridge } from '../support/bridge.ts';
import type { Crossfade } from '../support/process.ts';
import { startRedis } from '../support/redis.ts';
import { until } from '../support/wait.ts';
import { command, force, metricOf, say } from './operating.ts';
import { join, patient, startSidecar } from './sidecar.ts';

async function scrape({ admin }: Crossfade): Promise<string> {
  return (await fetch(`${admin}/metrics`)).text();
}

function namesIn(text: string, pattern: RegExp): string[] {
  return text.split('\n').filter((line) => pattern.test(line));
}

test('a scrape satisfies promtool, before the first call and after calls by both lanes', async (t) => {
  const redis = await startRedis(t);
  const sidecar = await startSidecar(t, [...patient, '--redis', redis.url, '--bridge', (await startBridge(t)).url]);
  const client = await join(t, sidecar.edge, 'chat', 'u1');
  await client.connection.invoke('JoinRoom', 'r');
  const check = async (when: string) => {
    const input = await scrape(sidecar);
    const { status, stdout, stderr, error } = spawnSync('promtool', ['check', 'metrics'], { input, encoding: 'utf8' });
    assert.deepEqual([error, stdout, stderr, status], [undefined, '', '', 0], when);
  };
  await check('before the first call');
  await say(sidecar, 'r', 'by the bridge');
  await force(sidecar, 100);
  await say(sidecar, 'r', 'by the stream');
  await until(() => client.of('ReceiveMessage').length === 2, { what: 'both to be shown' });
  await check('after calls');
  for (const transport of ['http', 'redis_streams']) {
    const count = `event_delivery_duration_seconds_count{event_type="chat_message",transport="${transport}"}`;
    assert.equal(await metricOf(sidecar, count), 1, transport);
  }
});

test('what may happen is counted from 0 on, so that its first time is seen', async (t) => {
  const sidecar = await startSidecar(t, ['--redis', (await startRedis(t)).url, '--bridge', (await startBridge(t)).url]);
  const text = await scrape(sidecar);
  for (const series of [
    'event_transport_fallback_total{reason="timeout"} 0',
    'event_transport_fallback_total{reason="redis_error"} 0',
    'event_transport_fallback_total{reason="connection_lost"} 0',
    'events_coalesced_total{event_type="typing_start"} 0',
    'events_coalesced_total{event_type="read_receipt"} 0',
    'event_dual_write_failure_total{transport="redis_streams"} 0',
    'crossfade_order_unfenced_total{reason="unread"} 0',
    'events_published_total{transport="http",event_type="assignment_change",status="failure"} 0',
    'crossfade_log_reachable 1',
  ]) {
    assert.ok(text.includes(`${series}\n`), series);
  }
  assert.match(
    text,
    new RegExp(`crossfade_build_info\\{version="${version}",node="26[^"]*",contract="[0-9a-f]{16}"\\} 1`),
  );
});

test('a dashboard that sums over all streams sums events alone', async (t) => {
  const sidecar = await startSidecar(t, ['--redis', (await startRedis(t)).url, '--bridge', (await startBridge(t)).url]);
  await force(sidecar, 1);
  const text = await scrape(sidecar);
  assert.equal(namesIn(text, /^event_(queue_depth|consumer_lag)\{.*crossfade:/).length, 0);
  assert.equal(namesIn(text, /^event_queue_depth\{/).length, 4);
  assert.equal(namesIn(text, /^crossfade_control_(depth|lag)\{stream="crossfade:control"\}/).length, 2);
});

test('while the log is away its gauges say nothing, rather than that all is well', async (t) => {
  const redis = await startRedis(t);
  const sidecar = await startSidecar(t, ['--redis', redis.url, '--bridge', (await startBridge(t)).url]);
  const told = async () =>
    namesIn(await scrape(sidecar), /^(event_(queue_depth|consumer_lag)|crossfade_control_\w+)\{/);
  assert.notEqual((await told()).length, 0);
  await redis.kill9();
  await until(async () => (await metricOf(sidecar, 'crossfade_log_reachable')) === 0, { what: 'the log to be away' });
  assert.deepEqual(await told(), []);
});

test('whether the mirror works is seen before its first event', async (t) => {
  const sidecar = await startSidecar(t, ['--redis', (await startRedis(t)).url, '--bridge', (await startBridge(t)).url]);
  assert.equal(await metricOf(sidecar, 'event_dual_write_status'), 0, 'off');
  await command(sidecar, { mirror: true });
  assert.equal(await metricOf(sidecar, 'event_dual_write_status'), 1, 'on');
});
