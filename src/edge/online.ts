// Who is online, wherever the connection ends: in come the begin and the end of every hub connection of this replica, with its user and the
// desktop session of its URL; out go the counters of users and the presence keys that other programs read.
// Promises: while any hub is native the keys are there as long as a user has a connection of either kind at any replica, also while it
// moves (a bridge that removes them, as its own last connection of the user has ended, does not know of the others); while every hub is
// proxied they are the bridge's alone.

import { counterNames } from '../log/counters.ts';
import type { Roster } from '../log/log.ts';
import type { Clock } from '../telemetry/clock.ts';
import type { StandIns } from './proxied/stand-ins.ts';

export interface OnlineParts {
  roster: Pick<Roster, 'set' | 'holdPresence' | 'releasePresence' | 'keepPresence'>;
  /** undefined: there is no bridge. */
  standIns?: Pick<StandIns, 'open' | 'close' | 'closeAll'> | undefined;
  clock: Clock;
}

interface OnlineUser {
  connections: number;
  sessions: Set<string>;
}

/** Sessions of one user: people have a desktop or two. What is beyond is not kept. */
const maxSessions = 100;
/** ms for which the keys of a user whose connection was closed for a move wait for it to come back. */
const returnMs = 5_000;

export class Online {
  readonly #parts: OnlineParts;
  readonly #users = new Map<string, OnlineUser>();
  #keeps = false;

  constructor(parts: OnlineParts) {
    this.#parts = parts;
  }

  /** Whether crossfade keeps counters and keys, in place of a bridge. @param guards whether a bridge may remove keys all the same */
  keep(keeps: boolean, guards: boolean): void {
    if (keeps === this.#keeps) return;
    this.#keeps = keeps;
    const { roster } = this.#parts;
    for (const [user, { connections, sessions }] of this.#users) {
      roster.set(counterNames.ofUser(user), keeps ? connections : 0);
      if (keeps) for (const session of sessions) roster.holdPresence(user, session);
    }
    if (guards || !keeps) roster.keepPresence(keeps);
    // By now each user has a proxied connection again, or none.
    if (!keeps) this.#parts.standIns?.closeAll();
  }

  connected(user: string): void {
    const known = this.#users.get(user) ?? { connections: 0, sessions: new Set() };
    this.#users.set(user, known);
    known.connections++;
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
   * A connection of this user is native, or is to end at a bridge as its hub has moved.
   * @param hub as the contract calls it
   * @returns resolves when every bridge knows a stand-in of the user who has a desktop here, at most after 1 s. Never rejects.
   */
  async standIn(user: string, hub: string): Promise<void> {
    const hasDesktop = (this.#users.get(user)?.sessions.size ?? 0) > 0;
    if (this.#keeps && hasDesktop) await this.#parts.standIns?.open(user, hub);
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
    const { clock, standIns } = this.#parts;
    if (!returns) this.#release(user);
    clock.after(returnMs, () => {
      if (this.#users.has(user)) return;
      if (returns) this.#release(user);
      // Not at once: the bridge removes the user's keys then, which a user who comes back at once would have just been given.
      standIns?.close(user);
    });
  }

  /** Other replicas may have a connection of the user. */
  #release(user: string): void {
    if (this.#keeps) this.#parts.roster.releasePresence(user, counterNames.ofUser(user));
  }
}
