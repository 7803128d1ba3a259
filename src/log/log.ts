// The log: what every engine (redis/, embedded/) promises and all that the stages above may ask of one.
// In come events from the lanes; out come entries, in the order in which they were kept, to the consumer.
// An append is kept once per event id; an entry is read by every replica that was running when it was kept.
//
// An engine must do in one step, whatever else happens: refuse an append that comes after its deadline (in the log's own time) or under an
// older epoch than its state's, and else remember its ids, give it a position and keep it; and keep a new state together with its note.
// Positions, `<ms>-<number>`, are in one order over all streams; what stood before an entry is read before it. `stalenessMs` of a reader
// that is in step stays below 500 (`answerMs` of rooms/bounds.ts). An engine is chosen in open.ts (today by whether there is a Redis URL: a
// further one needs a setting), told its settings in parts.ts (whether it may be away at the start, too) and config.ts, and looked at by
// checks.ts; hints to operators name Redis (grep "bring Redis back"). test/log/conformance.ts is what each engine must pass.

import type { Delivery, Event } from '../contract/event.ts';
import type { Clock } from '../telemetry/clock.ts';
import type { Logger } from '../telemetry/logger.ts';

/** What one typing note carries so that it is never shown after its sender's later message, or later typing. */
export interface Typing {
  user: string;
  /** The position of the replica's own reader when the coalescing window opened. */
  openedAt: Position;
  /** When its last state was accepted, see {@link Log.time}; absent in a note of an older release. */
  statedAt?: number;
}

/** How the log's time, see {@link EventLog.time}, is made of the monotonic one of a process: what is added, and by how much it may be wrong. */
export interface ClockOffset {
  toLogMs: number;
  withinMs: number;
}

/** Of a shadow: when its call went to the bridge, and when that had answered; ms, monotonic of the process that mirrors it. */
export interface Mirrored extends ClockOffset {
  sentAt: number;
  answeredAt: number;
}

/** An event with what its lane adds before it is kept. */
export interface NewEntry extends Event {
  /** Under which id it is kept, where its publisher must know that before; see eventIdOf() in entry.ts. */
  eventId?: string;
  /** W3C trace id of the call, where it had one. */
  traceId?: string;
  typing?: Typing;
  mirrored?: Mirrored;
  /** The ids are remembered elsewhere already (claims, the bridge lane): the append neither compares nor keeps them. */
  idsSettled?: boolean;
  /** The cutover state under which its lane was decided; the log refuses an entry that is older than its own state. */
  epoch?: number;
}

/** Where the replicas' notes to each other stand: ordinary entries, read in one order with the events. */
export const controlStream = 'crossfade:control';
/** ... and those that clients cause, apart, so that no client can push a note of the cutover out. */
export const typingStream = 'crossfade:typing';

/** ... and the replicas' probes (see consumer/probe.ts), which only ever say that what was written before them has arrived. */
export const probeStream = 'crossfade:probe';

/** Whether an entry that is trimmed there unread is missed by somebody. */
export function countsMissed(stream: string): boolean {
  return stream !== typingStream && stream !== probeStream;
}

/** The one cutover state of all replicas, as the log keeps it. */
export interface StoredState {
  /** Rises with every state; 0 is none. */
  epoch: number;
  /** JSON; the log does not look into it. */
  value: string;
}

/** A place in the log, `<ms>-<sequence>`; see {@link comparePositions}. One order over all streams of a log. */
export type Position = string;

/** An event as it was kept. */
export interface Entry {
  stream: string;
  position: Position;
  eventId: string;
  eventType: string;
  /** When it was published, in ms since 1970 by the publisher's clock; NaN where the publisher wrote none. */
  publishedAtMs: number;
  room: string;
  payload: string;
  /** Absent in an entry that another publisher wrote: the contract's `foreign` section then says what it delivers. */
  deliveries?: Delivery[];
  typing?: Typing;
  mirrored?: Mirrored;
  endsTypingOf?: string;
  /** See {@link NewEntry.epoch}. */
  epoch?: number;
  /** The replica that wrote it; absent in an entry that another publisher wrote. */
  instance?: string;
  /** It stands in a log that was put in another one's place, and was published before that: it had its effect there. */
  isHistory?: true;
}

/** An entry that cannot be understood; it is acknowledged and never delivered. */
export interface Malformed {
  stream: string;
  position: Position;
  reason: string;
}

/** What one read brought, in log order over all streams. */
export interface Batch {
  entries: Entry[];
  malformed: Malformed[];
  /** Entries that were trimmed before this replica had read them. */
  missed: number;
}

/** One replica's own cursor over the streams that it was opened for: the contract's, and those of replicas' notes. */
export interface Reader {
  /**
   * The next entries; waits for them as long as it takes, also across a lost connection.
   * @returns undefined after close()
   */
  read(): Promise<Batch | undefined>;
  /** Says that every entry of the batch was delivered; the log hears it with the next read. What is not acknowledged is read again. */
  acknowledge(batch: Batch): void;
  /** The position of the last entry that read() returned, or the tail at which the reader was opened. */
  readonly position: Position;
  /**
   * How old (ms, monotonic) this replica's knowledge of the log is: what stood there so long ago has been read, and
   * delivered, for read() was called again. A live reader stays below 500; Infinity before the first answer and while there is no connection.
   */
  readonly stalenessMs: number;
  close(): Promise<void>;
}

