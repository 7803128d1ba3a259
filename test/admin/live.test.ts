// The cutover live: what a watcher is sent, how many may watch, and that nobody is asked anything while nobody watches.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, get, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Live } from '../../src/admin/live.ts';
import type { PastVerdict } from '../../src/cutover/guard.ts';
import type { Status } from '../../src/cutover/status.ts';
import { Faults } from '../../src/telemetry/faults.ts';
import { silentLogger } from '../../src/telemetry/logger.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { TestClock } from '../support/clock.ts';
import { until } from '../support/wait.ts';

const lane = { perSecond: 5, p50: 1, p95: 2, p99: 3, failures: 0 };
const idle = { perSecond: 0, p50: null, p95: null, p99: null, failures: 0 };

/** A port that everybody may watch. @returns what watches it, and how often it has looked around */
async function startLive(t: TestContext, { mayChange = true } = {}) {
  const clock = new TestClock();
  const asked = { status: 0, guard: 0 };
  const guard = {
    last: undefined as PastVerdict | undefined,
    async read() {
      asked.guard++;
      guard.last = { ok: true, reasons: [], at: new Date(clock.now()).toISOString() };
    },
  };
  const live = new Live({
    instance: 'a',
    async status() {
      asked.status++;
      return { lanes: { windowMs: 10_000, bridge: lane, stream: idle, fallbacks: 0 } } as Status;
    },
    run: () => undefined,
    compare: () => ({ run: null, verdict: null, sampleLines: [], blind: [], next: null }),
    around: async () => ({ probeMs: 300, streams: [], faults: 0 }),
    guard: () => guard,
    clock,
    faults: new Faults(silentLogger, createMetrics()),
  });
  const server = createServer((request, response) => live.watch(request, response, mayChange)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;
  const watch = async () => {
    const [response] = (await once(get({ port, agent: false }), 'response')) as [IncomingMessage];
    const watcher = { response, text: '' };
    response.setEncoding('utf8').on('data', (text: string) => {
      watcher.text += text;
    });
    response.on('error', () => {});
    return watcher;
  };
  return { clock, asked, watch };
}

/** The events of this kind that a watcher has got. */
function eventsOf({ text }: { text: string }, kind: string) {
  const found = text.matchAll(new RegExp(`^event: ${kind}\ndata: (.*)\n\n`, 'gm'));
  return [...found].map(([, json]) => JSON.parse(json!));
}

test('a watcher is greeted, and sent the state at once and each second, with both lanes as one point', async (t) => {
  const { clock, watch } = await startLive(t, { mayChange: false });
  const watcher = await watch();
  await until(() => eventsOf(watcher, 'state').length === 1, { what: () => watcher.text });
  assert.deepEqual(eventsOf(watcher, 'greeting'), [{ instance: 'a', mayChange: false, points: [] }]);
  clock.advance(1_000);
  await until(() => eventsOf(watcher, 'state').length === 2, { what: () => watcher.text });
  const { point, here, cutover } = eventsOf(watcher, 'state')[1];
  assert.deepEqual(point, [Math.round(clock.now() / 100) / 10, 5, 1, 2, 3, 0, null, null, null]);
  assert.equal(here.probeMs, 300);
  assert.equal(cutover.lanes.bridge.perSecond, 5);
});

test('who watches later gets the past of those who watched before, ten minutes of it', async (t) => {
  const { clock, asked, watch } = await startLive(t);
  await watch();
  for (let second = 1; second <= 700; second++) {
    await until(() => asked.status === second);
    await nextTurn();
    clock.advance(1_000);
  }
  const { points } = eventsOf(await watch().then(greeted), 'greeting')[0];
  assert.ok(points.length >= 599 && points.length <= 601, `${points.length} points`);
});

test('nobody is asked anything while nobody watches', async (t) => {
  const { clock, asked, watch } = await startLive(t);
  clock.advance(5_000);
  assert.deepEqual(asked, { status: 0, guard: 0 });
  const watcher = await watch();
  await until(() => eventsOf(watcher, 'state').length === 1);
  watcher.response.destroy();
  await until(() => clock.timers === 0, { what: 'the last watcher to be gone' });
  clock.advance(5_000);
  assert.equal(asked.status, 1);
});

test('the guard looks every 5 s while somebody watches, as each time it asks all bridges', async (t) => {
  const { clock, asked, watch } = await startLive(t);
  const watcher = await watch();
  for (let second = 1; second <= 10; second++) {
    await until(() => eventsOf(watcher, 'state').length === second);
    clock.advance(1_000);
  }
  assert.equal(asked.guard, 3);
});

test('sixteen watch; one more is told so, until one of them goes', async (t) => {
  const { watch } = await startLive(t);
  const watchers = await Promise.all(Array.from({ length: 16 }, watch));
  assert.ok(watchers.every(({ response }) => response.statusCode === 200));
  assert.equal((await watch()).response.statusCode, 503);
  watchers[0]!.response.destroy();
  await until(async () => (await watch()).response.statusCode === 200, { what: 'a free place' });
});

async function greeted<Watcher extends { text: string }>(watcher: Watcher): Promise<Watcher> {
  await until(() => eventsOf(watcher, 'greeting').length === 1);
  return watcher;
}
