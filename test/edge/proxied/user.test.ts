// Users of transport requests, from tokens that nobody verifies here.

import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import { test } from 'node:test';
import { userOfRequest } from '../../../src/edge/proxied/user.ts';

const nameIdentifier = 'http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier';

function token(claims: object): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'none' })}.${part(claims)}.c2ln`;
}

function userOf(header: string | undefined, query: string | undefined) {
  const request = { headers: { authorization: header && `Bearer ${header}` } } as IncomingMessage;
  return userOfRequest(request, new URLSearchParams(query && { ACCESS_TOKEN: query }));
}

test('the user is `sub`, `nameid` or the name identifier, of the header’s token or the query’s', () => {
  assert.deepEqual(userOf(token({ sub: 'u1', nameid: 'x' }), undefined), { user: 'u1' });
  assert.deepEqual(userOf(undefined, token({ nameid: 'u2' })), { user: 'u2' });
  assert.deepEqual(userOf(undefined, token({ [nameIdentifier]: 'u3' })), { user: 'u3' });
  assert.deepEqual(userOf(token({ sub: 'u1' }), token({ sub: 'u1', exp: 1 })), { user: 'u1' });
});

test('no token, none that can be read, and none that names a user: no user', () => {
  for (const unreadable of [undefined, '', 'x', 'a.b.c', token({ sub: true }), token({ sub: '' })]) {
    assert.deepEqual(userOf(unreadable, undefined), { user: undefined });
    assert.deepEqual(userOf(undefined, unreadable), { user: undefined });
  }
});

test('tokens of two users contradict each other, also if one of them names nobody', () => {
  assert.deepEqual(userOf(token({ sub: 'u1' }), token({ sub: 'u2' })), { user: undefined, contradictory: true });
  assert.deepEqual(userOf(token({ sub: 'u1' }), token({})), { user: undefined, contradictory: true });
});
