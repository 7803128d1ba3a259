// Who a token names: in come the claims of a JWT, out goes SignalR's user (the claim that ASP.NET maps to NameIdentifier).

import type { JWTPayload } from 'jose';

const nameIdentifier = 'http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier';

export function userOf(claims: JWTPayload): string | undefined {
  return [claims.sub, claims.nameid, claims[nameIdentifier]].find(
    (claim) => typeof claim === 'string' && claim !== '',
  ) as string | undefined;
}

/** The token of an `Authorization: Bearer` header. */
export function bearerOf(authorization: string | undefined): string | undefined {
  return /^Bearer\s+(.+)$/i.exec(authorization ?? '')?.[1];
}
