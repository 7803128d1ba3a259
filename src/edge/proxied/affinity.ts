// Which bridge a connection token belongs to: the one that answered its negotiate serves every later request with it.
// In come tokens with their addresses, of this replica and (by their tags, else through the log) of the others; out go addresses.
// Promises: bounded; a token that is not used is forgotten, one that is in use is not.

import { createHash } from 'node:crypto';
import type { BridgeAddress, BridgeAddresses } from '../../bridge/addresses.ts';
import { ExpiringMap } from '../../expiring-map.ts';
import type { SharedValues } from '../../log/log.ts';
import { type Clock, pause } from '../../telemetry/clock.ts';
import { LogThrottle } from '../../telemetry/log-throttle.ts';
import type { Logger } from '../../telemetry/logger.ts';

export interface AffinityOptions extends SharedValues {
  addresses: BridgeAddresses;
  clock: Clock;
  logger: Logger;
}

/** ASP.NET forgets a token that nobody uses after 15 s. */
const unusedMs = 60_000;
/** A client that has its token may come to another replica at once; a log that hangs does not hold it up for longer. */
const shareMs = 200;
const maxTokens = 100_000;
const warnEveryMs = 60_000;

export class Affinity {
  readonly #options: AffinityOptions;
  /** Tokens without a connection. */
  readonly #unused: ExpiringMap<BridgeAddress>;
  /** Tokens with open connections. */
  readonly #open = new Map<string, { address: BridgeAddress; connections: number }>();
  readonly #warning: LogThrottle;

  constructor(options: AffinityOptions) {
    this.#options = options;
    this.#unused = new ExpiringMap({ clock: options.clock, forMs: unusedMs, maxCount: maxTokens });
    this.#warning = new LogThrottle(options.clock, warnEveryMs);
  }

  /** The address has given out this token. Resolves when the other replicas know it, or after a bound. */
  async learn(token: string, address: BridgeAddress): Promise<void> {
    const { addresses, share, clock } = this.#options;
    this.#keep(token, address);
    if (addresses.all.length === 1) return;
    const isLate = pause(clock, shareMs);
    await Promise.race([share(sharedKey(token), address.key, unusedMs).catch(() => {}), isLate]);
  }

  /** Whether there is a connection of this token. */
  isOpen(token: string): boolean {
    return this.#open.has(token);
  }

  /** Where requests with this token go. @param tag of the bridge, where the token came with one (relay/token-tag.ts) */
  async addressOf(token: string, tag?: string): Promise<BridgeAddress> {
    const open = this.#open.get(token);
    if (open !== undefined) return open.address;
    const unused = this.#unused.get(token);
    if (unused !== undefined) return this.#keep(token, unused);
    const { addresses } = this.#options;
    if (addresses.all.length === 1) return addresses.next();
    const named = tag === undefined ? undefined : await addresses.findTagged(tag);
    if (named !== undefined) return named;
    const key = await this.#options.shared(sharedKey(token)).catch(() => undefined);
    const address = key === undefined ? undefined : await addresses.find(key);
    if (address !== undefined) return this.#keep(token, address);
    this.#warn();
    return addresses.next();
  }

  /** A connection has begun; its token is kept until release(), however long it is silent. */
  hold(token: string, address: BridgeAddress): void {
    const open = this.#open.get(token);
    if (open === undefined) this.#open.set(token, { address, connections: 1 });
    else open.connections++;
    this.#unused.delete(token);
  }

  release(token: string): void {
    const open = this.#open.get(token);
    if (open === undefined || --open.connections > 0) return;
    this.#open.delete(token);
    this.#keep(token, open.address);
  }

  #keep(token: string, address: BridgeAddress): BridgeAddress {
    this.#unused.set(token, address);
    return address;
  }

  #warn(): void {
    if (!this.#warning.isDue()) return;
    this.#options.logger.warn(
      { bridges: this.#options.addresses.all.length },
      'a connection token of no known bridge: it is old, or was given out while the replicas could not reach the log',
    );
  }
}

/** The token is a secret: the log gets to see its hash. */
function sharedKey(token: string): string {
  return `token:${createHash('sha256').update(token).digest('base64url')}`;
}
