// Events that may be on both lanes: what the replicas tell each other, and how long what follows such an event waits.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Twins } from '../../src/cutover/twins.ts';
import { Faults } from '../../src/telemetry/faults.ts';
import { silentLogger } from '../../src/telemetry/logger.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { TestClock } from '../support/clock.ts';

const twin = { eventId: 'e', room: 'r', payload: '1', deliveries: [] };

function setUp({ severalBridges = false } = {}) {
  const clock = new TestClock();
  /** What happened at this replica, in order. */
  const journal: string[] = [];
  const told: { path: string; id: string; to: string[] | undefined }[] = [];
  const notReached: string[] = [];
  const holds = new Map<string, (room: string) => boolean>();
  const twins = new Twins({
    edge: {
      expectTwin: ({ eventId }) => journal.push(`expect ${eventId}`),
      twinShown: (eventId) => journal.push(`shown ${eventId}`),
      hold(id, covers) {
        journal.push('hold');
        holds.set(id, covers);
      },
      async fence(id) {
        journal.push('fence');
        holds.delete(id);
      },
    },
    peers: {
      async tell(path, value, _, instances) {
        told.push({ path, id: (value as { id: string }).id, to: instances });
        return { reached: [], notReached: [...notReached] };
      },
    },
    settleMs: () => (severalBridges ? 500 : 0),
    faults: new Faults(silentLogger, createMetrics()),
    clock,
  });
  return { twins, clock, journal, holds, told, notReached };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

test('a twin is expected, and its room held, before the other replicas are told; the bridge’s answer and a fence end that', async () => {
  const { twins, journal, holds, told } = setUp();
  const landed = await twins.announce(twin);
  assert.deepEqual(journal, ['expect e', 'hold']);
  const [covers] = holds.values();
  assert.deepEqual([covers!('r'), covers!('other')], [true, false]);
  landed();
  await turn();
  assert.deepEqual(journal, ['expect e', 'hold', 'fence', 'shown e']);
  const [announced, ended] = told;
  assert.deepEqual([announced!.path, ended!.path], ['/cutover/twin', '/cutover/twin-landed']);
  assert.equal(announced!.id, ended!.id);
});

test('behind a backplane the fence comes later, and its copy is expected of the bridges for a while longer', async () => {
  const { twins, clock, journal } = setUp({ severalBridges: true });
  (await twins.announce(twin))();
  const after = async (ms: number) => {
    await turn();
    clock.advance(ms);
    await turn();
    return journal.at(-1);
  };
  assert.deepEqual(
    [await after(499), await after(1), await after(4_999), await after(1)],
    ['hold', 'fence', 'fence', 'shown e'],
  );
});

test('an answer that never comes is not waited for beyond what a call may take', async () => {
  const { twins, clock, journal } = setUp();
  await twins.announce(twin);
  clock.advance(12_000);
  await turn();
  assert.deepEqual(journal, ['expect e', 'hold', 'fence', 'shown e']);
});

test('what is told twice holds once', async () => {
  const { twins, journal, holds } = setUp();
  for (let times = 0; times < 2; times++) twins.expect({ ...twin, id: 'once' });
  assert.deepEqual(journal, ['expect e', 'hold', 'expect e']);
  twins.landed('once');
  await turn();
  assert.equal(holds.size, 0);
});

test('the bridge’s answer is told until every replica has it, or for a while', async () => {
  const { twins, clock, told, notReached } = setUp();
  const landed = await twins.announce(twin);
  notReached.push('b');
  landed();
  const tellings = async (seconds: number) => {
    for (let second = 0; second < seconds; second++) {
      await turn();
      clock.advance(1_000);
    }
    await turn();
    return told.filter(({ path }) => path === '/cutover/twin-landed');
  };
  assert.deepEqual(
    (await tellings(2)).map(({ to }) => to),
    [undefined, ['b'], ['b']],
  );
  assert.equal((await tellings(60)).length, 6);
});

test('who learns of a twin after the bridge’s answer holds nothing for it', () => {
  const { twins, journal } = setUp();
  twins.landed('late');
  twins.expect({ ...twin, id: 'late' });
  assert.deepEqual(journal, ['expect e', 'shown e']);
});
