// Keeps this replica's cutover state and the log's in step: at start, after an outage, and when the log has lost it.
// Promises: an empty or older log never lowers the epoch, for what a live replica knows is written back; a rollback that
// was decided without the log outranks what stands there when it returns; what is taken over without having been
// committed before this replica's eyes comes to the stream lane as after an outage, by a handover.

import { CrossfadeError } from '../errors.ts';
import type { Log } from '../log/log.ts';
import { answerMs, idsSlackMs } from '../rooms/bounds.ts';
import type { Outage } from '../rooms/outage.ts';
import type { RoomLanes } from '../rooms/room-lanes.ts';
import {
  type CutoverState,
  comesAfter,
  initialState,
  isRolledBack,
  MovedRooms,
  mayHaveUsedStream,
  movesBetween,
  readState,
  rolledBack,
} from '../rooms/state.ts';
import type { Unfenced } from '../rooms/unfenced.ts';
import { type Clock, pause } from '../telemetry/clock.ts';
import { LogThrottle } from '../telemetry/log-throttle.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Changes } from './changes.ts';
import { toEntry } from './control.ts';

export interface SharedStateParts {
  roomLanes: RoomLanes;
  outage: Pick<Outage, 'begin'>;
  unfenced: Pick<Unfenced, 'overtakes'>;
  changes: Changes;
  log: Log;
  /** Writes the ids that this replica has accepted in the last `withinMs` into the log. */
  rememberRecentIds(withinMs: number): Promise<void>;
  clock: Clock;
  logger: Logger;
}

/** Between two tries to read the state for the first time, while calls wait for it. */
const learnMs = 25;
/** Between two looks at whether anything must be read again. */
const lookMs = answerMs / 2;
const keepMs = 1_000;
const sayEveryMs = 10_000;
const commitMs = 1_000;

export class SharedState {
  readonly #parts: SharedStateParts;
  #stops: (() => void)[] = [];
  #follows = false;
  #following: Promise<void> | undefined;
  #closed = false;
  /** When the log was found to be away, ms monotonic. */
  #lostAt: number | undefined;
  /** Since when the log has had a newer state whose note was not read here, ms monotonic. */
  #behindSince: number | undefined;
  readonly #saysFailed: LogThrottle;

  constructor(parts: SharedStateParts) {
    this.#parts = parts;
    this.#saysFailed = new LogThrottle(parts.clock, sayEveryMs);
  }

  /**
   * Reads the state as soon as the log answers, which needs neither the instance name nor a reader: until then calls wait. Both
   * may take long, and no note of a change is read until then: the state is read again and again. Resolves after start() or close().
   */
  async learn(): Promise<void> {
    const { clock } = this.#parts;
    while (!this.#closed && !this.#isStarted) {
      await this.follow().catch(() => {
        this.#lostAt ??= clock.monotonic();
      });
      await pause(clock, this.#follows ? lookMs : learnMs);
    }
  }

  /** Begins to watch the log. */
  start(): void {
    const { clock } = this.#parts;
    this.#stops = [clock.every(lookMs, () => this.#followIfLost()), clock.every(keepMs, () => this.#keep())];
  }

  get #isStarted(): boolean {
    return this.#stops.length > 0;
  }

  /** Whether rooms are on the stream lane, or may have been since `sinceMs` (ms since 1970): where the state is not known, yes. */
  mayHaveUsedStream(sinceMs: number): boolean {
    return !this.#follows || mayHaveUsedStream(this.#parts.roomLanes.state, sinceMs);
  }

  /** Whether our state and the log's have been compared since the log was last away. */
  get follows(): boolean {
    return this.#follows;
  }

  /**
   * Compares them: at start, before the first read, and after the log was away. Who asks while it is being done waits for another
   * one: what was read before may be older than where the reader stands now. Errors: LOG_*, CUTOVER_CONFLICT.
   */
  async follow(): Promise<void> {
    const before = this.#following?.catch(() => {});
    const following = before === undefined ? this.#follow() : before.then(() => this.#follow());
    this.#following = following;
    try {
      await following;
    } catch (error) {
      this.#follows = false;
      throw error;
    } finally {
      if (this.#following === following) this.#following = undefined;
    }
  }

  async #follow(): Promise<void> {
    const stored = await this.#readStored();
    const { roomLanes } = this.#parts;
    const { state: ours, unwrittenRollback } = roomLanes;
    const owesRollback = unwrittenRollback !== undefined && !ours.completed;
    const newest = stored.epoch < ours.epoch ? ours : stored;
    // Where others have written it, an operator may have raised again since.
    const mustWriteRollback = owesRollback && !isRolledBack(newest) && !comesAfter(newest, unwrittenRollback);
    if (stored.completed && !ours.completed) await this.#takeOverForGood(stored);
    else if (mustWriteRollback) await this.#writeRollback(stored);
    else if (stored.epoch > ours.epoch) this.#takeOver(stored);
    else if (stored.epoch < ours.epoch) await this.#writeBack(stored.epoch, owesRollback);
    const wasRolledBackMeanwhile = roomLanes.unwrittenRollback !== unwrittenRollback;
    if (!wasRolledBackMeanwhile) roomLanes.unwrittenRollback = undefined;
    roomLanes.stateIsKnown();
    await this.#rememberMissedIds();
    this.#follows = roomLanes.unwrittenRollback === undefined;
  }

  /** Adopts a rollback that the log does not know, decided here or by another replica; it is written there when it can be. */
  rollBackWithoutLog(state: CutoverState): void {
    const { roomLanes } = this.#parts;
    this.#adoptAtOnce(state);
    roomLanes.stateIsKnown();
    roomLanes.unwrittenRollback = state;
    this.#follows = false;
  }

