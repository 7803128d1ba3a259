// What a call's request line asks for: in comes the target as on the wire, out come the path as the bridge reads it and the
// URL that goes on to the bridge. Promises: one spelling for every path, the one that Kestrel makes of it, so that no
// spelling leads past the key check or the contract; what Kestrel itself refuses is refused here.

export interface RequestPath {
  /** Percent-decoded (but for `%2F`), without dot segments, the case as it was; '' for `*`. */
  path: string;
  /** Path and query for the bridge, byte for byte; without the authority where a proxy's request line came. */
  url: string;
}

/** @returns undefined where Kestrel answers 400 */
export function readRequestPath(target: string): RequestPath | undefined {
  if (target === '*') return { path: '', url: target };
  const url = target.startsWith('/') ? target : withoutAuthority(target);
  if (url === undefined || /[^\x01-\x7f]/.test(url)) return undefined;
  const [raw = ''] = url.split('?', 1);
  if (raw.includes('%00')) return undefined;
  const path = withoutDotSegments(raw.includes('%') ? decode(raw) : raw);
  return { path, url };
}

/** What follows `/internal/` in a path, '' for `/internal` itself; undefined outside of it. */
export function pathBelowInternal(path: string): string | undefined {
  return /^\/internal(\/|$)/i.test(path) ? path.slice('/internal/'.length) : undefined;
}

/** RFC 9112, 3.2.2: the absolute form, as clients send it to a proxy. */
function withoutAuthority(target: string): string | undefined {
  const rest = /^https?:\/\/[^/?#]+(.*)$/is.exec(target)?.[1];
  return rest === undefined || rest.startsWith('/') ? rest : `/${rest}`;
}

/** One ASCII character, or one whole sequence of UTF-8. */
const escapes =
  /%[0-7][\da-f]|%[cd][\da-f]%[89ab][\da-f]|%e[\da-f](?:%[89ab][\da-f]){2}|%f[\da-f](?:%[89ab][\da-f]){3}/gi;

/** As Kestrel's UrlDecoder: `%2F`, and what is no UTF-8, stays as it is. */
function decode(path: string): string {
  return path.replace(escapes, (escaped) => {
    if (/^%2f$/i.test(escaped)) return escaped;
    try {
      return decodeURIComponent(escaped);
    } catch {
      return escaped;
    }
  });
}

/** RFC 3986, 5.2.4. Kestrel does so behind the decoding: `%2e%2e` climbs too. */
function withoutDotSegments(path: string): string {
  if (!path.includes('/.')) return path;
  const segments = path.split('/').slice(1);
  const kept: string[] = [];
  for (const segment of segments) {
    if (segment === '..') kept.pop();
    else if (segment !== '.') kept.push(segment);
  }
  if (/^\.\.?$/.test(segments.at(-1)!)) kept.push('');
  return `/${kept.join('/')}`;
}
