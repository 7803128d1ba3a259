// A plan as it runs: when it goes on, when it waits, when it rolls back, who may stop it, and that no replica's death does.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Plans } from '../../src/plan/plans.ts';
import { type PlanRun, standsAt } from '../../src/plan/run.ts';
import type { Difference } from '../../src/rooms/state.ts';
import { plan, setUp } from './setup.ts';

/** Where a run stands: state, percent of its step, why it waits or has ended. */
function standOf(plans: Plans) {
  const { state, why } = plans.run!;
  return { state, percent: standsAt(plans.run!)?.percent, why };
}

test('a step lasts as long as it shall, and goes on by good samples alone, to the end', async () => {
  const stand = setUp();
  const plans = await stand.replica('a');
  await plans.start(plan, 'ada');
  await stand.pass(1);
  assert.equal(stand.state.percent, 5);
  await stand.pass(19);
  assert.equal(stand.state.percent, 5, 'it is held for 20 s');
  await stand.pass(2);
  assert.equal(stand.state.percent, 100);
  await stand.pass(11);
  assert.deepEqual(standOf(plans), { state: 'done', percent: 100, why: '' });
  assert.deepEqual(
    stand.state.history.map(({ who, what, why }) => [who, what, why]),
    [
      ['plan evening', 'set 5', 'step 1 of 2, started by ada'],
      ['plan evening', 'set 100', 'step 2 of 2, started by ada'],
    ],
  );
  assert.deepEqual(
    plans.run!.steps.map(({ samples, verdict }) => [samples.good, verdict]),
    [
      [4, 'good'],
      [2, 'good'],
    ],
  );
  plans.close();
});

test('too few events cannot be judged: it waits however long, says so, and that counts as good nowhere', async () => {
  const stand = setUp();
  const plans = await stand.replica('a');
  await plans.start(plan, 'ada');
  stand.says.set('a', { stream: 99 });
  await stand.pass(120);
  assert.equal(stand.state.percent, 5);
  assert.match(plans.run!.why, /^cannot be judged: fewer than 100 events by stream/);
  assert.deepEqual(standsAt(plans.run!)!.samples, { good: 0, broken: 0, unjudged: 23 });
  stand.says.set('a', {});
  await stand.pass(10);
  assert.equal(stand.state.percent, 100, 'two good samples, and its time was over long ago');
  plans.close();
});

test('a replica that does not answer cannot be judged either', async () => {
  const stand = setUp();
  const plans = await stand.replica('a');
  stand.says.set('b', undefined);
  await plans.start(plan, 'ada');
  await stand.pass(60);
  assert.equal(stand.state.percent, 5);
  assert.match(plans.run!.why, /but b does not answer/);
  plans.close();
});

test('one broken sample is no verdict; as many as it takes roll back at once, and say why', async () => {
  const stand = setUp();
  const plans = await stand.replica('a');
  await plans.start(plan, 'ada');
  await stand.pass(7);
  stand.says.set('a', { lag: 300 });
  await stand.pass(5);
  assert.match(plans.run!.why, /^delivered ratio 0.625, at least 0.99 \(1 of 2 for a verdict\)$/);
  stand.says.set('a', {});
  await stand.pass(5);
  assert.equal(plans.run!.why, '');
  stand.says.set('a', { lag: 300 });
  await stand.pass(5);
  // Nothing can be judged of it: that does not make the one before good.
  stand.says.set('a', { stream: 0 });
  await stand.pass(5);
  assert.equal(plans.run!.state, 'running');
  stand.says.set('a', { isSlow: true });
  await stand.pass(5);
  assert.equal(stand.state.percent, 0);
  assert.equal(plans.run!.state, 'rolled back');
  assert.match(plans.run!.why, /^P95 ratio .* at most 1.5 \(2 of 2 for a verdict\) \(rolled back in order\)$/);
  assert.equal(standsAt(plans.run!)!.verdict, 'broken');
  plans.close();
});

