// Tokens as the bridge judges them: HS256 by secret, all else by the keys of a JWKS address.

import assert from 'node:assert/strict';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { exportJWK, generateKeyPair, type JWTPayload, SignJWT } from 'jose';
import { Auth, type Identified, type Identity } from '../../../src/edge/native/auth.ts';

const secret = 'a-secret-of-at-least-32-characters!!';
const now = () => Math.floor(Date.now() / 1000);

function sign(claims: JWTPayload, key = secret, alg = 'HS256'): Promise<string> {
  return new SignJWT({ exp: now() + 60, ...claims }).setProtectedHeader({ alg }).sign(new TextEncoder().encode(key));
}

function identify(auth: Auth, token: string, place: 'header' | 'query' = 'header'): Promise<Identity> {
  const headers = place === 'header' ? { authorization: `Bearer ${token}` } : {};
  const query = new URLSearchParams(place === 'query' ? { access_token: token } : {});
  return auth.identify({ headers } as IncomingMessage, query);
}

const userOf = async (identity: Promise<Identity>) => {
  const { expiresAt, ...user } = (await identity) as Identified;
  assert.equal(Number.isSafeInteger(expiresAt), true);
  return user;
};
const challengeOf = async (identity: Promise<Identity>) => ((await identity) as { challenge: string }).challenge;

test('the user is `sub`, `nameid` or the name identifier; issuer and audience do not matter', async () => {
  const auth = new Auth({ secret, jwksUrl: undefined });
  const uri = 'http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier';
  assert.deepEqual(await userOf(identify(auth, await sign({ sub: 'u1', iss: 'x', aud: 'y' }))), { user: 'u1' });
  assert.deepEqual(await userOf(identify(auth, await sign({ nameid: 'u2' }), 'query')), { user: 'u2' });
  assert.deepEqual(await userOf(identify(auth, await sign({ [uri]: 'u3' }))), { user: 'u3' });
  assert.deepEqual(await userOf(identify(auth, await sign({}))), { user: undefined });
});

test('a lifetime is needed and judged with 5 minutes of skew', async () => {
  const auth = new Auth({ secret, jwksUrl: undefined });
  assert.deepEqual(await userOf(identify(auth, await sign({ sub: 'u', exp: now() - 290 }))), { user: 'u' });
  assert.deepEqual(await userOf(identify(auth, await sign({ sub: 'u', nbf: now() + 290 }))), { user: 'u' });
  const expired = await challengeOf(identify(auth, await sign({ sub: 'u', exp: 1_767_225_600 - 3 * 86_400 * 365 })));
  assert.match(
    expired,
    /^Bearer error="invalid_token", error_description="The token expired at '\d\d\/\d\d\/\d{4} \d\d:\d\d:\d\d'"$/,
  );
  const early = await challengeOf(identify(auth, await sign({ sub: 'u', nbf: now() + 400 })));
  assert.match(early, /The token is not valid before '/);
  const token = await new SignJWT({ sub: 'u' })
    .setProtectedHeader({ alg: 'HS256' })
    .sign(new TextEncoder().encode(secret));
  assert.match(await challengeOf(identify(auth, token)), /The token has no expiration/);
});

test('a token whose times are no dates is challenged, and nothing fails', async () => {
  const auth = new Auth({ secret, jwksUrl: undefined });
  for (const claims of [{ nbf: 'soon' }, { nbf: 1e300 }, { nbf: null }, { exp: 'never' }, { exp: -1e300 }]) {
    const challenge = await challengeOf(identify(auth, await sign({ sub: 'u', ...(claims as object) })));
    assert.match(challenge, /^Bearer error="invalid_token"/, JSON.stringify(claims));
  }
});

test('no token, a foreign one, an unsigned one and rubbish are challenged', async () => {
  const auth = new Auth({ secret, jwksUrl: undefined });
  assert.equal(await challengeOf(identify(auth, '', 'query')), 'Bearer');
  const foreign = await challengeOf(identify(auth, await sign({ sub: 'u' }, 'another-secret-of-32-characters!!!!!')));
  assert.equal(foreign, 'Bearer error="invalid_token", error_description="The signature key was not found"');
  const [, claims] = (await sign({ sub: 'u' })).split('.');
  const none = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${claims}.`;
  assert.match(await challengeOf(identify(auth, none)), /invalid_token/);
  assert.match(await challengeOf(identify(auth, await sign({ sub: 'u' }, secret, 'HS512'))), /invalid_token/);
  assert.equal(await challengeOf(identify(auth, 'rubbish')), 'Bearer error="invalid_token"');
});

test('keys of a JWKS address verify other algorithms, and never open the door to HS256', async (t) => {
  const { publicKey, privateKey } = await generateKeyPair('RS256');
  const keys = JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), alg: 'RS256', kid: 'k1' }] });
  const server = createServer((_, response) => response.end(keys));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const jwksUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`;
  const token = await new SignJWT({ sub: 'u', exp: now() + 60 })
    .setProtectedHeader({ alg: 'RS256', kid: 'k1' })
    .sign(privateKey);
  assert.deepEqual(await userOf(identify(new Auth({ secret: undefined, jwksUrl }), token)), { user: 'u' });
  assert.deepEqual(await userOf(identify(new Auth({ secret, jwksUrl }), await sign({ sub: 'v' }))), { user: 'v' });
  assert.match(
    await challengeOf(identify(new Auth({ secret: undefined, jwksUrl }), await sign({ sub: 'v' }))),
    /invalid_token/,
  );
  assert.match(await challengeOf(identify(new Auth({ secret, jwksUrl: undefined }), token)), /invalid_token/);
});
