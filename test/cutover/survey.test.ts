// Asking all replicas what they say of themselves: how often, and what is known of one that is silent.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ReplicaView } from '../../src/cutover/own-view.ts';
import { Survey } from '../../src/cutover/survey.ts';
import { TestClock } from '../support/clock.ts';

const lane = { events: 0, failures: 0, delivered: [] };
const view: ReplicaView = {
  nowMs: 0,
  draining: false,
  clients: 3,
  hubs: {},
  rooms: 2,
  lag: 0,
  unfenced: 0,
  probeMs: 100,
  onlyAtBridge: [],
  bridges: [],
  lanes: { windowMs: 0, bridge: lane, stream: lane, fallbacks: 0, missed: 0 },
};

function setUp() {
  const clock = new TestClock();
  const answers = new Map<string, unknown>([['b', { ...view, nowMs: clock.now() + 1_500 }]]);
  let asked = 0;
  const replicas = ['a', 'b'].map((instance) => ({ instance, facts: { epoch: '7' }, counters: new Map() }));
  const survey = new Survey({
    instance: 'a',
    peers: {
      refresh: async () => replicas,
      askEach: async () => {
        asked++;
        return answers;
      },
    },
    own: async () => view,
    ownForecast: () => assert.fail('nobody asks'),
    clock,
  });
  return { survey, clock, answers, asked: () => asked };
}

test('however many look, the replicas are asked a few times a second at most', async () => {
  const { survey, clock, asked } = setUp();
  await Promise.all([survey.look(), survey.look(), survey.look()]);
  await survey.look();
  assert.equal(asked(), 1);
  clock.advance(1_000);
  await survey.look();
  assert.equal(asked(), 2);
});

test('a replica that is silent, or answers what nobody understands, has no view, and is said when it was last heard', async () => {
  const { survey, clock, answers } = setUp();
  const [self, heard] = await survey.look();
  assert.deepEqual([self!.view, self!.offsetMs], [view, 0]);
  assert.deepEqual([heard!.view?.clients, heard!.heardMs, heard!.offsetMs], [3, 0, 1_500]);
  answers.delete('b');
  clock.advance(7_000);
  const [, silent] = await survey.look();
  assert.deepEqual(
    [silent!.instance, silent!.view, silent!.heardMs, silent!.facts.epoch],
    ['b', undefined, 7_000, '7'],
  );
  answers.set('b', { clients: 'many' });
  clock.advance(1_000);
  assert.equal((await survey.look())[1]!.view, undefined);
});

test('who reaches whom is put together from what each says of itself', async () => {
  const { survey, answers } = setUp();
  answers.set('b', { notReached: ['a'] });
  assert.deepEqual(
    [...(await survey.reach())],
    [
      ['a', []],
      ['b', ['a']],
    ],
  );
  answers.delete('b');
  assert.deepEqual(
    [...(await survey.reach())],
    [
      ['a', ['b']],
      ['b', undefined],
    ],
  );
});
