// Carries a change of the cutover out at all replicas. In comes what changes.ts lets through, out goes the state that all of them have
// adopted, by the notes of one handover: roll call, announce, commit (see handover.ts for what each replica does with them).
// Promises: one change after the other; another replica's faster change is taken into account, not overwritten; an announced change
// is committed or abandoned.

import { CrossfadeError, hasCode } from '../errors.ts';
import type { Log } from '../log/log.ts';
import { newId } from '../new-id.ts';
import { answerMs } from '../rooms/bounds.ts';
import type { RoomLanes } from '../rooms/room-lanes.ts';
import { atBridge, type CutoverState, comesAfter, movesBetween } from '../rooms/state.ts';
import type { Clock } from '../telemetry/clock.ts';
import type { Logger } from '../telemetry/logger.ts';
import { type Note, tell, toEntry } from './control.ts';
import { Replies } from './replies.ts';

export interface CoordinatorParts {
  log: Pick<Log, 'append' | 'commitState' | 'reachable' | 'roster'>;
  roomLanes: Pick<RoomLanes, 'state' | 'untilEpoch'>;
  /** ms that a room may wait. */
  timeoutMs: number;
  clock: Clock;
  logger: Logger;
}

/** ms for an answer to arrive, beyond the handover timeout that each replica may take for it. */
export const arrivalMs = 300;
/** ms in which the log must take a commit. */
const commitMs = 200;
/** ms beyond the handover timeout after which an announced change that was not committed is void at each replica. */
export const abandonMs = 1_000;
const maxAttempts = 5;

/** The live replicas: those that read at this moment, and those that did not answer. */
export interface Roll {
  here: string[];
  silent: string[];
}

export interface MoveOptions {
  /** All rooms are at the bridge, as the log has failed: each that the state has on the stream lane comes back to it. */
  fromBridge?: boolean;
  /**
   * Replicas without which it is not made, as they may have calls at the bridge. Of any other one that does not answer the roll call
   * nobody knows whether it still lives: it is left out.
   */
  needs?: string[];
  /** No live replica may be left out: it would go on under the old state, which is worse than that nothing moves. */
  needsAll?: boolean;
}

export class Coordinator {
  readonly #parts: CoordinatorParts;
  /** Question -> replica -> its answer: rooms that are late. */
  readonly #replies: Replies<string[]>;
  #last: Promise<unknown> = Promise.resolve();

  constructor(parts: CoordinatorParts) {
    this.#parts = parts;
    this.#replies = new Replies(parts.clock);
  }

  /**
   * Moves all replicas to what `change` makes of the state that stands.
   * @param change asked again if another replica was faster; undefined: there is nothing to be changed any more
   * @returns the live replicas that answered, and those that did not
   * Errors: LOG_UNAVAILABLE, LOG_APPEND_*, CUTOVER_CONFLICT.
   */
  move(change: (from: CutoverState) => CutoverState | undefined, options: MoveOptions = {}): Promise<Roll> {
    const moving = this.#last.then(() => this.#move(change, options));
    this.#last = moving.catch(() => {});
    return moving;
  }

