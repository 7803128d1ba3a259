// Long polling whose bridge goes away, or that is ended here: nothing of the connection is left, nor of its bytes lost.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Logger, silentLogger } from '../../../src/telemetry/logger.ts';
import { TestClock } from '../../support/clock.ts';
import { until } from '../../support/wait.ts';
import { startScriptedBridge } from './scripted-bridge.ts';
import { startProxiedEdge } from './setup.ts';

const octets = { 'content-type': 'application/octet-stream' };

test('a poll that the bridge leaves unanswered ends the connection', async (t) => {
  const bridge = await startScriptedBridge(t, {
    answer: ({ response }) => {
      if (bridge.asked.length === 1) response.writeHead(200, { ...octets, 'content-length': 0 }).end();
    },
  });
  const { url, taps } = await startProxiedEdge(t, [bridge.url]);
  const poll = () => fetch(`${url}/hubs/chat?id=t1`);
  assert.equal((await poll()).status, 200);
  assert.equal(taps[0]!.ends, 0);
  const lost = poll();
  await until(() => bridge.asked.length === 2, { what: 'the second poll' });
  await bridge.close();
  assert.equal((await lost).status, 502);
  assert.equal(taps[0]!.ends, 1);
});

test('a poll that is lost while no client waits for it is asked again', async (t) => {
  const bridge = await startScriptedBridge(t, {
    answer: ({ response }) => {
      if (bridge.asked.length === 1) response.writeHead(200, { ...octets, 'content-length': 0 }).end();
      if (bridge.asked.length === 3) response.writeHead(200, octets).end('behind');
    },
  });
  const warnings: unknown[] = [];
  const logger = { ...silentLogger, warn: (...said: unknown[]) => warnings.push(said) } as unknown as Logger;
  const { url, taps } = await startProxiedEdge(t, [bridge.url], { logger });
  const poll = async () => (await fetch(`${url}/hubs/chat?id=t1`)).text();
  await poll();
  const injected = poll();
  await until(() => bridge.asked.length === 2, { what: 'the second poll' });
  const record = taps[0]!.inject('1');
  assert.equal(await injected, `${record}\x1e`);
  bridge.asked[1]!.response.destroy();
  await until(() => warnings.length > 0, { what: 'the poll at the bridge to be lost' });
  assert.equal(await poll(), 'behind');
  assert.equal(taps[0]!.ends, 0);
});

test('a connection that is ended by its Tap still gives the client what the bridge sent; the next poll is told', async (t) => {
  const bridge = await startScriptedBridge(t, {
    answer: ({ request, response }) => {
      if (request.method === 'DELETE') response.writeHead(202).end();
      else response.writeHead(200, octets).end(bridge.asked.length === 1 ? '' : 'middle');
    },
  });
  const { url, taps } = await startProxiedEdge(t, [bridge.url]);
  const poll = () => fetch(`${url}/hubs/chat?id=t1`);
  await poll();
  taps[0]!.cutting = (data) => {
    taps[0]!.leg.cut();
    return data;
  };
  assert.equal(await (await poll()).text(), 'middle');
  assert.equal((await poll()).status, 204);
  await until(() => bridge.asked.some(({ request }) => request.method === 'DELETE'), { what: 'the DELETE' });
  assert.equal(taps[0]!.ends, 1);
});

test('a client that stays away counts as long as the bridge keeps it, and no longer', async (t) => {
  const clock = new TestClock();
  const bridge = await startScriptedBridge(t, {
    answer: ({ request, response }) => {
      if (!request.url!.includes('stays')) response.writeHead(200, { ...octets, 'content-length': 0 }).end();
    },
  });
  const { url, taps } = await startProxiedEdge(t, [bridge.url], { clock });
  const poll = async (query: string) => (await fetch(`${url}/hubs/chat?${query}`)).text();
  await poll('id=t1');
  await poll('id=t2');
  const injected = poll('id=t2&stays');
  await until(() => bridge.asked.length === 3, { what: 'the poll that stays at the bridge' });
  taps[1]!.inject('1');
  await injected;
  const ends = () => taps.map((tap) => tap.ends);
  clock.advance(15_000);
  assert.deepEqual(ends(), [0, 0]);
  clock.advance(3_000);
  assert.deepEqual(ends(), [1, 0], 'the bridge has ended the one that had no poll');
  clock.advance(15_000);
  assert.deepEqual(ends(), [1, 1]);
});
