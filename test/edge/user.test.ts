// Who a token names, as the reference bridge was seen to take it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { userOf } from '../../src/edge/user.ts';

test('the first name in the token counts, and a number is a name', () => {
  const nameIdentifier = 'http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier';
  const cases: [claims: Record<string, unknown>, user: string | undefined][] = [
    [{ sub: 'u1' }, 'u1'],
    [{ exp: 1, nameid: 'u1' }, 'u1'],
    [{ [nameIdentifier]: 'u1' }, 'u1'],
    [{ sub: 7 }, '7'],
    [{ nameid: 'n', sub: 's' }, 'n'],
    [{ sub: 's', nameid: 'n' }, 's'],
    [{ sub: '', nameid: 'n' }, undefined],
    [{ sub: null }, undefined],
    // Its text would not be the token's.
    [{ sub: 2 ** 60 }, undefined],
    [{}, undefined],
  ];
  for (const [claims, user] of cases) assert.equal(userOf(claims), user, JSON.stringify(claims));
});
