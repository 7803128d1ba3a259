// Typing through a proxied hub, told to all replicas: in come typing notes as they pass here, out goes what to tell, and whether
// a message that is read has to be fenced, because a note of its sender may still be on its way from the bridge to a reader.
// Promises: a user that types in many rooms at once is told of once for all of them, and all users of a replica together are told
// of within a rate; what is known takes a few MB at most.

import { keepNewest } from '../keep-newest.ts';
import { shortKey } from '../short-key.ts';
import type { Clock } from '../telemetry/clock.ts';
import { type Rate, TokenBucket } from '../token-bucket.ts';

/** A sender's typing is told once in this time, and known for longer. */
const tellEveryMs = 4_000;
const knownMs = 10_000;
/** Rooms and senders; the oldest go first. */
const maxKnown = 10_000;
/** Rooms of one user: people type in one at a time. What is beyond is told without its room. */
const userRate: Rate = { burst: 8, perSecond: 1 };
/** All notes of a replica: a thousand people who type at once. The typing stream keeps 1,000 notes. */
const replicaRate: Rate = { burst: 500, perSecond: 250 };

/** `unheard`: no more is told now; only this replica fences. */
export type Telling = 'room' | 'user' | 'nothing' | 'unheard';

export class HubTypings {
  readonly #clock: Clock;
  readonly #told = new Map<string, number>();
  readonly #known = new Map<string, number>();
  readonly #users = new Map<string, TokenBucket>();
  readonly #replica: TokenBucket;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#replica = this.#bucket(replicaRate);
  }

  /**
   * @param room undefined: somewhere
   * @returns what the other replicas are to be told of this user: that it types in this room, or that it types
   */
  typed(room: string | undefined, user: string): Telling {
    const now = this.#clock.monotonic();
    if (isIn(this.#told, keyOf(user), now) || isIn(this.#told, keyOf(user, room), now)) return 'nothing';
    const telling = room !== undefined && this.#bucketOf(user).take(1) ? 'room' : 'user';
    if (!this.#replica.take(1)) {
      this.note(user, room);
      return 'unheard';
    }
    put(this.#told, telling === 'room' ? keyOf(user, room) : keyOf(user), now, tellEveryMs);
    return telling;
  }

  /** A replica has told, this one included. @param room undefined: somewhere */
  note(user: string, room?: string): void {
    put(this.#known, keyOf(user, room), this.#clock.monotonic(), knownMs);
  }

  /** Whether this user may have typed in this room just now. */
  mayBeOnItsWay(room: string, user: string): boolean {
    const now = this.#clock.monotonic();
    return isIn(this.#known, keyOf(user, room), now) || isIn(this.#known, keyOf(user), now);
  }

  #bucketOf(user: string): TokenBucket {
    const key = keyOf(user);
    const bucket = this.#users.get(key) ?? this.#bucket(userRate);
    // Behind all others: the oldest go first.
    this.#users.delete(key);
    this.#users.set(key, bucket);
    keepNewest(this.#users, maxKnown);
    return bucket;
  }

  #bucket(rate: Rate): TokenBucket {
    return new TokenBucket(rate, () => this.#clock.monotonic());
  }
}

function isIn(until: Map<string, number>, key: string, now: number): boolean {
  return (until.get(key) ?? Number.NEGATIVE_INFINITY) > now;
}

/** All have the same time to live, so those that are over stand in front. */
function put(until: Map<string, number>, key: string, now: number, forMs: number): void {
  for (const [oldest, end] of until) {
    if (end > now) break;
    until.delete(oldest);
  }
  until.delete(key);
  until.set(key, now + forMs);
  keepNewest(until, maxKnown);
}

function keyOf(user: string, room?: string): string {
  return room === undefined ? shortKey(user) : shortKey(user, room);
}
