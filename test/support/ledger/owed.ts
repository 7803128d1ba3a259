// Who is owed what: in go a stay (one connection's membership in one room) and a call as it was made and answered, out
// goes whether the member must be shown it, may be, or must not (DESIGN, "owed").

import type { PlannedCall } from './plan.ts';
import type { Seen } from './seen.ts';

/** A call that was made. Times are ms of performance.now(). */
export interface MadeCall {
  call: PlannedCall;
  /** Where it went. */
  address: string;
  startedAt: number;
  answeredAt: number;
  /** Answered with 200 and `{"broadcast":true}`; what was not accepted may have been shown all the same. */
  accepted: boolean;
}

/** One connection's time in one room, with all that it was shown of that room. */
export interface Stay {
  client: string;
  hub: string;
  room: string;
  /** When the client asked to join; Infinity where it never did. */
  askedAt: number;
  /** When it knew that it had joined; Infinity where it was never told. */
  confirmedAt: number;
  /** When it knew that its connection was over; Infinity while it is not. */
  endedAt: number;
  seen: Seen[];
}

export interface Bounds {
  /** A client notices the end of its connection late: what was answered less than this before it (ms) is not owed. */
  endMarginMs: number;
  /** What was answered more than this before the join was asked for (ms) must not be shown any more. */
  replayMs: number;
}

export type Claim = 'owed' | 'allowed' | 'barred';

export function claimOf(stay: Stay, made: MadeCall, { endMarginMs, replayMs }: Bounds): Claim {
  if (made.startedAt > stay.endedAt || made.answeredAt < stay.askedAt - replayMs) return 'barred';
  const isWithin = made.startedAt >= stay.confirmedAt && made.answeredAt <= stay.endedAt - endMarginMs;
  return isWithin && made.accepted ? 'owed' : 'allowed';
}

/** Its place in the room, and from when to when it ran, in s of performance.now(): for who looks for the cause. */
export function describeCall({ call, startedAt, answeredAt }: MadeCall): string {
  const place = call.eventId.slice(call.room.length + 1);
  return `#${place} ${(startedAt / 1000).toFixed(3)}-${(answeredAt / 1000).toFixed(3)}`;
}

/** From when to when its client knew that it was a member, in s of performance.now(). */
export function describeStay({ confirmedAt, endedAt }: Stay): string {
  return `${(confirmedAt / 1000).toFixed(3)}-${(endedAt / 1000).toFixed(3)}`;
}
