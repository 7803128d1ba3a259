// Connections of crossfade's own at the bridges. A bridge removes a user's presence keys when the last connection that it knows of him ends, and
// it knows no native one: a user with a desktop here therefore has a stand-in at each bridge. In come users; open() resolves when the bridges
// know their stand-ins. Promises: one that has ended by itself is replaced within 20 s, as long as its bridge takes connections.

import { createSecretKey, type KeyObject } from 'node:crypto';
import { SignJWT } from 'jose';
import { WebSocket } from 'ws';
import { type BridgeAddress, type BridgeAddresses, webSocketAt } from '../../bridge/addresses.ts';
import { counterNames } from '../../log/counters.ts';
import type { Roster } from '../../log/log.ts';
import { pause } from '../../telemetry/clock.ts';
import { LogThrottle } from '../../telemetry/log-throttle.ts';
import type { Telemetry } from '../../telemetry/telemetry.ts';
import { maxMessageBytes } from './forwarding.ts';
import { StandIn } from './stand-in.ts';

export interface StandInsParts extends Pick<Telemetry, 'clock' | 'faults' | 'logger'> {
  addresses: Pick<BridgeAddresses, 'all'>;
  /** The name of the hub where they connect; best one whose connect joins no group. */
  hub: string;
  /** Signs their tokens, which the bridge checks as it checks its clients'; without it there are no stand-ins. */
  secret: string | undefined;
  roster: Pick<Roster, 'set'>;
  /**
   * Whether new ones are opened. Those that there are stay when that ends, until their users go or they are closed: a bridge that sees one
   * end removes its user's keys.
   */
  isWanted(): boolean;
}

interface StoodIn {
  /** The user's stand-ins by the key of their bridge. */
  at: Map<string, StandIn>;
  stopTending(): void;
}

/** ms for which a client's close waits for the bridges to know the stand-in. */
const patienceMs = 2_000;
const dialTimeoutMs = 10_000;
/** A bridge ends a connection that has said nothing for 30 s. */
const tendEveryMs = 10_000;
/** ms for which a bridge that has not taken a stand-in is offered none: there may be thousands. */
const avoidMs = 1_000;
/** s: the bridge looks at it once, at the beginning. */
const tokenLifetime = 60;
const sayEveryMs = 60_000;

export class StandIns {
  readonly #parts: StandInsParts;
  readonly #secret: KeyObject | undefined;
  readonly #users = new Map<string, StoodIn>();
  /** The key of a bridge that has not taken one -> until when it is offered none, ms monotonic. */
  readonly #avoidedUntil = new Map<string, number>();
  readonly #saysNotTaken: LogThrottle;
  #count = 0;

  constructor(parts: StandInsParts) {
    this.#parts = parts;
    if (parts.secret !== undefined) this.#secret = createSecretKey(Buffer.from(parts.secret));
    this.#saysNotTaken = new LogThrottle(parts.clock, sayEveryMs);
  }

  /** @returns resolves when each bridge knows the user's stand-in or has not taken it, at most after 2 s. Never rejects. */
  async open(user: string): Promise<void> {
    if (!this.#parts.isWanted() || this.#secret === undefined) return;
    const stoodIn = this.#users.get(user) ?? this.#begin(user);
    this.#fill(user, stoodIn);
    const known = Promise.all(Array.from(stoodIn.at.values(), (standIn) => standIn.known));
    await Promise.race([known, pause(this.#parts.clock, patienceMs)]);
  }

  close(user: string): void {
    const stoodIn = this.#users.get(user);
    if (stoodIn === undefined) return;
    this.#users.delete(user);
    stoodIn.stopTending();
    for (const standIn of stoodIn.at.values()) standIn.close();
  }

  closeAll(): void {
    for (const user of [...this.#users.keys()]) this.close(user);
  }

  #begin(user: string): StoodIn {
    const stopTending = this.#parts.clock.every(tendEveryMs, () => this.#tend(user, stoodIn));
    const stoodIn = { at: new Map(), stopTending };
    this.#users.set(user, stoodIn);
    return stoodIn;
  }

  #tend(user: string, stoodIn: StoodIn): void {
    for (const standIn of stoodIn.at.values()) standIn.ping();
    if (this.#parts.isWanted()) this.#fill(user, stoodIn);
  }

  /** A name of a bridge may resolve to other instances by now. */
  #fill(user: string, { at }: StoodIn): void {
    const { clock, faults, addresses } = this.#parts;
    const bridges = new Map(addresses.all.map((address) => [address.key, address]));
    for (const [key, standIn] of at) if (!bridges.has(key)) standIn.close();
    for (const key of this.#avoidedUntil.keys()) if (!bridges.has(key)) this.#avoidedUntil.delete(key);
    for (const [key, address] of bridges) {
      if (at.has(key) || clock.monotonic() < (this.#avoidedUntil.get(key) ?? 0)) continue;
      const standIn: StandIn = new StandIn(() => this.#dial(user, address), {
        faults,
        onCounted: (change) => this.#setCount(this.#count + change),
        onNotTaken: (error) => this.#avoid(key, error),
        onGone: () => at.get(key) === standIn && at.delete(key),
      });
      at.set(key, standIn);
    }
  }

  async #dial(user: string, address: BridgeAddress): Promise<WebSocket> {
    const { url, options } = webSocketAt(address);
    const now = Math.floor(this.#parts.clock.now() / 1_000);
    const claims = new SignJWT({ sub: user }).setIssuedAt(now).setExpirationTime(now + tokenLifetime);
    const token = await claims.setProtectedHeader({ alg: 'HS256' }).sign(this.#secret!);
    return new WebSocket(`${url}${address.basePath}/hubs/${this.#parts.hub}`, {
      ...options,
      headers: { ...options.headers, Authorization: `Bearer ${token}` },
      perMessageDeflate: false,
      maxPayload: maxMessageBytes,
      handshakeTimeout: dialTimeoutMs,
    });
  }

  #avoid(key: string, error: Error): void {
    const { clock, logger } = this.#parts;
    this.#avoidedUntil.set(key, clock.monotonic() + avoidMs);
    if (!this.#saysNotTaken.isDue()) return;
    const what = 'a bridge has not taken the stand-in of a user: presence keys that it removes are written again';
    logger.warn({ reason: error.message }, what);
  }

  #setCount(count: number): void {
    this.#count = count;
    this.#parts.roster.set(counterNames.standIns, count);
  }
}
