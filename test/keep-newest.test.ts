// Tables that keep their newest entries.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { setNewest } from '../src/keep-newest.ts';

test('whatever is set, set again and deleted: the newest entries are there, in their order, and no others', () => {
  const key = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'g');
  const step = fc.record({ key, isDeletion: fc.boolean(), maxCount: fc.integer({ min: 0, max: 4 }) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const table = new Map<string, number>();
      let model: string[] = [];
      for (const [index, { key: each, isDeletion, maxCount }] of steps.entries()) {
        model = model.filter((other) => other !== each);
        if (isDeletion) {
          table.delete(each);
          continue;
        }
        setNewest(table, each, index, maxCount);
        model = maxCount === 0 ? [] : [...model, each].slice(-maxCount);
        assert.deepEqual([...table.keys()], model);
      }
    }),
  );
});
