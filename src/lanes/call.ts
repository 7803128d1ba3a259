// A call on its way: what the contract made of it, the lane that was decided for it, and what the backend is told in the end; and
// what the lanes ask of the cutover meanwhile. Types alone, so that the cutover and the lanes need not know each other.

import type { BridgeAnswer, RawRequest } from '../bridge/lane.ts';
import type { Event } from '../contract/event.ts';
import type { FailureReason } from '../errors.ts';

export type Lane = 'bridge' | 'stream';

/** Which lane a call takes, and under which cutover state that was decided. */
export interface Decision {
  lane: Lane;
  /** Absent without a bridge: then nothing ever moves. */
  epoch?: number;
  /** Set where the room belongs to the stream lane, but the log has failed. */
  outage?: CurrentOutage;
  /** The shared state is not known: the room may belong to the stream lane, where others append. */
  isBlind?: true;
}

/** How it stands with the rooms of the stream lane while the log fails. */
export interface CurrentOutage {
  reason: FailureReason;
  /**
   * Resolves when a call may go to the bridge: the other replicas know, and what they had read is shown; after a
   * bound in any case. Never rejects.
   */
  ready: Promise<void>;
}

/** The log knows a newer cutover state than the one under which the call's lane was decided. Nothing was kept. */
export class StaleEpoch extends Error {}

/** One broadcast by the backend that the contract has understood. */
export interface IncomingCall {
  event: Event;
  request: RawRequest;
  /** W3C trace id of the request's `traceparent`. */
  traceId?: string;
}

/** What the backend is told; the bridge's own answer is passed on as it is. */
export type Outcome = { kind: 'broadcast' } | { kind: 'duplicate' } | { kind: 'bridge'; answer: BridgeAnswer };

/** What the lanes ask of the cutover. */
export interface LaneChoice {
  decide(room: string): Decision;
  /** Resolves when a newer state than this is known. */
  newerThan(epoch: number): Promise<void>;
  /** Something of this room is under way until the returned function is called. */
  begin(room: string): () => void;
  readonly mirror: boolean;
  /** ... of this room, too. */
  mirrorsRoom(room: string): boolean;
  /** Whether clients have their connections at crossfade: nothing may fall back to a bridge that they do not hear. */
  readonly hasNativeHubs: boolean;
  /** Whether event ids of bridge-lane calls are remembered in the log too. */
  readonly remembersIds: boolean;
}

/** Who compares the lanes wants to know. */
export interface Unshadowed {
  /**
   * The bridge may show what no shadow tells of: the log did not take a shadow, a call failed that the bridge may have taken, or one went
   * there in place of the stream lane. @param sinceMs when it was sent, ms monotonic
   */
  onUnshadowed(why: string, sinceMs: number): void;
}

/** What the lanes ask of the cutover where a call cannot go the way of its room, or goes it in doubt. */
export interface LaneFailures {
  /** The log could not take an event. Resolves when it may go to the bridge, see {@link CurrentOutage}. */
  onLogFailure(reason: FailureReason): Promise<void>;
  /**
   * Whether another replica may have sent a message of this room to the bridge already, without waiting for the windows here: an outage is
   * on, or the room has left the stream lane within the last 2 s, or may have, by a change that did not wait for this replica. Typing that
   * waits in a window may be over then.
   */
  othersMayBeAtBridge(room: string): boolean;
  /** An event goes to the bridge although its room may belong to the stream lane; see {@link Decision.isBlind}. */
  onBlind(event: Event): void;
  /**
   * An append may be in the log, and its call is about to go to the bridge, see rooms/uncertain.ts.
   * @returns `kept` where it is in the log: the bridge was not called. Errors: those of `callBridge`.
   */
  settleUncertain(
    event: { room: string; eventId: string },
    callBridge: () => Promise<BridgeAnswer>,
  ): Promise<BridgeAnswer | 'kept'>;
}