test('events that were unfenced before the step count for nothing, one more during it is broken', async () => {
  const stand = setUp();
  const plans = await stand.replica('a');
  stand.says.set('a', { unfenced: 40 });
  await plans.start(plan, 'ada');
  await stand.pass(12);
  assert.equal(plans.run!.why, '');
  stand.says.set('a', { unfenced: 41 });
  await stand.pass(10);
  assert.deepEqual(stand.rollbacks, ['1 unfenced, at most 0 (2 of 2 for a verdict)']);
  plans.close();
});

test('it rolls back without the log, while somebody holds it too, and writes that down when the log is back', async () => {
  const stand = setUp();
  const plans = await stand.replica('a');
  await plans.start(plan, 'ada');
  await stand.pass(3);
  stand.by('bob', 'hold', { hold: { who: 'bob', when: '2026-01-01T00:00:00Z', why: 'lunch' } });
  stand.logAnswers = false;
  stand.outage = { since: '', reason: 'timeout', fails: ['a'] };
  await stand.pass(11);
  assert.equal(stand.state.percent, 0);
  assert.match(stand.rollbacks[0]!, /^the log failed \(timeout\): all rooms are at the bridge/);
  assert.equal(plans.run!.state, 'rolled back');
  stand.logAnswers = true;
  await stand.pass(1);
  assert.equal(JSON.parse(stand.values.get('plan')!.value).state, 'rolled back');
  plans.close();
});

test('a sample that the log takes late does not stand for the rollback that came after it', async () => {
  const stand = setUp();
  const plans = await stand.replica('a');
  await plans.start(plan, 'ada');
  await stand.pass(3);
  stand.whileLooking = async () => {
    stand.logAnswers = false;
    stand.outage = { since: '', reason: 'timeout', fails: ['a'] };
  };
  await stand.pass(11);
  assert.equal(plans.run!.state, 'rolled back');
  stand.letLogCatchUp();
  await stand.pass(1);
  const stored = JSON.parse(stand.values.get('plan')!.value) as PlanRun;
  assert.deepEqual(stored, plans.run);
  assert.match(stored.why, /\(rolled back at once\)$/);
  assert.equal(standsAt(stored)!.verdict, 'broken');
  plans.close();
});

test('nor does one that was sent as the log came back for a moment, and that it takes late', async () => {
  const stand = setUp();
  const plans = await stand.replica('a');
  await plans.start(plan, 'ada');
  await stand.pass(3);
  stand.logAnswers = false;
  stand.outage = { since: '', reason: 'timeout', fails: ['a'] };
  await stand.pass(4);
  assert.equal(standsAt(plans.run!)!.samples.broken, 1);
  stand.takesWrites = false;
  stand.logAnswers = true;
  await stand.pass(1);
  stand.logAnswers = false;
  await stand.pass(6);
  assert.equal(plans.run!.state, 'rolled back');
  stand.letLogCatchUp();
  await stand.pass(1);
  assert.deepEqual(JSON.parse(stand.values.get('plan')!.value), plans.run);
  assert.match(plans.run!.why, /\(rolled back at once\)$/);
  plans.close();
});

test('a hold keeps it where it is, its guards on; released, it goes on by itself', async () => {
  const stand = setUp();
  const plans = await stand.replica('a');
  await plans.start(plan, 'ada');
  await stand.pass(3);
  stand.by('bob', 'hold', { hold: { who: 'bob', when: '2026-01-01T00:00:00Z', why: 'lunch' } });
  await stand.pass(60);
  assert.deepEqual(standOf(plans), { state: 'running', percent: 5, why: 'bob holds it: lunch' });
  stand.by('bob', 'release', { hold: null });
  await stand.pass(5);
  assert.equal(stand.state.percent, 100);
  plans.close();
});

