// What a replica keeps of its ways to the others, which come and go under ever new names.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { type TestContext, test } from 'node:test';
import { Holders } from '../../../src/edge/relay/holders.ts';
import { PeerSignature } from '../../../src/peers/peer-signature.ts';
import { systemClock } from '../../../src/telemetry/clock.ts';
import { Faults } from '../../../src/telemetry/faults.ts';
import { silentLogger } from '../../../src/telemetry/logger.ts';
import { createMetrics } from '../../../src/telemetry/metrics.ts';
import { startAccepting } from '../../peers/accepting.ts';
import { until } from '../../support/wait.ts';

const secret = 'what all replicas have in common';

/** A replica that answers every request; with the path `/wait` it does not. */
async function startHolder(t: TestContext, name: string) {
  const server = createServer((request, response) => request.url !== '/wait' && response.end(name));
  return startAccepting(t, name, { secret, take: (socket) => server.emit('connection', socket) });
}

test('the way to a replica that has ended is forgotten, that to one with something under way is not', async (t) => {
  const signature = new PeerSignature({ instance: 'a', secret, clock: systemClock });
  const holders = new Holders({ signature, clock: systemClock, faults: new Faults(silentLogger, createMetrics()) });
  t.after(() => holders.close());
  const ask = (holder: { instance: string; admin: string }, url = '/') =>
    holders.ask(holder, { method: 'GET', url, headers: [], body: null });
  const busy = await startHolder(t, 'busy');
  const waiting = ask(busy, '/wait');
  waiting.catch(() => {});
  for (let generation = 0; generation < 5; generation++) {
    const holder = await startHolder(t, `pod-${generation}`);
    const { body } = await ask(holder);
    assert.equal(await body.text(), holder.instance);
    holder.close();
    await until(() => holders.count === 1);
  }
  busy.close();
  await assert.rejects(waiting, 'and it went on until then');
});
