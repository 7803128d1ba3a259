// The guard by itself: what it refuses because of what the replicas say of themselves.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Guard } from '../../src/cutover/guard.ts';
import { TestClock } from '../support/clock.ts';

type Replica = { instance: string; facts: Record<string, string>; counters?: Map<string, number> };

/** Nobody waits between two looks. */
function atOnce(_ms: number, run: () => void): () => void {
  queueMicrotask(run);
  return () => {};
}

function guardOver(replicas: Replica[], connections = 0) {
  return new Guard({
    instance: 'a',
    countAtBridges: async () => connections,
    callRoll: async () => ({ here: replicas.map(({ instance }) => instance) }),
    log: {
      roster: { replicas: async () => replicas.map((replica) => ({ counters: new Map(), ...replica })) } as never,
      foreignReaders: async () => [],
    },
    streams: [],
    clock: Object.assign(new TestClock(), { after: atOnce }),
  });
}

const release = (version: string, contract = 'c1') => ({ version, contract });

test('while the replicas run different releases or contracts no room comes to the stream lane', async () => {
  const mixed = guardOver([
    { instance: 'a', facts: release('0.1.0') },
    { instance: 'b', facts: release('0.2.0', 'c2') },
    { instance: 'c', facts: release('0.1.0') },
  ]);
  assert.deepEqual((await mixed.read()).reasons, [
    'the replicas differ in their version (a, c: 0.1.0; b: 0.2.0): finish the rollout',
    'the replicas differ in their contract (a, c: c1; b: c2): finish the rollout',
  ]);
});

test('a replica that has not said yet what it runs holds nothing up; one that missed the roll call does', async () => {
  const alike = guardOver([
    { instance: 'a', facts: release('0.2.0') },
    { instance: 'b', facts: {} },
  ]);
  assert.deepEqual(await alike.read(), { ok: true, reasons: [], surplus: 0 });
  const silent = guardOver([
    { instance: 'a', facts: release('0.2.0') },
    { instance: 'silent', facts: release('0.1.0') },
  ]);
  assert.equal((await silent.read(['a'])).ok, false);
});

test('a replica’s stand-ins are its own connections at the bridge, as its proxied ones are', async () => {
  const counters = new Map([
    ['proxied', 2],
    ['stand-ins', 3],
  ]);
  const surplus = async (atBridges: number) =>
    (await guardOver([{ instance: 'a', facts: {}, counters }], atBridges).read()).surplus;
  assert.deepEqual([await surplus(5), await surplus(6)], [0, 1]);
});
