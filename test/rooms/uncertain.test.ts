// Appends without an answer: whom the replica asks before it calls the bridge, what waits at each of them meanwhile, and which
// copy is shown in the end.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BridgeAnswer } from '../../src/bridge/lane.ts';
import type { RoomSet } from '../../src/room-set.ts';
import { UncertainAppends } from '../../src/rooms/uncertain.ts';
import { Faults } from '../../src/telemetry/faults.ts';
import { silentLogger } from '../../src/telemetry/logger.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { TestClock } from '../support/clock.ts';

const event = { eventId: 'e', room: 'r' };
const answerOf = (status: number): BridgeAnswer => ({ status, rawHeaders: [], body: Buffer.alloc(0) });

function setUp({ severalBridges = false } = {}) {
  const clock = new TestClock();
  const metrics = createMetrics();
  /** What happened at this replica, in order. */
  const journal: string[] = [];
  const told: { path: string; value: unknown; to: string[] | undefined }[] = [];
  /** What the other replicas answer, and who does not. */
  const others = { answers: [] as unknown[], notReached: [] as string[] };
  const queues = new Map<string, RoomSet>();
  const read = new Set<string>();
  const uncertain = new UncertainAppends({
    reads: { hasRead: (eventId) => read.has(eventId), withhold: (eventId) => journal.push(`withhold ${eventId}`) },
    edge: {
      withhold() {},
      queue(id, rooms) {
        journal.push('queue');
        queues.set(id, rooms);
      },
      async fence(id) {
        journal.push('fence');
        queues.delete(id);
      },
    },
    peers: {
      async ask(path, value) {
        told.push({ path, value, to: undefined });
        return { ...others };
      },
      async tell(path, value, _, to) {
        told.push({ path, value, to });
        return { reached: [], notReached: [...others.notReached] };
      },
    },
    unfenced: { inDoubt: ({ eventId }) => journal.push(`in doubt ${eventId}`) },
    settleMs: () => (severalBridges ? 500 : 0),
    faults: new Faults(silentLogger, metrics),
    clock,
    metrics,
  });
  const callBridge = async (status = 200) => {
    journal.push('bridge');
    return answerOf(status);
  };
  return { uncertain, clock, journal, queues, told, others, read, callBridge };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

test('if no replica has read the event, the bridge is called, and the copy in the log is withheld everywhere', async () => {
  const { uncertain, journal, told, others, callBridge } = setUp();
  others.answers = [{ read: false }];
  const answer = await uncertain.settle(event, callBridge);
  assert.deepEqual(answer, answerOf(200));
  await turn();
  assert.deepEqual(journal, ['queue', 'bridge', 'withhold e', 'fence']);
  const [asked, decided] = told.map(({ path, value }) => ({ path, ...(value as { id: string; verdict?: string }) }));
  assert.equal(asked!.path, '/cutover/uncertain');
  assert.deepEqual(
    [decided!.path, decided!.id, decided!.verdict],
    ['/cutover/uncertain-decided', asked!.id, 'withhold'],
  );
});

test('if one replica has read it, the log has kept it: the bridge is not called', async () => {
  for (const setRead of [
    ({ read }: ReturnType<typeof setUp>) => read.add('e'),
    ({ others }: ReturnType<typeof setUp>) => others.answers.push({ read: false }, { read: true }),
  ]) {
    const parts = setUp();
    setRead(parts);
    assert.equal(await parts.uncertain.settle(event, parts.callBridge), 'kept');
    await turn();
    assert.ok(!parts.journal.includes('bridge') && !parts.journal.includes('withhold e'), `${parts.journal}`);
    assert.equal(parts.queues.size, 0);
  }
});

test('only the room of the event waits while it is asked', async () => {
  const { uncertain, queues } = setUp();
  assert.deepEqual(uncertain.hear({ id: '1', ...event }), { read: false });
  const [rooms] = queues.values();
  assert.deepEqual([rooms!.has('r'), rooms!.has('other')], [true, false]);
});

test('if the bridge does not answer 200, the copy in the log is shown: twice is better than lost', async () => {
  const { uncertain, journal, callBridge } = setUp();
  assert.equal(((await uncertain.settle(event, () => callBridge(503))) as BridgeAnswer).status, 503);
  await turn();
  assert.deepEqual(journal, ['queue', 'bridge', 'fence']);
  const timedOut = Promise.reject(new Error('no answer'));
  await assert.rejects(uncertain.settle({ ...event, eventId: 'f' }, () => timedOut));
  await turn();
  assert.ok(!journal.includes('withhold f'));
});

test('a replica that cannot be reached, or answers nothing known, does not keep the call; the event is counted', async () => {
  const { uncertain, journal, others, callBridge } = setUp();
  others.answers = [undefined, null, 'yes', { read: 'true' }];
  others.notReached = ['b'];
  await uncertain.settle(event, callBridge);
  assert.deepEqual(journal.slice(0, 3), ['queue', 'in doubt e', 'bridge']);
});

test('behind a backplane what follows in the room waits for it, too', async () => {
  const { uncertain, clock, journal, callBridge } = setUp({ severalBridges: true });
  await uncertain.settle(event, callBridge);
  await turn();
  clock.advance(499);
  await turn();
  assert.equal(journal.at(-1), 'withhold e');
  clock.advance(1);
  await turn();
  assert.equal(journal.at(-1), 'fence');
});

test('a verdict that never comes is not waited for beyond what a call may take: the copy in the log is shown, and counted', async () => {
  const { uncertain, clock, journal } = setUp();
  uncertain.hear({ id: '1', ...event });
  clock.advance(12_000);
  await turn();
  assert.deepEqual(journal, ['queue', 'in doubt e', 'fence']);
});

test('a question that comes twice lets the room wait once, and one that comes behind its verdict not at all', async () => {
  const { uncertain, journal, queues } = setUp();
  for (let times = 0; times < 2; times++) uncertain.hear({ id: 'once', ...event });
  assert.deepEqual(journal, ['queue']);
  uncertain.decided({ id: 'once', verdict: 'show' });
  await turn();
  assert.equal(queues.size, 0);
  uncertain.decided({ id: 'late', verdict: 'withhold' });
  assert.deepEqual(uncertain.hear({ id: 'late', ...event }), { read: false });
  assert.equal(queues.size, 0);
});

test('the verdict is told until every replica has it, or for a while', async () => {
  const { uncertain, clock, told, others, callBridge } = setUp();
  others.notReached = ['b'];
  await uncertain.settle(event, callBridge);
  const tellings = async (seconds: number) => {
    for (let second = 0; second < seconds; second++) {
      await turn();
      clock.advance(1_000);
    }
    await turn();
    return told.filter(({ path }) => path === '/cutover/uncertain-decided');
  };
  assert.deepEqual(
    (await tellings(2)).map(({ to }) => to),
    [undefined, ['b'], ['b']],
  );
  assert.equal((await tellings(60)).length, 6);
});
