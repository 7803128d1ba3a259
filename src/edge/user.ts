// Who a token names: in come the claims of a JWT, out goes SignalR's user (the claim that ASP.NET maps to NameIdentifier).

import type { JWTPayload } from 'jose';

/** What ASP.NET takes for the NameIdentifier; the first in the token counts. */
const userClaims = ['sub', 'nameid', 'http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier'];

/** @returns undefined for a token that names nobody; a number is its text, as every claim is a text there */
export function userOf(claims: JWTPayload): string | undefined {
  const [, user] = Object.entries(claims).find(([name]) => userClaims.includes(name)) ?? [];
  if (Number.isSafeInteger(user)) return String(user);
  return typeof user === 'string' && user !== '' ? user : undefined;
}

/** The token of an `Authorization: Bearer` header. */
export function bearerOf(authorization: string | undefined): string | undefined {
  return /^Bearer\s+(.+)$/i.exec(authorization ?? '')?.[1];
}
