// Typing through a proxied hub, told to all replicas: in come typing notes as they pass here, out goes what to tell, and whether
// a message that is read has to be fenced, because a note of its sender may still be on its way from the bridge to a reader.
// Promises: a user that types in many rooms at once is told of once for all of them, and all users of a replica together are told
// of within a rate; what is known takes a few MB at most.

import { setNewest } from '../keep-newest.ts';
import { Recent } from '../recent.ts';
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
  readonly #told: Recent;
  readonly #known: Recent;
  readonly #users = new Map<string, TokenBucket>();
  readonly #replica: TokenBucket;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#told = new Recent({ clock, forMs: tellEveryMs, maxCount: maxKnown });
    this.#known = new Recent({ clock, forMs: knownMs, maxCount: maxKnown });
    this.#replica = this.#bucket(replicaRate);
  }

  /**
   * @param room undefined: somewhere
   * @returns what the other replicas are to be told of this user: that it types in this room, or that it types
   */
  typed(room: string | undefined, user: string): Telling {
    if (this.#told.has(keyOf(user)) || this.#told.has(keyOf(user, room))) return 'nothing';
    const telling = room !== undefined && this.#bucketOf(user).take(1) ? 'room' : 'user';
    if (!this.#replica.take(1)) {
      this.note(user, room);
      return 'unheard';
    }
    this.#told.renew(telling === 'room' ? keyOf(user, room) : keyOf(user));
    return telling;
  }

  /** A replica has told, this one included. @param room undefined: somewhere */
  note(user: string, room?: string): void {
    this.#known.renew(keyOf(user, room));
  }

  /** Whether this user may have typed in this room just now. */
  mayBeOnItsWay(room: string, user: string): boolean {
    return this.#known.has(keyOf(user, room)) || this.#known.has(keyOf(user));
  }

  #bucketOf(user: string): TokenBucket {
    const key = keyOf(user);
    const bucket = this.#users.get(key) ?? this.#bucket(userRate);
    setNewest(this.#users, key, bucket, maxKnown);
    return bucket;
  }

  #bucket(rate: Rate): TokenBucket {
    return new TokenBucket(rate, () => this.#clock.monotonic());
  }
}

function keyOf(user: string, room?: string): string {
  return room === undefined ? shortKey(user) : shortKey(user, room);
}
