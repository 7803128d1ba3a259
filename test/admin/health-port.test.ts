// The health port answers probes from wherever they come, and says nothing else to anybody.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:http';
import { connect } from 'node:net';
import { networkInterfaces } from 'node:os';
import { type TestContext, test } from 'node:test';
import { HealthPort } from '../../src/admin/health-port.ts';
import { systemClock } from '../../src/telemetry/clock.ts';
import { Faults } from '../../src/telemetry/faults.ts';
import { silentLogger } from '../../src/telemetry/logger.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';

async function startPort(t: TestContext, host = '127.0.0.1') {
  const state = { hasStarted: true, isReady: true };
  const health = await HealthPort.listen({
    listen: { host, port: 0 },
    hasStarted: () => state.hasStarted,
    isReady: () => state.isReady,
    clock: systemClock,
    faults: new Faults(silentLogger, createMetrics()),
  });
  t.after(() => health.close());
  const { port } = health.address;
  /** @returns the status; a body would be a detail */
  const ask = async (path: string, { method = 'GET', at = '127.0.0.1' } = {}) => {
    const asked = request({ host: at, port, path, method, agent: false });
    asked.end();
    const [answer] = await once(asked, 'response');
    assert.deepEqual((await answer.toArray()).join(''), '');
    return answer.statusCode as number;
  };
  return { ask, port, state };
}

test('each probe has its own answer, and liveness asks for nothing but one', async (t) => {
  const { ask, state } = await startPort(t);
  const answers = () => Promise.all(['/startupz', '/livez', '/readyz?verbose'].map((path) => ask(path)));
  assert.deepEqual(await answers(), [200, 200, 200]);
  state.isReady = false;
  assert.deepEqual(await answers(), [200, 200, 503]);
  state.hasStarted = false;
  assert.deepEqual(await answers(), [503, 200, 503]);
});

test('nothing else is there, and nothing is changed by asking', async (t) => {
  const { ask } = await startPort(t);
  for (const path of ['/', '/metrics', '/cutover', '/healthz', '/readyz/', '/constructor']) {
    assert.equal(await ask(path), 404, path);
  }
  assert.equal(await ask('/readyz', { method: 'POST' }), 405);
  assert.equal(await ask('/readyz', { method: 'HEAD' }), 200);
});

const outside = Object.values(networkInterfaces())
  .flat()
  .find((face) => face !== undefined && !face.internal && face.family === 'IPv4');

test('a probe that does not come from loopback needs no token', {
  skip: outside === undefined && 'this machine has no address beyond loopback',
}, async (t) => {
  const { ask } = await startPort(t, '0.0.0.0');
  assert.equal(await ask('/readyz', { at: outside!.address }), 200);
});

test('who opens a connection and says nothing is gone within seconds', async (t) => {
  const { port } = await startPort(t);
  const socket = connect(port, '127.0.0.1');
  t.after(() => socket.destroy());
  await once(socket, 'connect');
  socket.resume();
  await once(socket, 'end');
});
