// The way back: in comes an operator's (or a plan's) word, or that of another replica, out goes percent 0 without pins and mirror at
// all replicas. Promises: it needs no log; it acts at once where it is asked, whoever holds, and says whom it could not reach, and
// whether it kept the order.

import { CrossfadeError } from '../errors.ts';
import type { Log } from '../log/log.ts';
import { type Peers, peerPaths, type Told } from '../peers/peers.ts';
import type { RoomLanes } from '../rooms/room-lanes.ts';
import { type CutoverState, comesAfter, isRolledBack, rolledBack } from '../rooms/state.ts';
import { type Clock, pause } from '../telemetry/clock.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { By, ChangeOf, Changes } from './changes.ts';
import { type Order, requireBridge } from './command.ts';
import type { Roll } from './coordinator.ts';
import type { SharedState } from './shared-state.ts';

export interface RollbackParts {
  instance: string;
  roomLanes: Pick<RoomLanes, 'state' | 'isFresh' | 'standalone'>;
  changes: Pick<Changes, 'make' | 'next'>;
  shared: Pick<SharedState, 'follows' | 'rollBackWithoutLog'>;
  peers: Pick<Peers, 'tell'>;
  log: Pick<Log, 'reachable'>;
  clock: Clock;
  logger: Logger;
}

export interface RolledBack extends Told {
  /** `in order`: by the log, as any handover. `at once`: without it; what may be out of order is counted as unfenced. */
  kept: 'in order' | 'at once';
}

/** ms that it waits for the log before it goes on without: longer than one replica that does not answer. */
const logMs = 800;
const peerMs = 1_000;

/** Whether a rollback would go by the log now. One that hangs still counts as reachable for a while, but is not read any more. */
export function goesByLog({
  log,
  roomLanes,
  shared,
}: Pick<RollbackParts, 'log' | 'roomLanes'> & {
  shared: Pick<SharedState, 'follows'>;
}): boolean {
  return log.reachable && roomLanes.isFresh && shared.follows;
}

export class Rollback {
  readonly #parts: RollbackParts;

  constructor(parts: RollbackParts) {
    this.#parts = parts;
  }

  /**
   * Also while somebody holds the cutover: the hold stays. Errors: CUTOVER_INVALID, CUTOVER_COMPLETE.
   * @returns the other replicas that follow, and those that could not be reached
   */
  async rollBack({ who, why }: Pick<Order, 'who' | 'why'>): Promise<RolledBack> {
    requireBridge(this.#parts.roomLanes);
    const by = { who, what: 'rollback', why };
    const roll = await this.#byLog(() => rolledBack, by);
    if (roll !== undefined) return { kept: 'in order', ...(await this.#tellSilent(roll)) };
    return { kept: 'at once', ...(await this.#withoutLog(by)) };
  }

  /** Another replica has rolled back without the log, and maybe without knowing what is known here. Errors: CUTOVER_INVALID, CUTOVER_COMPLETE. */
  async adoptFromPeer(state: CutoverState): Promise<void> {
    requireBridge(this.#parts.roomLanes);
    if (!isRolledBack(state)) throw new CrossfadeError('CUTOVER_INVALID', 'replicas take over nothing but a rollback');
    const { roomLanes, changes, shared } = this.#parts;
    // A word that comes late takes nothing back that was raised in spite of it.
    const isPast = (now: CutoverState) => comesAfter(now, state);
    if (isPast(roomLanes.state)) return;
    const { who = 'rollback', what = 'rollback' } = state.history.at(-1) ?? {};
    // Several are told at once: the first that moves does it for all.
    const change = (from: CutoverState) => (isRolledBack(from) || isPast(from) ? undefined : rolledBack);
    if ((await this.#byLog(change, { who, what })) !== undefined || isPast(roomLanes.state)) return;
    const outdated = state.epoch <= roomLanes.state.epoch && !isRolledBack(roomLanes.state);
    shared.rollBackWithoutLog(outdated ? changes.next(roomLanes.state, () => rolledBack, { who, what })! : state);
  }

  /** In order with the calls. Error: CUTOVER_COMPLETE, also where that came first. @returns undefined where it does not come about in time */
  async #byLog(change: ChangeOf, by: By): Promise<Roll | undefined> {
    const { clock, roomLanes, changes } = this.#parts;
    if (!goesByLog(this.#parts)) return undefined;
    // What is made without the log then must not be made once more when the log answers: it would undo what was raised meanwhile.
    let isGivenUp = false;
    const unlessGivenUp = (from: CutoverState) => (isGivenUp || from.completed ? undefined : change(from));
    const moved = changes.make(unlessGivenUp, by).catch(() => undefined);
    const roll = await Promise.race([moved, pause(clock, logMs).then(() => undefined)]);
    isGivenUp = true;
    requireBridge(roomLanes);
    return isRolledBack(roomLanes.state) ? roll : undefined;
  }

  /** Who does not read the log may still be reached by HTTP. */
  async #tellSilent({ here, silent }: Roll): Promise<Told> {
    const { peers, roomLanes, instance } = this.#parts;
    const others = here.filter((each) => each !== instance);
    if (silent.length === 0) return { reached: others, notReached: [] };
    const told = await peers.tell(peerPaths.adopt, roomLanes.state, peerMs, silent);
    return { reached: [...others, ...told.reached], notReached: told.notReached };
  }

  async #withoutLog(by: By): Promise<Told> {
    const { roomLanes, changes, shared, peers, logger } = this.#parts;
    const state = changes.next(roomLanes.state, () => rolledBack, { ...by, what: 'rollback without the log' })!;
    shared.rollBackWithoutLog(state);
    const told = await peers.tell(peerPaths.adopt, state, peerMs);
    logger.warn(told, 'rolled back without the log');
    return told;
  }
}