/** Reads streams as they grow, without a group: nobody waits for it, and what is trimmed before it comes is not seen. */
export interface Tail {
  /**
   * @returns what stands behind what it has returned before, perhaps nothing; within half a second. What cannot be understood is left out.
   * Error: LOG_UNAVAILABLE; then this tail is of no use any more
   */
  read(): Promise<Entry[]>;
  close(): void;
}

export type AppendResult = 'appended' | 'duplicate' | 'undecided' | 'stale';
export type ClaimResult = 'claimed' | 'duplicate' | 'undecided' | 'stale';
export type CommitResult = 'committed' | 'conflict' | 'late';

/** An id that was accepted elsewhere, and for how long (ms) it still counts. */
export interface AcceptedId {
  eventId: string;
  ttlMs: number;
}

/** A consumer group that is not crossfade's own. */
export interface ForeignReader {
  stream: string;
  group: string;
}

/** One live replica as it tells the others of itself. */
export interface LiveReplica {
  instance: string;
  /** What it said with {@link Roster.describe}. */
  facts: Record<string, string>;
  /** Those that were asked for. */
  counters: Map<string, number>;
}

/** This replica's counters, seen by all replicas (connections per user, members per room), and the presence keys. */
export interface Roster {
  /** Sets one counter of this replica; 0 removes it. Kept in memory and written behind; rewritten after a lost log. */
  set(counter: string, value: number): void;
  /** All counters of every live replica, this one included: there is one for each user. Error: LOG_UNAVAILABLE. */
  read(): Promise<Map<string, number>[]>;
  /** Tells all replicas of this one (addresses, release, …), in place of what was told before. Kept as counters are. */
  describe(facts: Record<string, string>): void;
  /** Every live replica, this one first, with these counters. A dead one counts for up to 30 s. Error: LOG_UNAVAILABLE. */
  replicas(counters?: string[]): Promise<LiveReplica[]>;
  /** `presence:desktop:{session}` = user and session in the set `presence:user:{user}`, both for 660 s, renewed while held. */
  holdPresence(user: string, session: string): void;
  /**
   * Whether what is held is written again as soon as another program removes it (a bridge, which does not know who holds it). With false
   * nothing is held any more, and nothing is ended: it is the other program's then.
   */
  keepPresence(keeps: boolean): void;
  /** Ends what was held for this user if no live replica counts a connection of the user (`counter` > 0) any more. */
  releasePresence(user: string, counter: string): void;
}

/** What every engine is opened with. */
export interface LogOptions {
  /** Prefix of the replicas' consumer groups. */
  group: string;
  /** This replica's name. */
  instance: string;
  /** ms that one append may take. */
  publishTimeoutMs: number;
  /** crossfade's release, written into every entry. */
  version: string;
  clock: Clock;
  logger: Logger;
  /** Of each stream; 256 MiB unless a test gives less. */
  maxStreamBytes?: number;
  /** Called when entries were trimmed for their bytes, before their number would have it. */
  onOverBytes(stream: string): void;
  /** Called once if another process takes this instance's name while this one runs. */
  onInstanceLost(): void;
}

export interface StreamState {
  stream: string;
  /** Entries in the stream. */
  depth: number;
  /** Entries that this replica has not acknowledged yet: unread ones and those being delivered. */
  lag: number;
}

/** Whether the log can be used. */
export interface LogHealth {
  /** Whether the log answers at this moment. */
  readonly reachable: boolean;
  /** Why the log has itself refused what it was last asked to write, though it answers; undefined: it has not. */
  readonly refusal: string | undefined;
  /** Error: LOG_UNAVAILABLE. */
  streamStates(): Promise<StreamState[]>;
}

/** Keeps events, in one order. */
export interface EventLog {
  /**
   * Keeps the entry at the end of its stream, unless one of its ids was kept in the last 5 minutes. Of two that are asked for one after
   * the other, also without waiting, the first stands first where both are answered over one connection.
   * Resolves when the log itself has acknowledged. Nothing can be written after a rejection with LOG_APPEND_REFUSED.
   * @returns `undecided` while another replica's claim on the id is open; `stale` where the entry's epoch is below that of
   *   the shared state (nothing is kept, and no id remembered)
   * Errors: LOG_APPEND_REFUSED (certainly not kept), LOG_APPEND_UNKNOWN (sent, no answer, could not be looked up).
   * `reason` on both: `redis_error`, `timeout` or `connection_lost`.
   */
  append(entry: NewEntry): Promise<AppendResult>;
  /**
   * The log's own time in ms, with a fraction, at a moment between this question and its answer: a replica that asks after another one
   * has got its answer is told a later time. Error: LOG_UNAVAILABLE.
   */
  time(): Promise<number>;
}

