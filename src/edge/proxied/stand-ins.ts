// Connections of crossfade's own at the bridges, one for each user who has a desktop here. A bridge removes a user's presence keys with the
// last connection that it knows, and it does not know native ones: his stand-in is one that it knows. In come users, out goes when the
// bridges know their stand-ins. Promises: a stand-in that ends by itself (its bridge has restarted) is replaced.

import { createSecretKey, type KeyObject } from 'node:crypto';
import { SignJWT } from 'jose';
import { WebSocket } from 'ws';
import type { BridgeAddress, BridgeAddresses } from '../../bridge/addresses.ts';
import { counterNames } from '../../log/counters.ts';
import type { Roster } from '../../log/log.ts';
import { pause } from '../../telemetry/clock.ts';
import { LogThrottle } from '../../telemetry/log-throttle.ts';
import type { Telemetry } from '../../telemetry/telemetry.ts';
import { maxMessageBytes } from './forwarding.ts';
import { StandIn } from './stand-in.ts';

export interface StandInsParts extends Pick<Telemetry, 'clock' | 'faults' | 'logger'> {
  addresses: Pick<BridgeAddresses, 'all' | 'reachable'>;
  /** Signs their tokens, which the bridge checks as it checks its clients'; without it there are no stand-ins. */
  secret: string | undefined;
  roster: Pick<Roster, 'set'>;
}

interface StoodIn {
  /** At which they connect. */
  hub: string;
  /** The user's stand-ins by their bridge. */
  at: Map<BridgeAddress, StandIn>;
  stopTending(): void;
}

/** ms for which a client's close waits for the bridges to know the stand-in. */
const patienceMs = 1_000;
const dialTimeoutMs = 10_000;
/** A bridge ends a connection that has said nothing for 30 s. */
const tendEveryMs = 10_000;
/** s: as long as the bridge takes to look at it. */
const tokenLifetime = 60;
const sayEveryMs = 60_000;

export class StandIns {
  readonly #parts: StandInsParts;
  readonly #secret: KeyObject | undefined;
  readonly #users = new Map<string, StoodIn>();
  readonly #saysRefused: LogThrottle;
  #count = 0;
  #isOver = false;

  constructor(parts: StandInsParts) {
    this.#parts = parts;
    if (parts.secret !== undefined) this.#secret = createSecretKey(Buffer.from(parts.secret));
    this.#saysRefused = new LogThrottle(parts.clock, sayEveryMs);
  }

  /**
   * @param hub as the contract calls it: the stand-in connects there, and joins nothing
   * @returns resolves when every bridge knows the user's stand-in or has refused it, at most after 1 s. Never rejects.
   */
  async open(user: string, hub: string): Promise<void> {
    if (this.#isOver || this.#secret === undefined) return;
    const stoodIn = this.#users.get(user) ?? this.#begin(user, hub);
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

  /** Closes them all; from now on there are none. */
  end(): void {
    this.#isOver = true;
    this.closeAll();
  }

  #begin(user: string, hub: string): StoodIn {
    const stopTending = this.#parts.clock.every(tendEveryMs, () => this.#tend(user, stoodIn));
    const stoodIn = { hub, at: new Map(), stopTending };
    this.#users.set(user, stoodIn);
    return stoodIn;
  }

  #tend(user: string, stoodIn: StoodIn): void {
    for (const standIn of stoodIn.at.values()) standIn.ping();
    if (this.#parts.addresses.reachable) this.#fill(user, stoodIn);
  }

  #fill(user: string, { hub, at }: StoodIn): void {
    const missing = this.#parts.addresses.all.filter((address) => !at.has(address));
    for (const address of missing) {
      const standIn = new StandIn(() => this.#dial(user, hub, address), {
        faults: this.#parts.faults,
        onRefused: (error) => this.#sayRefused(error),
        onGone: () => {
          at.delete(address);
          this.#setCount(this.#count - 1);
        },
      });
      at.set(address, standIn);
      // Before the bridge counts it: the guard would take it for a client that goes past crossfade.
      this.#setCount(this.#count + 1);
    }
  }

  async #dial(user: string, hub: string, { origin, basePath, host, servername }: BridgeAddress): Promise<WebSocket> {
    const now = Math.floor(this.#parts.clock.now() / 1_000);
    const claims = new SignJWT({ sub: user }).setIssuedAt(now).setExpirationTime(now + tokenLifetime);
    const token = await claims.setProtectedHeader({ alg: 'HS256' }).sign(this.#secret!);
    return new WebSocket(`${origin.replace(/^http/, 'ws')}${basePath}/hubs/${hub}`, {
      headers: { Host: host, Authorization: `Bearer ${token}` },
      ...(servername !== undefined && { servername }),
      perMessageDeflate: false,
      maxPayload: maxMessageBytes,
      handshakeTimeout: dialTimeoutMs,
    });
  }

  #setCount(count: number): void {
    this.#count = count;
    this.#parts.roster.set(counterNames.standIns, count);
  }

  #sayRefused(error: Error): void {
    if (!this.#saysRefused.isDue()) return;
    const what = 'a bridge refuses the stand-in of a user: presence keys that it removes are written again';
    this.#parts.logger.warn({ reason: error.message }, what);
  }
}
