// Whom the bridge takes a proxied client for: in comes a transport request, out goes its user. The token is read, not
// verified: by accepting the request the bridge has done that.

import type { IncomingMessage } from 'node:http';
import { decodeJwt } from 'jose';
import { queryValue } from '../hub-path.ts';
import { bearerOf, userOf } from '../user.ts';

/** `contradictory`: header and query bring tokens of different users, and only the bridge knows which one it looks at. */
export type BridgeUser = { user: string | undefined; contradictory?: boolean };

export function userOfRequest(request: IncomingMessage, query: URLSearchParams): BridgeUser {
  const inHeader = bearerOf(request.headers.authorization);
  const inQuery = queryValue(query, 'access_token');
  const users = [inHeader, inQuery].filter((token) => token).map((token) => userOfToken(token!));
  return new Set(users).size > 1 ? { user: undefined, contradictory: true } : { user: users[0] };
}

function userOfToken(token: string): string | undefined {
  try {
    return userOf(decodeJwt(token));
  } catch {
    return undefined;
  }
}
