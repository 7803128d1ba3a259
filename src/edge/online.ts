// Who is online, wherever the connection ends: in come the begin and the end of every hub connection of this replica, with its user and the
// desktop session of its URL; out go the counters of users and the presence keys that other programs read.
// Promises: while any hub is native the keys are there as long as a desktop of the user is connected, by a connection of either kind at any
// replica, also while it moves (a bridge that removes them, as its own last connection of the user has ended, does not know of the others);
// while every hub is proxied they are the bridge's alone.

import { counterNames } from '../log/counters.ts';
import type { Roster } from '../log/log.ts';
import type { Clock } from '../telemetry/clock.ts';
import type { StandIns } from './proxied/stand-ins.ts';

export interface OnlineParts {
  roster: Pick<Roster, 'set' | 'holdPresence' | 'releasePresence' | 'keepPresence'>;
  /** undefined: there is no bridge. */
  standIns?: Pick<StandIns, 'open' | 'close'> | undefined;
  clock: Clock;
}

interface OnlineUser {
  connections: number;
  /** Of his desktops here. */
  sessions: Set<string>;
}

/** Sessions of one user: people have a desktop or two. What is beyond is not kept. */
const maxSessions = 100;
/** ms for which the keys of a user whose connection was closed for a move wait for it to come back. */
const returnMs = 5_000;

export class Online {
  readonly #parts: OnlineParts;
  readonly #users = new Map<string, OnlineUser>();
  /** User who has gone -> ends the wait for his return. */
  readonly #awaited = new Map<string, () => void>();
  #keeps = false;

  constructor(parts: OnlineParts) {
    this.#parts = parts;
  }

  /** Whether crossfade keeps counters and keys, in place of a bridge. @param withBridge whether a bridge may remove keys all the same */
  keep(keeps: boolean, withBridge: boolean): void {
    if (keeps === this.#keeps) return;
    this.#keeps = keeps;
    const { roster } = this.#parts;
    for (const [user, { connections }] of this.#users) roster.set(counterNames.ofUser(user), keeps ? connections : 0);
    // Behind all counters: the first session that is held sends them, in few commands.
    if (keeps)
      for (const [user, { sessions }] of this.#users)
        for (const session of sessions) roster.holdPresence(user, session);
    if (withBridge || !keeps) roster.keepPresence(keeps);
  }

  connected(user: string): void {
    const known = this.#users.get(user) ?? { connections: 0, sessions: new Set() };
    this.#users.set(user, known);
    known.connections++;
    this.#awaited.get(user)?.();
    this.#awaited.delete(user);
    if (this.#keeps) this.#parts.roster.set(counterNames.ofUser(user), known.connections);
  }

  /** The URL of a connection of this user names a desktop session. */
  holds(user: string, session: string): void {
    const sessions = this.#users.get(user)?.sessions;
    if (sessions === undefined || (sessions.size >= maxSessions && !sessions.has(session))) return;
    sessions.add(session);
    if (this.#keeps) this.#parts.roster.holdPresence(user, session);
  }

  /**
   * A connection of this user has begun, or is to end at a bridge because its hub has moved.
   * @returns resolves when every bridge knows a stand-in of the user who has a desktop here, at most after 2 s. Never rejects.
   */
  async standIn(user: string): Promise<void> {
    const hasDesktop = (this.#users.get(user)?.sessions.size ?? 0) > 0;
    if (this.#keeps && hasDesktop) await this.#parts.standIns?.open(user);
  }

  /** @param returns whether it was closed to come back elsewhere */
  ended(user: string, returns: boolean): void {
    const known = this.#users.get(user);
    if (known === undefined) return;
    known.connections--;
    if (known.connections === 0) this.#users.delete(user);
    if (!this.#keeps) return;
    this.#parts.roster.set(counterNames.ofUser(user), known.connections);
    if (known.connections > 0) return;
    if (!returns) this.#release(user);
    const gone = () => {
      this.#awaited.delete(user);
      if (returns) this.#release(user);
      // The bridge removes the user's keys then: at once it might be those of a user who has just come back.
      this.#parts.standIns?.close(user);
    };
    this.#awaited.set(user, this.#parts.clock.after(returnMs, gone));
  }

  /** Other replicas may have a connection of the user. */
  #release(user: string): void {
    if (this.#keeps) this.#parts.roster.releasePresence(user, counterNames.ofUser(user));
  }
}
