// The address of Redis: `redis[s]://[user][:password]@host[:port][/db]` comes in, its parts go out. Operators' passwords
// hold `/`, `+`, `=` and `@` as they are, which no URL parser reads, so the last `@` is taken as the end of the password.
// No error message holds any part of the user or the password.

import { CrossfadeError } from './errors.ts';

export interface RedisAddress {
  host: string;
  port: number;
  db: number;
  tls: boolean;
  username?: string;
  password?: string;
}

const schemeForm = /^(redis|rediss):\/\/(.*)$/is;
const placeForm = /^(\[[0-9a-f:.]+\]|[^:/?#[\]\s]+)(?::(\d{1,5}))?(?:\/(\d*))?$/i;

/** Errors: CONFIG_INVALID. */
export function parseRedisUrl(url: string): RedisAddress {
  const [, scheme, rest] = schemeForm.exec(url.trim()) ?? [];
  if (scheme === undefined || rest === undefined) throw invalidAddress('it does not begin with redis:// or rediss://');

  const at = rest.lastIndexOf('@');
  const [, host, port, db] = placeForm.exec(rest.slice(at + 1)) ?? [];
  if (host === undefined) throw invalidAddress('host[:port][/db] cannot be read');
  if (Number(port ?? 1) < 1 || Number(port ?? 1) > 65_535) throw invalidAddress('the port is not between 1 and 65535');

  return {
    host: host.replace(/^\[|\]$/g, ''),
    port: Number(port ?? 6379),
    db: Number(db ?? 0),
    tls: scheme.toLowerCase() === 'rediss',
    ...readUser(rest.slice(0, Math.max(at, 0))),
  };
}

function readUser(text: string): { username?: string; password?: string } {
  const colon = text.indexOf(':');
  const username = unescaped(colon < 0 ? text : text.slice(0, colon));
  const password = colon < 0 ? '' : unescaped(text.slice(colon + 1));
  return { ...(username && { username }), ...(password && { password }) };
}

/** Escapes are optional; a `%` that is none stands for itself. */
function unescaped(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function invalidAddress(why: string): CrossfadeError {
  return new CrossfadeError('CONFIG_INVALID', `the address of Redis cannot be used: ${why}`);
}