  /** A replica has written back what the log had lost. */
  onRestored(state: CutoverState): void {
    if (this.#parts.roomLanes.takes(state)) this.#takeOver(state);
  }

  close(): void {
    this.#closed = true;
    for (const stop of this.#stops) stop();
  }

  async #followIfLost(): Promise<void> {
    const { log, roomLanes, clock } = this.#parts;
    if (!log.reachable) {
      this.#follows = false;
      this.#lostAt ??= clock.monotonic();
      return;
    }
    // What stands in the log is read first: the changes that were missed come with their fences then.
    if (this.#follows || this.#following !== undefined || !roomLanes.isFresh) return;
    await this.follow().catch((error) => this.#sayFailed(error, 'the shared state could not be read'));
  }

  /** The log may have been emptied, or gone and come back empty, without being away for as long as it takes to notice. */
  async #keep(): Promise<void> {
    if (!this.#follows) return;
    const { roomLanes, clock } = this.#parts;
    try {
      const stored = await this.#readStored();
      if (stored.epoch < roomLanes.state.epoch) await this.#writeBack(stored.epoch);
      if (stored.epoch <= roomLanes.state.epoch) {
        this.#behindSince = undefined;
        return;
      }
      // Its note comes within milliseconds, with its fences; if it does not, it is lost.
      this.#behindSince ??= clock.monotonic();
      if (roomLanes.isFresh && clock.monotonic() - this.#behindSince >= keepMs) this.#takeOver(stored);
    } catch (error) {
      this.#sayFailed(error, 'the shared state could not be compared');
    }
  }

  /** A Redis that refuses to write (READONLY, OOM) does so for hours, each second. */
  #sayFailed(error: unknown, what: string): void {
    if (this.#saysFailed.isDue()) this.#parts.logger.warn({ reason: (error as Error).message }, what);
  }

  /** The log must know what the bridge has accepted while it was away, before a room comes to the stream lane. */
  async #rememberMissedIds(): Promise<void> {
    const { roomLanes, clock, rememberRecentIds } = this.#parts;
    if (this.#lostAt === undefined) return;
    if (roomLanes.remembersIds) await rememberRecentIds(clock.monotonic() - this.#lostAt + idsSlackMs);
    this.#lostAt = undefined;
  }

  /** The initial one where the log has none. Error: LOG_UNAVAILABLE. */
  async #readStored(): Promise<CutoverState> {
    const stored = await this.#parts.log.readState();
    if (stored === undefined) return initialState;
    try {
      return readState(stored.value);
    } catch (error) {
      // Something else has written there. An operator must be able to go on from it, and nobody may be left waiting for a state.
      this.#sayFailed(error, 'the cutover state in the log cannot be read: it counts as percent 0');
      return { ...initialState, epoch: stored.epoch };
    }
  }

  #takeOver(state: CutoverState): void {
    const { roomLanes, outage } = this.#parts;
    // Nothing of these rooms was fenced here: they come to the stream lane as after an outage. A replica that has just started
    // has sent nothing to the bridge, and has no client, that would have to be fenced.
    // But where native clients hear nothing of the bridge, out of order is better than never.
    const mayUseBridge = roomLanes.decides && !state.completed && roomLanes.nativeUnder(state).length === 0;
    if (mayUseBridge && movesBetween(roomLanes.state, state).raises) void outage.begin('connection_lost');
    this.#adoptAtOnce(state);
  }

  /** The bridge was left for good: whoever had not heard of it and has rolled back meanwhile does not take that back. */
  async #takeOverForGood(stored: CutoverState): Promise<void> {
    const { epoch } = this.#parts.roomLanes.state;
    const state = stored.epoch > epoch ? stored : { ...stored, epoch: epoch + 1 };
    if (state !== stored) await this.#restore(state, stored.epoch);
    this.#takeOver(state);
  }

  /** Rooms that leave the stream lane by it go on by the bridge, whatever is not shown of them yet. */
  #adoptAtOnce(state: CutoverState): void {
    const { roomLanes, unfenced } = this.#parts;
    const before = roomLanes.state;
    roomLanes.adopt(state, 'alone');
    unfenced.overtakes(new MovedRooms(before, roomLanes.state, 'lower'));
  }

  /** Whatever stands in the log, and however high its epoch is: a rollback outranks it. */
  async #writeRollback(stored: CutoverState): Promise<void> {
    const { roomLanes, changes } = this.#parts;
    const base = stored.epoch > roomLanes.state.epoch ? stored : roomLanes.state;
    const by = { who: 'rollback', what: 'written into the log that was away' };
    const state = changes.next(base, () => rolledBack, by)!;
    await this.#restore(state, stored.epoch);
    this.#adoptAtOnce(state);
  }

  /** An empty or older log does not take back what a live replica knows. */
  async #writeBack(storedEpoch: number, owesRollback = false): Promise<void> {
    const { state } = this.#parts.roomLanes;
    await this.#restore(state, storedEpoch);
    const epochs = { epoch: state.epoch, storedEpoch };
    const { logger } = this.#parts;
    if (owesRollback) logger.info(epochs, 'the rollback without the log now stands there, too');
    else logger.warn(epochs, 'the log had lost the cutover state; it was written back');
  }

  /** Errors: CUTOVER_CONFLICT (another state came in between), LOG_*. */
  async #restore(state: CutoverState, over: number): Promise<void> {
    const next = { epoch: state.epoch, value: JSON.stringify(state) };
    const note = toEntry({ kind: 'restored', to: state });
    const result = await this.#parts.log.commitState(next, { over, note, withinMs: commitMs });
    if (result === 'committed') return;
    throw new CrossfadeError('CUTOVER_CONFLICT', `the log has another state by now (${result})`);
  }
}
