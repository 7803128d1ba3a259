// The tag in front of a connection token: which replica has answered its negotiate, and through which bridge. In come tokens and URLs,
// out go the same with a tag or without it. Promises: a token without a tag stays what it is; every other byte of a URL stays as it is;
// a tag names nobody to who reads it.

import { queryValue, withQueryValue } from '../hub-path.ts';

/** Both by {@link shortTag}. */
export interface TokenTag {
  /** The replica that the connection belongs to, if it comes by requests. */
  replica: string;
  /** Empty where hubs are native. */
  bridge: string;
}

export interface TaggedToken extends TokenTag {
  /** As the bridge, or the native hubs, have given it out. */
  token: string;
}

/** `~` needs no escape in a URL (RFC 3986, 2.3), and stands in no token of ASP.NET: those are base64url. */
const form = /^([\w-]{8})~([\w-]{8})?~([^~,]+)$/;

/** What stands in front of the token. */
export function tagText({ replica, bridge }: TokenTag): string {
  return `${replica}~${bridge}~`;
}

/** @returns undefined where the query has no token, or one without a tag */
export function readTagged(query: URLSearchParams): TaggedToken | undefined {
  const [, replica, bridge = '', token] = form.exec(queryValue(query, 'id') ?? '') ?? [];
  return replica === undefined || token === undefined ? undefined : { replica, bridge, token };
}

/** The URL of a request with a tagged token, as whoever has given the token out knows it. */
export function withoutTag(url: string, { token }: TaggedToken): string {
  return withQueryValue(url, 'id', token);
}
