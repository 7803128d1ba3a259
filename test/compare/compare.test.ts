// The compare as a job: of several replicas on one log whichever lives adds up, each slice once, and a stop is never lost.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Compare } from '../../src/compare/compare.ts';
import type { CompareRun } from '../../src/compare/run.ts';
import type { SliceReport } from '../../src/compare/slice.ts';
import { objectionOf, verdictOf } from '../../src/compare/verdict.ts';
import { loadContract } from '../../src/contract/load.ts';
import { CrossfadeError } from '../../src/errors.ts';
import type { LiveReplica } from '../../src/log/log.ts';
import type { RoomLanes } from '../../src/rooms/room-lanes.ts';
import { Faults } from '../../src/telemetry/faults.ts';
import { silentLogger } from '../../src/telemetry/logger.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { TestClock } from '../support/clock.ts';
import { supportCenterText } from './setup.ts';

const contract = loadContract(supportCenterText, 'support-center.yaml');

/** Replicas on one log, moved by one clock; what they see is the test's to say. */
class Stand {
  readonly clock = new TestClock();
  readonly values = new Map<string, string>();
  readonly roster = new Set<string>();
  readonly metrics = createMetrics();
  answers = true;

  replica(instance: string): Compare {
    this.roster.add(instance);
    const answering = async <Answer>(answer: () => Answer): Promise<Answer> => {
      if (!this.answers) throw new CrossfadeError('LOG_UNAVAILABLE', 'the log is away');
      return answer();
    };
    return new Compare({
      instance,
      version: 'test',
      hubs: 'proxy',
      contract,
      log: {
        shared: (key) => answering(() => this.values.get(key)),
        share: (key, value) => answering(() => void this.values.set(key, value)).catch(() => {}),
        swap: (key, from, to) =>
          answering(() => {
            if (this.values.get(key) !== from) return false;
            this.values.set(key, to);
            if (key === 'compare-adder')
              this.clock.after(5_000, () => this.values.get(key) === to && this.values.delete(key));
            return true;
          }),
        openTail: async () => ({ read: () => new Promise(() => {}), close() {} }),
        time: async () => this.clock.now(),
        roster: {
          replicas: async () => [...this.roster].map((each) => ({ instance: each }) as LiveReplica),
        } as never,
      },
      edge: { watch() {}, watchedGroups: () => [] },
      roomLanes: { standalone: false, onAdopted() {} } as unknown as RoomLanes,
      outage: { isOn: false } as never,
      clock: this.clock,
      faults: new Faults(silentLogger, this.metrics),
      logger: silentLogger,
      metrics: this.metrics,
    });
  }

  async pass(seconds: number): Promise<void> {
    for (let second = 0; second < seconds; second++) {
      this.clock.advance(1_000);
      for (let turn = 0; turn < 30; turn++) await nextTurn();
    }
  }

  /** What a replica has found in a slice, in place of what it would have reported itself. */
  says(run: CompareRun, instance: string, slice: number, marks: string, more: Partial<SliceReport> = {}): void {
    const report: SliceReport = {
      instance,
      slice,
      isJudged: true,
      disturbed: [],
      types: marks === '' ? {} : { chat_message: { digest: `of ${slice}`, marks } },
      latencies: {},
      unshadowed: 0,
      samples: [],
      suspects: [],
      messages: { explained: 0, byClients: 0, ofHub: 0, unjudged: 0 },
      ...more,
    };
    this.values.set(`compare ${run.id} ${slice} ${instance}`, JSON.stringify(report));
  }
}

const suspect = (key: string) => ({
  key,
  sample: { kind: 'alone' as const, replica: 'a', at: '', hub: 'chat', method: 'M', rooms: ['r1'] },
});

