// Negotiation: connection tokens are given out here and spent on one connection each; a token's id follows from it, so that a replica
// that has not given it out knows the same.
// Source: TransportProtocols.md, "POST [endpoint-base]/negotiate"; property order and errors as ASP.NET writes them.

import { hash, randomBytes } from 'node:crypto';
import { ExpiringMap } from '../../expiring-map.ts';
import type { Clock } from '../../telemetry/clock.ts';
import { queryValue } from '../hub-path.ts';
import type { PostedBytes } from './posted-bytes.ts';

export interface Negotiated {
  connectionId: string;
  /** The secret that addresses the connection. */
  token: string;
  /** Whose negotiation it was; undefined: a token that names nobody. */
  user: string | undefined;
  /** What the client posts, where it does so before its connection is open. */
  early: PostedBytes | undefined;
}

/** When a client that renews its access token does so next; empty for one that has expired, and is accepted by the skew. */
export type Lifetime = { tokenLifetimeSeconds?: number };

/** Tokens that nobody has used yet: what clients that only negotiate may make this process keep. */
const maxUnused = 100_000;
/** Of a token. */
const form = /^[\w-]{22}$/;
const transports = [
  { transport: 'WebSockets', transferFormats: ['Text', 'Binary'] },
  { transport: 'ServerSentEvents', transferFormats: ['Text'] },
  { transport: 'LongPolling', transferFormats: ['Text', 'Binary'] },
];

export class Negotiations {
  /** Tokens that wait for their connection. */
  readonly #given: ExpiringMap<Negotiated>;
  /** Those that a connection has, by its id. */
  readonly #live = new Map<string, Negotiated>();
  readonly #tag: () => string;

  /**
   * @param unusedMs how long a token waits for its connection
   * @param tag what stands in front of a token that is given out now, see relay/token-tag.ts
   */
  constructor(clock: Clock, unusedMs: number, tag: () => string) {
    this.#tag = tag;
    const options = { clock, forMs: unusedMs, maxCount: maxUnused };
    this.#given = new ExpiringMap(options, ({ early }) => early?.end());
  }

  /**
   * @param lifetime tokenLifetimeSeconds, where the access token has any left
   * @returns the body of the 200, which is also where a wrong version is told
   */
  negotiate(query: URLSearchParams, user: string | undefined, lifetime: Lifetime): object {
    const version = queryValue(query, 'negotiateVersion') ?? '0';
    if (!/^\d+$/.test(version)) return { error: 'The client requested a non-integer protocol version.' };
    const given = fresh(user);
    this.#given.set(given.token, given);
    const connectionToken = this.#tag() + given.token;
    const rest = { availableTransports: transports, ...lifetime };
    // In version 0 the id addresses the connection.
    if (version === '0') return { negotiateVersion: 0, connectionId: connectionToken, ...rest };
    return { negotiateVersion: 1, connectionId: given.connectionId, connectionToken, ...rest };
  }

  /**
   * Takes a token for a connection; without one (skipNegotiation) that is made on the fly.
   * @param stranger who brings one that another replica has given out: unknown here, it is worth as much as none
   */
  take(token: string | undefined, stranger?: { user: string | undefined }): Negotiated | 'unknown' | 'taken' {
    if (token !== undefined && this.live(token) !== undefined) return 'taken';
    const isNew = token === undefined || (stranger !== undefined && form.test(token));
    const taken = isNew ? fresh(stranger?.user, token) : this.#given.get(token);
    if (taken === undefined) return 'unknown';
    this.#given.delete(taken.token);
    this.#live.set(taken.connectionId, taken);
    return taken;
  }

  /** One that nobody has taken yet, for the user who has negotiated. */
  given(token: string, user: string | undefined): Negotiated | undefined {
    const negotiated = this.#given.get(token);
    return negotiated?.user === user ? negotiated : undefined;
  }

  /** Its client has posted more than is kept for it: what came first is not there any more, and the token is worth nothing without it. */
  forget(token: string): void {
    this.#given.delete(token);
  }

  /** Ends what has been posted for a connection that has not come in its time. */
  sweep(): void {
    this.#given.sweep();
  }

  /** One that a connection has. */
  live(token: string): Negotiated | undefined {
    return this.find(connectionIdOf(token));
  }

  /** As {@link live}, by its id. */
  find(connectionId: string): Negotiated | undefined {
    return this.#live.get(connectionId);
  }

  knows(token: string): boolean {
    return this.live(token) !== undefined || this.#given.get(token) !== undefined;
  }

  /** The connection has ended; its token is worth nothing now. */
  release(token: string): void {
    this.#live.delete(connectionIdOf(token));
  }
}

/** @param token by which a client knows it, else 16 random bytes as 22 characters that need no escaping in a URL */
function fresh(user: string | undefined, token = randomBytes(16).toString('base64url')): Negotiated {
  return { connectionId: connectionIdOf(token), token, user, early: undefined };
}

/** Others see the id, so it does not tell the token. */
export function connectionIdOf(token: string): string {
  return hash('sha256', token, 'buffer').subarray(0, 16).toString('base64url');
}
