// Equal arguments, whoever wrote them down.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { comparable } from '../../../src/edge/proxied/comparable.ts';

test('order and case of names do not count, everything else does', () => {
  assert.equal(comparable({ userId: 'a', n: [1, { x: null }] }), comparable({ N: [1, { X: null }], UserId: 'a' }));
  const different = [{ a: 'X' }, { a: 'x' }, { a: ['x'] }, { b: 'x' }, { a: null }, {}, [], '', 0, false, null, '0'];
  assert.equal(new Set(different.map(comparable)).size, different.length);
});

test('a value is equal to its copy through JSON', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      assert.equal(comparable(JSON.parse(JSON.stringify(value))), comparable(value));
    }),
  );
});
