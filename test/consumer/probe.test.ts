// The probe's age: by when it was sent, not by when it came; and what counts as one at all.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Probe } from '../../src/consumer/probe.ts';
import { Prepared } from '../../src/edge/prepared.ts';
import { type NewEntry, probeStream } from '../../src/log/log.ts';
import { TestClock } from '../support/clock.ts';

/** A log that keeps what it is given, unless it `refuses`. */
function setUp() {
  const clock = new TestClock();
  const kept: NewEntry[] = [];
  const log = {
    refuses: false,
    async append(entry: NewEntry) {
      if (log.refuses) throw new Error('refused');
      kept.push(entry);
      return 'appended' as const;
    },
  };
  const probe = new Probe({ log, clock });
  const arrive = (payload: string) => probe.write(new Prepared('', [{ method: 'probe', payload, eventId: '' }]));
  return { clock, kept, log, probe, arrive };
}

test('one goes out each second, into a short stream of its own, for nobody to be shown', async (t) => {
  const { clock, kept, probe } = setUp();
  probe.start();
  t.after(() => probe.stop());
  for (let second = 0; second < 3; second++) {
    clock.advance(1_000);
    await Promise.resolve();
    await Promise.resolve();
  }
  assert.deepEqual(
    kept.map(({ stream, maxLength, deliveries, eventIds }) => ({ stream, maxLength, deliveries, eventIds })),
    Array(3).fill({ stream: probeStream, maxLength: 100, deliveries: [], eventIds: [] }),
  );
});

test('its age is that of the newest that has arrived, however late that one came', async () => {
  const { clock, kept, probe, arrive } = setUp();
  clock.advance(3_000);
  assert.deepEqual([probe.hasArrived, probe.ageMs], [false, 3_000], 'since the start');
  await probe.send();
  clock.advance(7_000);
  arrive(kept[0]!.payload);
  assert.deepEqual([probe.hasArrived, probe.ageMs], [true, 7_000]);
  await probe.send();
  arrive(kept[1]!.payload);
  arrive(kept[0]!.payload);
  assert.equal(probe.ageMs, 0, 'an older one takes nothing back');
});

test('what is no probe of this process does not count: another replica’s, one of the process before, odd JSON', async () => {
  const { kept, probe, arrive } = setUp();
  const other = setUp();
  await other.probe.send();
  await probe.send();
  const { run } = JSON.parse(kept[0]!.payload);
  for (const payload of [
    other.kept[0]!.payload,
    'null',
    '7',
    '"x"',
    '{}',
    `{"run":"${run}"}`,
    `{"run":"${run}","sentAt":"1"}`,
  ])
    arrive(payload);
  assert.equal(probe.hasArrived, false);
});

test('whether the log keeps them is known for a while, and a log that hangs is not asked twice', async () => {
  const { clock, kept, log, probe } = setUp();
  assert.equal(probe.isKept, false);
  await probe.send();
  assert.equal(probe.isKept, true);
  log.refuses = true;
  await probe.send();
  clock.advance(2_500);
  assert.equal(probe.isKept, false);

  let answer = (_: 'appended') => {};
  log.append = () =>
    new Promise((resolve) => {
      answer = resolve;
      kept.length++;
    });
  const sending = [probe.send(), probe.send()];
  assert.equal(kept.length, 2);
  answer('appended');
  await Promise.all(sending);
  assert.equal(probe.isKept, true);
});