test('what the guard refuses waits, says so, and goes on by itself', async () => {
  const stand = setUp();
  const plans = await stand.replica('a');
  stand.refusal = '2 clients are connected to the bridge directly';
  await plans.start(plan, 'ada');
  await stand.pass(12);
  assert.deepEqual(standOf(plans), { state: 'running', percent: undefined, why: stand.refusal });
  stand.refusal = '';
  await stand.pass(5);
  assert.equal(stand.state.percent, 5);
  plans.close();
});

test('clients that have missed the stream lane for 30 s roll it back', async () => {
  const stand = setUp();
  const plans = await stand.replica('a');
  await plans.start(plan, 'ada');
  await stand.pass(2);
  plans.onSurplus(3);
  await stand.pass(1);
  assert.deepEqual(stand.rollbacks, ['3 clients of the bridge have missed the stream lane for 30 s']);
  plans.close();
});

test('paused it neither moves nor looks, also when its time is over; resumed it goes on where it stood', async () => {
  const stand = setUp();
  const plans = await stand.replica('a');
  await plans.start(plan, 'ada');
  await stand.pass(12);
  await plans.pause('bob', 'what is that?');
  stand.says.set('a', { lag: 300 });
  await stand.pass(300);
  assert.deepEqual(standOf(plans), { state: 'paused', percent: 5, why: 'paused by bob: what is that?' });
  await assert.rejects(plans.pause('eve'), { code: 'CUTOVER_CONFLICT', message: /paused by bob/ });
  stand.says.set('a', {});
  await plans.resume('bob');
  await stand.pass(6);
  assert.equal(stand.state.percent, 5, 'the pause is no part of its time');
  await stand.pass(9);
  assert.equal(stand.state.percent, 100);
  plans.close();
});

const changes: [what: string, change: Difference][] = [
  ['set 30', { percent: 30 }],
  ['rollback', { percent: 0 }],
  ['kill switch of b', { killed: ['b'] }],
];
for (const [what, change] of changes) {
  test(`a person's ${what} ends it, and it moves nothing any more`, async () => {
    const stand = setUp();
    const plans = await stand.replica('a');
    await plans.start(plan, 'ada');
    await stand.pass(3);
    stand.by('bob', what, change);
    const { epoch } = stand.state;
    await stand.pass(1);
    assert.deepEqual(standOf(plans), { state: 'ended', percent: 5, why: `bob: ${what}` });
    await stand.pass(60);
    assert.equal(stand.state.epoch, epoch);
    plans.close();
  });
}

test('stopped, it ends where it is; there is one at a time, and none that would lower the percent', async () => {
  const stand = setUp();
  const plans = await stand.replica('a');
  await assert.rejects(plans.stop('bob'), { code: 'CUTOVER_CONFLICT' });
  stand.by('bob', 'set 50', { percent: 50 });
  await assert.rejects(plans.start(plan, 'ada'), { code: 'CUTOVER_INVALID', message: /50% is set already/ });
  stand.by('bob', 'set 3', { percent: 3 });
  await plans.start(plan, 'ada');
  await assert.rejects(plans.start(plan, 'eve'), { code: 'CUTOVER_CONFLICT', message: /^ada runs the plan 'evening'/ });
  await stand.pass(3);
  await plans.stop('bob', 'enough');
  await stand.pass(60);
  assert.deepEqual(standOf(plans), { state: 'ended', percent: 5, why: 'stopped by bob: enough' });
  assert.equal(stand.state.percent, 5);
  await plans.start(plan, 'eve');
  plans.close();
});

for (const verb of ['stop', 'pause'] as const) {
  test(`a ${verb} while the guard takes its readings for a step keeps that step from being made`, async () => {
    const stand = setUp();
    const plans = await stand.replica('a');
    await plans.start(plan, 'ada');
    await stand.pass(1);
    const reading = Promise.withResolvers<void>();
    stand.beforeRaise = () => reading.promise;
    await stand.pass(25);
    await plans[verb]('bob');
    reading.resolve();
    await stand.pass(30);
    assert.equal(stand.state.percent, 5);
    assert.equal(plans.run!.state, verb === 'stop' ? 'ended' : 'paused');
    plans.close();
  });
}