test('what replicas have found is added up once, by whichever lives, and the strongest word of an event counts', async () => {
  const stand = new Stand();
  const [a, b] = [stand.replica('a'), stand.replica('b')];
  const run = await a.start('ada');
  const first = run.firstSlice;
  // Both have members of the same rooms: an event is one event.
  stand.says(run, 'a', first, '==..');
  stand.says(run, 'b', first, '=m=.');
  for (let at = first + 1; at < first + 6; at++) for (const each of ['a', 'b']) stand.says(run, each, at, '==');
  await stand.pass(12);
  const added = b.run!;
  assert.ok(added.nextSlice > first, 'it goes on');
  const { events, same, missing, unjudged } = added.types.chat_message!;
  assert.deepEqual([missing, unjudged], [1, { '.': 1 }]);
  assert.equal(events, same + 2);
  assert.equal(events, 4 + 2 * (added.nextSlice - first - 1));

  // The one that adds up dies, with what it had not reported.
  a.close();
  stand.roster.delete('a');
  for (let at = first + 6; at < first + 10; at++) stand.says(run, 'b', at, '==');
  await stand.pass(40);
  await b.stop();
  await stand.pass(40);
  assert.equal(b.run!.state, 'ended');
  const verdict = verdictOf(b.run!, stand.clock.now());
  assert.equal(verdict.is, 'different');
  assert.equal(b.run!.types.chat_message!.missing, 1, 'the verdict is the same');
  assert.match(verdict.line, /^DIFFERENT: 1 not shown by the bridge; \d+ events judged in .*; 1 could not be judged$/);
});

test('what no event explains counts once, and not where any replica was disturbed, or is silent', async () => {
  const stand = new Stand();
  const [a, b] = [stand.replica('a'), stand.replica('b')];
  const run = await a.start('ada');
  const first = run.firstSlice;
  const last = first + 12;
  for (let at = first; at <= last + 3; at++)
    for (const each of ['a', 'b']) {
      // Seen by two, in neighbouring slices; and one while the other replica fell back.
      const suspects =
        at === first + 2 && each === 'a' ? [suspect('x')] : at === first + 3 && each === 'b' ? [suspect('x')] : [];
      const late = at === first + 8 && each === 'a' ? [suspect('y')] : [];
      const disturbed = at === first + 10 && each === 'b' ? ['fallback'] : [];
      stand.says(run, each, at, '=', { suspects: [...suspects, ...late], disturbed });
    }
  await stand.pass(30);
  assert.deepEqual([b.run!.messages.alone, b.run!.messages.unjudged], [1, 1]);
  assert.deepEqual(
    b.run!.samples.map(({ kind }) => kind),
    ['alone'],
  );
  assert.ok(b.run!.disturbed.fallback! >= 3);
  const { values } = await stand.metrics.compareDifferences.get();
  assert.equal(values.find(({ labels }) => labels.kind === 'alone')?.value, 1);
  a.close();
  b.close();
});

test('a second start, and a stop of nothing, are refused; without the log nothing begins; a run ends by itself after a day', async () => {
  const stand = new Stand();
  const a = stand.replica('a');
  await assert.rejects(a.stop(), { code: 'CUTOVER_CONFLICT' });
  stand.answers = false;
  await assert.rejects(a.start('ada'), { code: 'LOG_UNAVAILABLE' });
  stand.answers = true;
  await a.start('ada');
  await assert.rejects(a.start('bob'), { code: 'CUTOVER_CONFLICT', message: /ada compares already/ });
  await stand.pass(2);
  stand.clock.advance(24 * 3_600_000);
  await stand.pass(5);
  assert.notEqual(a.run!.state, 'running');
  a.close();
});

test('rooms are raised by a verdict that is clean, fresh, and rests on enough', async () => {
  const stand = new Stand();
  const a = stand.replica('a');
  const now = stand.clock.now();
  assert.match(a.objection!, /nothing was compared/);
  const run = await a.start('ada');
  const of = (same: number, more: object = {}, unjudged = 0): CompareRun => ({
    ...run,
    state: 'ended',
    endedAt: new Date(now + 60_000).toISOString(),
    types: {
      chat_message: {
        events: same,
        same,
        ignored: 0,
        missing: 0,
        changed: 0,
        order: 0,
        unjudged: { '.': unjudged },
        bridge: [],
        stream: [],
        ...more,
      },
    },
  });
  const later = now + 3_600_000;
  assert.equal(objectionOf(of(100), later), undefined);
  assert.match(objectionOf(of(99), later)!, /only 99 events/);
  assert.match(objectionOf(of(100, { missing: 1 }), later)!, /DIFFERENT: 1 not shown/);
  assert.match(objectionOf(of(100, {}, 101), later)!, /most events could not be compared/);
  assert.match(objectionOf(of(0, {}, 5), later)!, /NOT JUDGED/);
  assert.match(objectionOf(of(100), now + 25 * 3_600_000)!, /stale/);
  a.close();
});
