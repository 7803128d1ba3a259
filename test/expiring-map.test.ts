// What is kept for a fixed time, with its value, by a clock in the test's hand.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ExpiringMap } from '../src/expiring-map.ts';
import { TestClock } from './support/clock.ts';

const forMs = 1_000;

test('a value is there for its time, and for a whole time again once it is set anew', () => {
  const clock = new TestClock();
  const kept = new ExpiringMap<string>({ clock, forMs, maxCount: 10 });
  kept.set('a', 'one');
  clock.advance(forMs - 1);
  assert.equal(kept.get('a'), 'one');
  kept.set('a', 'two');
  clock.advance(forMs - 1);
  assert.equal(kept.get('a'), 'two');
  clock.advance(1);
  assert.equal(kept.get('a'), undefined);
  assert.equal(kept.size, 0);
});

test('one that is deleted is gone, and may come again', () => {
  const kept = new ExpiringMap<string>({ clock: new TestClock(), forMs, maxCount: 10 });
  kept.set('a', 'one');
  kept.delete('a');
  assert.equal(kept.get('a'), undefined);
  kept.set('a', 'two');
  assert.equal(kept.get('a'), 'two');
});

test('whoever has put it there is told of a value that is forgotten, and not of one that is deleted', () => {
  const clock = new TestClock();
  const forgotten: string[] = [];
  const kept = new ExpiringMap<string>({ clock, forMs, maxCount: 2 }, (value) => forgotten.push(value));
  for (const key of ['a', 'b', 'c', 'd']) kept.set(key, key);
  assert.deepEqual(forgotten, ['a', 'b']);
  kept.delete('c');
  clock.advance(forMs);
  kept.sweep();
  assert.deepEqual(forgotten, ['a', 'b', 'd']);
});

test('whatever is set, deleted and waited for: what is there is what a list of all that happened says', () => {
  const step = fc.oneof(
    fc.record({ key: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f') }),
    fc.record({ deleted: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f') }),
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(step, fc.integer({ min: 1, max: 400 })), { maxLength: 60 }), (steps) => {
      const clock = new TestClock();
      const kept = new ExpiringMap<number>({ clock, forMs, maxCount: 4 });
      let model: { key: string; value: number; until: number }[] = [];
      for (const [index, [each, waitMs]] of steps.entries()) {
        const key = 'key' in each ? each.key : each.deleted;
        model = model.filter((entry) => entry.key !== key && entry.until > clock.monotonic());
        if ('key' in each) {
          kept.set(key, index);
          model = [...model, { key, value: index, until: clock.monotonic() + forMs }].slice(-4);
        } else kept.delete(key);
        clock.advance(waitMs);
        model = model.filter(({ until }) => until > clock.monotonic());
        for (const name of 'abcdef') assert.equal(kept.get(name), model.find((entry) => entry.key === name)?.value);
        assert.equal(kept.size, model.length);
      }
    }),
  );
});