test('who pauses it while a sample is taken is told that it is paused', async () => {
  const stand = setUp();
  const plans = await stand.replica('a');
  await plans.start(plan, 'ada');
  await stand.pass(1);
  const looking = Promise.withResolvers<void>();
  stand.whileLooking = () => looking.promise;
  await stand.pass(6);
  await plans.pause('bob');
  looking.resolve();
  await stand.pass(1);
  assert.equal(plans.run!.state, 'paused');
  await stand.pass(10);
  assert.equal(plans.run!.state, 'paused');
  plans.close();
});

test('a rollback that is read in one go with its own step ends it', async () => {
  const stand = setUp();
  const plans = await stand.replica('a');
  await plans.start(plan, 'ada');
  await stand.pass(1);
  stand.afterRaise = () => stand.by('bob', 'rollback', { percent: 0 });
  await stand.pass(30);
  assert.equal(stand.state.percent, 0);
  assert.deepEqual([plans.run!.state, plans.run!.why], ['ended', 'bob: rollback']);
  plans.close();
});

test('a time in which no replica lived is not held', async () => {
  const stand = setUp();
  const first = await stand.replica('a');
  await first.start(plan, 'ada');
  await stand.pass(5);
  first.close();
  stand.clock.advance(8 * 3_600_000);
  const second = await stand.replica('a');
  await stand.pass(4);
  assert.ok(standsAt(second.run!)!.heldMs <= 30_000, `${standsAt(second.run!)!.heldMs} ms`);
  second.close();
});

test('a replica that stood still while the run was stopped does not roll back for it', async () => {
  const stand = setUp();
  const [plans, other] = [await stand.replica('a'), await stand.replica('b')];
  await plans.start(plan, 'ada');
  await stand.pass(1);
  stand.says.set('a', { isSlow: true });
  let looks = 0;
  stand.whileLooking = async () => {
    if (++looks === 2) await other.stop('bob');
  };
  await stand.pass(20);
  assert.equal(looks, 2);
  assert.deepEqual([stand.rollbacks, stand.state.percent, plans.run!.state], [[], 5, 'ended']);
  for (const each of [plans, other]) each.close();
});

test('the one that leads dies: another one goes on with the step where it stood, and no step is taken twice', async () => {
  const stand = setUp();
  const [a, b] = [await stand.replica('a'), await stand.replica('b')];
  await a.start(plan, 'ada');
  await stand.pass(11);
  // An alert of a time at which it did not lead.
  b.onSurplus(3);
  await stand.pass(1);
  a.close();
  await stand.pass(12);
  assert.equal(stand.state.percent, 100, 'its time has gone on');
  await stand.pass(20);
  assert.deepEqual(standOf(b), { state: 'done', percent: 100, why: '' });
  assert.equal(stand.state.history.length, 2);
  b.close();
});

test('the one that leads dies between the move and its note: the history says what it did', async () => {
  const stand = setUp();
  const [a, b] = [await stand.replica('a'), await stand.replica('b')];
  await a.start(plan, 'ada');
  a.close();
  stand.by('plan evening', 'set 5', { percent: 5 });
  await stand.pass(2);
  assert.deepEqual(standOf(b), { state: 'running', percent: 5, why: '' });
  stand.by('plan evening', 'rollback', { percent: 0 });
  await stand.pass(1);
  assert.equal(b.run!.state, 'rolled back');
  b.close();
});

test('a log that was emptied does not end what runs', async () => {
  const stand = setUp();
  const plans = await stand.replica('a');
  await plans.start(plan, 'ada');
  await stand.pass(3);
  stand.values.clear();
  await stand.pass(20);
  assert.equal(stand.state.percent, 100);
  plans.close();
});
