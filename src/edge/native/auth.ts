// Who a client is: in comes a request with its token, out comes the user or the challenge of a 401.
// The checks are the bridge's (JwtBearer): signature, lifetime with 5 minutes of skew, an expiry is required; issuer and
// audience are not looked at. Texts as recorded.

import { createSecretKey, type KeyObject } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { createRemoteJWKSet, decodeProtectedHeader, errors, type JWTPayload, jwtVerify } from 'jose';
import { bearerOf, userOf } from '../user.ts';

export interface AuthOptions {
  /** HS256. */
  secret: string | undefined;
  /** Keys for every other algorithm (RS256, ES256, …). */
  jwksUrl: string | undefined;
}

export interface Identified {
  /** undefined: a valid token that names nobody; the hub aborts such a connection. */
  user: string | undefined;
  /** s since 1970: the token's expiry, without the skew for which it is accepted longer. */
  expiresAt: number;
}

export type Identity = Identified | { challenge: string };

const clockSkewSeconds = 300;

export class Auth {
  readonly #secret: KeyObject | undefined;
  readonly #keys: ReturnType<typeof createRemoteJWKSet> | undefined;

  constructor({ secret, jwksUrl }: AuthOptions) {
    if (secret !== undefined) this.#secret = createSecretKey(Buffer.from(secret));
    if (jwksUrl !== undefined) this.#keys = createRemoteJWKSet(new URL(jwksUrl));
  }

  async identify(request: IncomingMessage, query: URLSearchParams): Promise<Identity> {
    const token = tokenOf(request, query);
    if (token === undefined) return { challenge: 'Bearer' };
    try {
      const claims = await this.#verify(token);
      return { user: userOf(claims), expiresAt: claims.exp! };
    } catch (error) {
      const description = describeFault(error);
      const detail = description === undefined ? '' : `, error_description="${description}"`;
      return { challenge: `Bearer error="invalid_token"${detail}` };
    }
  }

  async #verify(token: string): Promise<JWTPayload> {
    const options = { clockTolerance: clockSkewSeconds, requiredClaims: ['exp'] };
    const symmetric = decodeProtectedHeader(token).alg?.startsWith('HS');
    if (symmetric && this.#secret) {
      return (await jwtVerify(token, this.#secret, { ...options, algorithms: ['HS256'] })).payload;
    }
    if (!symmetric && this.#keys) return (await jwtVerify(token, this.#keys, options)).payload;
    throw new errors.JWKSNoMatchingKey();
  }
}

function tokenOf(request: IncomingMessage, query: URLSearchParams): string | undefined {
  return bearerOf(request.headers.authorization) ?? (query.get('access_token') || undefined);
}

function describeFault(error: unknown): string | undefined {
  if (error instanceof errors.JWTExpired) return dated('The token expired at', error.payload.exp);
  if (error instanceof errors.JWSSignatureVerificationFailed || error instanceof errors.JWKSNoMatchingKey) {
    return 'The signature key was not found';
  }
  if (error instanceof errors.JWTClaimValidationFailed && error.claim === 'exp') return 'The token has no expiration';
  if (error instanceof errors.JWTClaimValidationFailed && error.claim === 'nbf') {
    return dated('The token is not valid before', error.payload.nbf);
  }
  return undefined;
}

/** Seconds since 1970 as .NET's invariant culture writes them, in UTC: `11/23/2026 21:31:24`; undefined for what is no date. */
function dated(text: string, seconds: unknown): string | undefined {
  const date = new Date(Number(seconds) * 1000);
  if (Number.isNaN(date.getTime())) return undefined;
  const [year, month, day, time] = date.toISOString().split(/[-T.]/);
  return `${text} '${month}/${day}/${year} ${time}'`;
}