  /** Asks who is there: the live replicas that read at this moment. Errors: LOG_UNAVAILABLE, LOG_APPEND_*. */
  async callRoll(): Promise<Roll> {
    const { log, logger } = this.#parts;
    const id = newId();
    const live = (await log.roster.replicas()).map(({ instance }) => instance);
    this.#replies.open(`here ${id}`);
    await tell(log, { kind: 'roll call', id });
    const here = [...(await this.#replies.gather(`here ${id}`, live, answerMs)).keys()];
    const silent = live.filter((instance) => !here.includes(instance));
    if (silent.length > 0) logger.warn({ silent }, 'replicas that do not answer are left out');
    return { here, silent };
  }

  /** A replica answers a note of some coordinator, perhaps of this one. */
  onAnswer(note: Extract<Note, { kind: 'here' | 'ready' }>): void {
    this.#replies.note(`${note.kind} ${note.id}`, note.instance, note.kind === 'ready' ? note.late : []);
  }

  async #move(change: (from: CutoverState) => CutoverState | undefined, options: MoveOptions): Promise<Roll> {
    const { roomLanes, log } = this.#parts;
    for (let attempt = 1; attempt <= maxAttempts; attempt++) {
      const { state } = roomLanes;
      const to = change(state);
      if (to === undefined) return { here: [], silent: [] };
      try {
        const roll = await this.callRoll();
        demand([...(options.needs ?? []), ...(options.needsAll ? roll.silent : [])], roll.here);
        const from = options.fromBridge ? atBridge(state) : state;
        if (await this.#carryOut(from, to, roll.here, options)) return roll;
      } catch (error) {
        // A log that was slow for once has kept nothing: the step is made again.
        if (!hasCode(error, 'LOG_APPEND_REFUSED') || !log.reachable || attempt === maxAttempts) throw error;
      }
      // Another state stands in the log, which is read here sooner or later, mostly at once; or the log was slow.
      await roomLanes.untilEpoch(state.epoch + 1, 2 * answerMs);
    }
    throw new CrossfadeError(
      'CUTOVER_CONFLICT',
      'other changes of the cutover, or a slow log, came between, again and again',
    );
  }

  /** @returns whether all replicas are in the new state now, as far as they answer */
  async #carryOut(
    from: CutoverState,
    to: CutoverState,
    participants: string[],
    { fromBridge = false }: MoveOptions,
  ): Promise<boolean> {
    const { timeoutMs, log, clock, roomLanes } = this.#parts;
    const id = newId();
    const abandonedAt = clock.monotonic() + timeoutMs + abandonMs;
    const ready = await this.#announce(id, from, to, participants);
    // A call that one of them has at the bridge might be shown behind what follows it by stream.
    if (ready.size < participants.length && movesBetween(from, to).raises) {
      await this.#abandon(id);
      demand(participants, [...ready.keys()]);
    }
    const late = [...ready].flatMap(([instance, rooms]) => (rooms.length > 0 ? [{ instance, rooms }] : []));
    const note = toEntry({ kind: 'commit', id, from, to, participants, late, endsOutage: fromBridge });
    const next = { epoch: to.epoch, value: JSON.stringify(to) };
    // Who was stopped meanwhile comes too late: the others' calls go on under the old lanes.
    const withinMs = Math.max(0, Math.min(commitMs, abandonedAt - clock.monotonic()));
    const result = await log
      .commitState(next, { over: from.epoch, note, withinMs })
      .catch((error) => this.#readInstead(id, to, error));
    if (result !== 'committed') {
      await this.#abandon(id);
      return false;
    }
    await roomLanes.untilEpoch(to.epoch, 4 * answerMs);
    return true;
  }

  /** A commit of which the log has not said whether it stands is read if it does; otherwise it is given up. Rejects with the error then. */
  async #readInstead(id: string, to: CutoverState, error: unknown): Promise<'committed'> {
    const { roomLanes } = this.#parts;
    // A return after an outage is no step of the history: another state of that epoch could not be told from it.
    const canBeTold = hasCode(error, 'LOG_APPEND_UNKNOWN') && to.history.at(-1)?.epoch === to.epoch;
    if (canBeTold && (await roomLanes.untilEpoch(to.epoch, answerMs)) && comesAfter(roomLanes.state, to))
      return 'committed';
    this.#abandon(id).catch((untold) => this.#warn(untold));
    throw error;
  }

  /** @returns who is ready, and in which rooms it has calls at the bridge that are late */
  async #announce(
    id: string,
    from: CutoverState,
    to: CutoverState,
    participants: string[],
  ): Promise<Map<string, string[]>> {
    const { timeoutMs, log } = this.#parts;
    const { raises, lowers } = movesBetween(from, to);
    if (!raises && !lowers) return new Map(participants.map((instance) => [instance, []]));
    this.#replies.open(`ready ${id}`);
    await tell(log, { kind: 'announce', id, from, to });
    return this.#replies.gather(`ready ${id}`, participants, timeoutMs + arrivalMs);
  }

  #abandon(id: string): Promise<void> {
    return tell(this.#parts.log, { kind: 'abandon', id });
  }

  #warn(error: unknown): void {
    this.#parts.logger.warn({ reason: (error as Error).message }, 'a step of a handover could not be told');
  }
}

/** Error: CUTOVER_CONFLICT. */
function demand(needed: string[], there: string[]): void {
  const missing = needed.filter((instance) => !there.includes(instance));
  if (missing.length > 0) throw new CrossfadeError('CUTOVER_CONFLICT', `${missing.join(', ')} did not answer in time`);
}
