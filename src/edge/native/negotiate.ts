// Negotiation: connection ids are given out here and spent on one connection each.
// Source: TransportProtocols.md, "POST [endpoint-base]/negotiate"; property order and errors as ASP.NET writes them.

import { randomBytes } from 'node:crypto';
import { ExpiringMap } from '../../expiring-map.ts';
import type { Clock } from '../../telemetry/clock.ts';
import { queryValue } from '../hub-path.ts';
import type { PostedBytes } from './posted-bytes.ts';

export interface Negotiated {
  connectionId: string;
  /** The secret that addresses the connection; the id itself in version 0. */
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
const transports = [
  { transport: 'WebSockets', transferFormats: ['Text', 'Binary'] },
  { transport: 'ServerSentEvents', transferFormats: ['Text'] },
  { transport: 'LongPolling', transferFormats: ['Text', 'Binary'] },
];

export class Negotiations {
  /** Tokens that wait for their connection. */
  readonly #given: ExpiringMap<Negotiated>;
  /** Tokens that a connection has. */
  readonly #live = new Map<string, Negotiated>();

  /** @param unusedMs how long a token waits for its connection */
  constructor(clock: Clock, unusedMs: number) {
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
    const connectionId = newConnectionId();
    if (version === '0') {
      this.#give(connectionId, connectionId, user);
      return { negotiateVersion: 0, connectionId, availableTransports: transports, ...lifetime };
    }
    const token = newConnectionId();
    this.#give(connectionId, token, user);
    return { negotiateVersion: 1, connectionId, connectionToken: token, availableTransports: transports, ...lifetime };
  }

  /** Takes a token for a connection; without one (skipNegotiation) that is made on the fly. */
  take(token: string | undefined): Negotiated | 'unknown' | 'taken' {
    if (token !== undefined && this.#live.has(token)) return 'taken';
    const given = token === undefined ? onTheFly() : this.#given.get(token);
    if (given === undefined) return 'unknown';
    this.#given.delete(given.token);
    this.#live.set(given.token, given);
    return given;
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
    return this.#live.get(token);
  }

  knows(token: string): boolean {
    return this.#live.has(token) || this.#given.get(token) !== undefined;
  }

  /** The connection has ended; its token is worth nothing now. */
  release(token: string): void {
    this.#live.delete(token);
  }

  #give(connectionId: string, token: string, user: string | undefined): void {
    this.#given.set(token, { connectionId, token, user, early: undefined });
  }
}

/** Without negotiation nothing addresses the connection again, so its id serves as its token. */
function onTheFly(): Negotiated {
  const connectionId = newConnectionId();
  return { connectionId, token: connectionId, user: undefined, early: undefined };
}

/** 16 random bytes as 22 characters that need no escaping in a URL. */
function newConnectionId(): string {
  return randomBytes(16).toString('base64url');
}
