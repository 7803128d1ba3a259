// What goes wrong inside one native connection ends that connection alone, and is counted.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { until } from '../../support/wait.ts';
import { joined, shaken, startEdge } from './setup.ts';

async function faultsOf({ metrics }: Awaited<ReturnType<typeof startEdge>>): Promise<number> {
  const { values } = await metrics.faults.get();
  return values.find(({ labels }) => labels.where === 'client')!.value;
}

const fault = () => {
  throw new Error('fault');
};

test('a client whose end goes wrong does not keep the others from theirs', async (t) => {
  const started = await startEdge(t);
  const { edge, url, token, presence } = started;
  const client = await joined(t, url, token, 'room-1');
  presence.push = fault;
  client.socket.terminate();
  await until(async () => (await faultsOf(started)) === 1, { what: 'the fault' });
  delete (presence as { push?: unknown }).push;
  await shaken(t, `${url}/chat`, token);
  const { values } = await started.metrics.connections.get();
  assert.equal(values.find(({ labels }) => labels.hub === 'chat')?.value, 1);
  await edge.closeClients('gap');
});