/** Remembers event ids that were not appended, so that every replica knows a repeat. */
export interface EventIds {
  /**
   * Remembers an id whose event goes by the bridge lane; open until settled, for 15 s at most, and not much longer than its
   * process lives. Error: LOG_UNAVAILABLE.
   * @param epoch as {@link NewEntry.epoch}; a stale claim is not opened
   */
  claim(eventId: string, epoch?: number): Promise<ClaimResult>;
  /** Ends a claim: kept (a repeat is a duplicate for 5 minutes) or not (a repeat is new). Never rejects. */
  settle(eventId: string, kept: boolean): Promise<void>;
  /**
   * Remembers ids that the bridge has accepted, each for the rest of its 5 minutes. An id that is remembered already keeps the longer
   * time; an open claim on an id ends as kept, for the call that claimed it is a repeat. Error: LOG_UNAVAILABLE.
   */
  rememberIds(ids: AcceptedId[]): Promise<void>;
}

export interface CommitOptions {
  /** The highest epoch that the next state may replace. */
  over: number;
  /** Kept at the end of its stream in the same step. */
  note: NewEntry;
  /** The log itself refuses it later (`late`). */
  withinMs: number;
}

/** Holds the one cutover state of all replicas. */
export interface StateCell {
  /** undefined where there is none. Error: LOG_UNAVAILABLE. */
  readState(): Promise<StoredState | undefined>;
  /**
   * Puts `next` in place of the shared state and keeps the note, in one step.
   * @returns `conflict` where the state's epoch is above `over`, or not below that of `next`
   * Errors: LOG_APPEND_REFUSED (certainly not put), LOG_APPEND_UNKNOWN (sent, no answer, could not be looked up).
   */
  commitState(next: StoredState, options: CommitOptions): Promise<CommitResult>;
}

/** Small values that all replicas can see for a while. */
export interface SharedValues {
  /** Shares a value for `ttlMs`. Resolves when all replicas can see it, or never will: it may be lost with the log. */
  share(key: string, value: string, ttlMs: number): Promise<void>;
  /** Error: LOG_UNAVAILABLE. */
  shared(key: string): Promise<string | undefined>;
}

/** Shared values of which no change is lost. */
export interface SwappedValues {
  /**
   * Puts `to` in place of exactly `from` (undefined: of none) for `ttlMs`, in one step, and as durably as an entry: of several that
   * try at once one succeeds. Where an answer is lost it may have been done. Error: LOG_UNAVAILABLE.
   * @returns whether it was `from` that stood there
   */
  swap(key: string, from: string | undefined, to: string, ttlMs: number): Promise<boolean>;
}

/** What an engine is: each stage takes of it what it calls. */
export interface Log extends LogHealth, EventLog, EventIds, StateCell, SharedValues, SwappedValues {
  /**
   * Makes it ready. Until then every append is refused and every question fails, as while it cannot be reached; what this replica
   * says of itself in the roster is kept. May be called again where it has failed.
   * Errors: LOG_UNAVAILABLE, LOG_INSTANCE_TAKEN (another process has the embedded log's folder).
   */
  open(): Promise<void>;
  /** Opens the replica's cursor at the tail of the streams. Errors: LOG_UNAVAILABLE, LOG_INSTANCE_TAKEN. */
  openReader(streams: string[]): Promise<Reader>;
  /** A tail from the end of these streams on. Error: LOG_UNAVAILABLE. */
  openTail(streams: string[]): Promise<Tail>;
  readonly roster: Roster;
  /**
   * Groups on these streams that crossfade did not make and that a consumer reads: one that was active within `withinMs`,
   * or, where the log cannot tell that, one that may be. Error: LOG_UNAVAILABLE.
   */
  foreignReaders(streams: string[], withinMs: number): Promise<ForeignReader[]>;
  /** Finishes what is under way (bounded), gives the instance name back, closes. */
  close(): Promise<void>;
}

/** Less than, equal to or greater than 0, as a stands before, at or after b. */
export function comparePositions(a: Position, b: Position): number {
  const [aMs = '0', aSeq = '0'] = a.split('-');
  const [bMs = '0', bSeq = '0'] = b.split('-');
  return compareDigits(aMs, bMs) || compareDigits(aSeq, bSeq);
}

/** Of whole numbers without leading zeros, up to 2^64: more than a double holds. */
function compareDigits(a: string, b: string): number {
  if (a.length !== b.length) return a.length - b.length;
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

/**
 * What the entries of one stream may take together: trimmed by number alone, ten thousand of the largest would be 300 GB.
 * Only what crossfade writes is counted; whole portions of 1/32 go at a time.
 */
export const maxStreamBytes = 256 * 1024 * 1024;
/** What one read of the log brings at most, as far as that can be known before. */
export const maxReadBytes = 8 * 1024 * 1024;

export const idempotencyTtlMs = 5 * 60_000;
export const claimTtlMs = 15_000;
export const presenceTtlMs = 660_000;
