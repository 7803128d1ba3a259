// What a client's request line asks for. In comes path and query as on the wire, out goes which hub and connection they
// mean, as ASP.NET reads them: names in any case, percent-encoded or not.
// Promises: what leaves `/hubs/` again (by dot segments, which the bridge would resolve) is no hub path; what a line costs is
// bounded, as it is read before anybody knows whose it is.

export interface HubPath {
  /** Decoded; whether such a hub exists is the contract's or the bridge's to say. */
  hub: string;
  negotiates: boolean;
  /** Whether a connection's client brings a new access token (.NET 11). */
  refreshes: boolean;
  /** Its token has no tag any more, where it came with one. */
  query: URLSearchParams;
  /** What the tag has said, see relay/token-tag.ts: the bridge's (empty: native hubs), and whether another replica has given it out. */
  origin?: { bridge: string; isElsewhere: boolean };
}

/** Twice what Kestrel takes of a request line; access tokens of a few KB travel in it. */
const maxUrlChars = 16 * 1024;
/** Clients of SignalR send up to five. */
const maxPairs = 100;

/** @returns the status with which a request line that takes too much to read is refused */
export function tooLong(url: string): 400 | 414 | undefined {
  if (url.length > maxUrlChars) return 414;
  return url.split('&', maxPairs + 1).length > maxPairs ? 400 : undefined;
}

/** @returns undefined for everything that is not below `/hubs/` */
export function readHubPath(url: string): HubPath | undefined {
  const queryAt = url.indexOf('?');
  const path = queryAt === -1 ? url : url.slice(0, queryAt);
  const decoded = decodeQuery(path);
  if (decoded === undefined || !/^\/hubs\//i.test(decoded) || /(^|[/\\])\.\.?([/\\]|$)/.test(decoded)) return undefined;
  const [, hub = '', action] = /^\/hubs\/([^/]+?)(\/negotiate|\/refresh)?\/?$/i.exec(decoded) ?? [];
  const query = new URLSearchParams(queryAt === -1 ? '' : url.slice(queryAt));
  return { hub, negotiates: /negotiate/i.test(action ?? ''), refreshes: refreshPath.test(decoded), query };
}

/** Also of a hub that the contract does not know, whose path may be longer. */
const refreshPath = /^\/hubs\/.+\/refresh\/?$/i;

/** The URL of the hub itself in that of a refresh, with the same query. @returns undefined where it is spelt in another way than clients do */
export function hubUrlOf(refreshUrl: string): string | undefined {
  const [, hub, query = ''] = /^([^?]+)\/refresh\/?(\?.*)?$/i.exec(refreshUrl) ?? [];
  return hub === undefined ? undefined : hub + query;
}

/** ASP.NET finds query names in any case, and reads a repeated one as all its values with commas between them. */
export function queryValue(query: URLSearchParams, name: string): string | undefined {
  const values = [...query].filter(([key]) => key.toLowerCase() === name.toLowerCase()).map(([, value]) => value);
  return values.length === 0 ? undefined : values.join(',');
}

/** The URL without these values of its query; every other byte stays as it is. @param name in lower case */
export function withoutQueryValue(url: string, name: string): string {
  return mapPairs(url, (pair) => (pairName(pair) === name ? undefined : pair));
}

/** The URL with this value in place of those that it has under this name; every other byte stays as it is. @param name in lower case */
export function withQueryValue(url: string, name: string, value: string): string {
  return mapPairs(url, (pair) => (pairName(pair) === name ? `${name}=${encodeURIComponent(value)}` : pair));
}

/** @param map gets each pair of the query as it is written, and takes it out with undefined */
function mapPairs(url: string, map: (pair: string) => string | undefined): string {
  const queryAt = url.indexOf('?');
  if (queryAt === -1) return url;
  const pairs = url
    .slice(queryAt + 1)
    .split('&')
    .map(map);
  const kept = pairs.filter((pair) => pair !== undefined);
  return kept.length === 0 ? url.slice(0, queryAt) : `${url.slice(0, queryAt)}?${kept.join('&')}`;
}

function pairName(pair: string): string | undefined {
  return decodeQuery(pair.split('=', 1)[0]!)?.toLowerCase();
}

function decodeQuery(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
