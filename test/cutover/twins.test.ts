// Events that may be on both lanes: what the replicas tell each other, and how long what follows such an event waits.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Twins } from '../../src/cutover/twins.ts';
import { TestClock } from '../support/clock.ts';

const twin = { eventId: 'e', room: 'r', payload: '1', deliveries: [] };

function setUp({ severalBridges = false } = {}) {
  const clock = new TestClock();
  /** What happened at this replica, in order. */
  const journal: string[] = [];
  const told: { path: string; id: string; to: string[] | undefined }[] = [];
  const notReached: string[] = [];
  const landings = new Map<string, PromiseWithResolvers<void>>();
  const twins = new Twins({
    edge: {
      expectTwin: ({ eventId }) => journal.push(`expect ${eventId}`),
      twinShown: (eventId) => journal.push(`shown ${eventId}`),
    },
    handover: {
      holdBehind(id, room) {
        journal.push(`hold ${room}`);
        landings.set(id, Promise.withResolvers<void>());
        return landings.get(id)!.promise;
      },
      landed: (id) => landings.get(id)?.resolve(),
    },
    peers: {
      async tell(path, value, _, instances) {
        told.push({ path, id: (value as { id: string }).id, to: instances });
        return { reached: [], notReached: [...notReached] };
      },
    },
    severalBridges: () => severalBridges,
    clock,
  });
  return { twins, clock, journal, told, notReached };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

test('a twin is expected, and its room held, before the other replicas are told; the bridge’s answer ends that', async () => {
  const { twins, clock, journal, told } = setUp();
  const landed = await twins.announce(twin);
  assert.deepEqual(journal, ['expect e', 'hold r']);
  landed();
  await turn();
  clock.advance(1);
  assert.equal(journal.at(-1), 'shown e');
  const [announced, ended] = told;
  assert.deepEqual([announced!.path, ended!.path], ['/cutover/twin', '/cutover/twin-landed']);
  assert.equal(announced!.id, ended!.id);
});

test('behind a backplane its copy is expected of the bridges for a while longer', async () => {
  const { twins, clock, journal } = setUp({ severalBridges: true });
  (await twins.announce(twin))();
  await turn();
  clock.advance(4_999);
  assert.equal(journal.at(-1), 'hold r');
  clock.advance(1);
  assert.equal(journal.at(-1), 'shown e');
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
  assert.equal((await tellings(60)).length, 10);
});

test('who learns of a twin after the bridge’s answer holds nothing for it', () => {
  const { twins, journal } = setUp();
  twins.landed('late');
  twins.expect({ ...twin, id: 'late' });
  assert.deepEqual(journal, ['expect e', 'shown e']);
});
