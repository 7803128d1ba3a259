// Negotiation: connection ids are given out here and spent on one WebSocket each.
// Source: TransportProtocols.md, "POST [endpoint-base]/negotiate"; property order and errors as ASP.NET writes them.

import { randomBytes } from 'node:crypto';
import { ExpiringMap } from '../../expiring-map.ts';
import type { Clock } from '../../telemetry/clock.ts';
import { queryValue } from '../hub-path.ts';

export interface Negotiated {
  connectionId: string;
  /** The secret that addresses the connection; the id itself in version 0. */
  token: string;
}

/** Tokens that nobody has used yet: what clients that only negotiate may make this process keep. */
const maxUnused = 100_000;
const transports = [{ transport: 'WebSockets', transferFormats: ['Text', 'Binary'] }];

export class Negotiations {
  /** Tokens that wait for their WebSocket. */
  readonly #given: ExpiringMap<Negotiated>;
  /** Tokens that a WebSocket has. */
  readonly #live = new Set<string>();

  /** @param unusedMs how long a token waits for its WebSocket */
  constructor(clock: Clock, unusedMs: number) {
    this.#given = new ExpiringMap({ clock, forMs: unusedMs, maxCount: maxUnused });
  }

  /** @returns the body of the 200, which is also where a wrong version is told */
  negotiate(query: URLSearchParams): object {
    const version = queryValue(query, 'negotiateVersion') ?? '0';
    if (!/^\d+$/.test(version)) return { error: 'The client requested a non-integer protocol version.' };
    const connectionId = newConnectionId();
    if (version === '0') {
      this.#given.set(connectionId, { connectionId, token: connectionId });
      return { negotiateVersion: 0, connectionId, availableTransports: transports };
    }
    const token = newConnectionId();
    this.#given.set(token, { connectionId, token });
    return { negotiateVersion: 1, connectionId, connectionToken: token, availableTransports: transports };
  }

  /** Takes a token for a WebSocket; without one (skipNegotiation) the connection is made on the fly. */
  take(token: string | undefined): Negotiated | 'unknown' | 'taken' {
    if (token !== undefined && this.#live.has(token)) return 'taken';
    const given = token === undefined ? onTheFly() : this.#given.get(token);
    if (given === undefined) return 'unknown';
    this.#given.delete(given.token);
    this.#live.add(given.token);
    return given;
  }

  knows(token: string): boolean {
    return this.#live.has(token) || this.#given.get(token) !== undefined;
  }

  /** The connection has ended; its token is worth nothing now. */
  release(token: string): void {
    this.#live.delete(token);
  }
}

/** Without negotiation nothing addresses the connection again, so its id serves as its token. */
function onTheFly(): Negotiated {
  const connectionId = newConnectionId();
  return { connectionId, token: connectionId };
}

/** 16 random bytes as 22 characters that need no escaping in a URL. */
function newConnectionId(): string {
  return randomBytes(16).toString('base64url');
}
