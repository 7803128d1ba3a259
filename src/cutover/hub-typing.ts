// Typing through a proxied hub, told to all replicas: in come typing notes as they pass here, out goes whether a message that
// is read has to be fenced, because a note of its sender may still be on its way from the bridge to a reader.

import { keepNewest } from '../keep-newest.ts';
import type { Clock } from '../telemetry/clock.ts';

/** A sender's typing is told once in this time, and known for longer. */
const tellEveryMs = 4_000;
const knownMs = 10_000;
/** Rooms and senders; the oldest go first. */
const maxKnown = 10_000;

export class HubTypings {
  readonly #clock: Clock;
  readonly #told = new Map<string, number>();
  readonly #known = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @returns whether the other replicas are to be told */
  passes(room: string, user: string): boolean {
    return put(this.#told, keyOf(room, user), this.#clock.monotonic(), tellEveryMs);
  }

  /** A replica has told, this one included. */
  note(room: string, user: string): void {
    this.#known.delete(keyOf(room, user));
    put(this.#known, keyOf(room, user), this.#clock.monotonic(), knownMs);
  }

  /** Whether this user may have typed in this room just now. */
  mayBeOnItsWay(room: string, user: string): boolean {
    return (this.#known.get(keyOf(room, user)) ?? Number.NEGATIVE_INFINITY) > this.#clock.monotonic();
  }
}

/** @returns whether it was not there, or no longer */
function put(until: Map<string, number>, key: string, now: number, forMs: number): boolean {
  if ((until.get(key) ?? Number.NEGATIVE_INFINITY) > now) return false;
  until.delete(key);
  until.set(key, now + forMs);
  keepNewest(until, maxKnown);
  return true;
}

function keyOf(room: string, user: string): string {
  return JSON.stringify([room, user]);
}
