// The operator's hand on the cutover: commands come in (set, reset, hold, release, complete), changes of all replicas go out. Promise: nothing
// is changed before it is known what stands in the log. What needs no log is in rollback.ts.

import { CrossfadeError } from '../errors.ts';
import type { RoomLanes } from '../rooms/room-lanes.ts';
import type { CutoverState } from '../rooms/state.ts';
import type { Clock } from '../telemetry/clock.ts';
import type { Logger } from '../telemetry/logger.ts';
import { type ChangeOf, type Changes, held } from './changes.ts';
import { type Command, changeBy, type Order, over, requireBridge, resetTo, wordsFor } from './command.ts';
import type { Completion } from './completion.ts';
import type { HubMoveRules } from './hub-moves.ts';
import type { OwnFlags, Wish } from './own-flags.ts';
import type { SharedState } from './shared-state.ts';

export interface OperatorParts {
  wish: Wish | null;
  roomLanes: Pick<RoomLanes, 'standalone' | 'state'>;
  changes: Pick<Changes, 'guarded' | 'make'>;
  hubMoves: Pick<HubMoveRules, 'plan' | 'allowed'>;
  shared: Pick<SharedState, 'follows'>;
  ownFlags: Pick<OwnFlags, 'drop'>;
  completion: Pick<Completion, 'require' | 'change'>;
  clock: Clock;
  logger: Logger;
}

export class Operator {
  readonly #parts: OperatorParts;

  constructor(parts: OperatorParts) {
    this.#parts = parts;
  }

  /** Errors: CUTOVER_GUARD, CUTOVER_HELD, CUTOVER_INVALID, CUTOVER_CONFLICT, LOG_*. */
  async set(command: Command, order: Order): Promise<void> {
    requireBridge(this.#parts.roomLanes);
    const hubsOf = command.hubs && (await this.#parts.hubMoves.plan(command.hubs));
    await this.#guarded(changeBy(command, hubsOf), wordsFor(command), order);
  }

  /** Drops what operators have set: the flags and variables of this replica hold again. Errors as set(). */
  async reset(order: Order): Promise<void> {
    await this.#guarded(resetTo(this.#parts.wish), 'reset', order);
  }

  /**
   * Nothing but a rollback and the kill switch moves the cutover until it is released. Errors: CUTOVER_HELD (somebody does so
   * already), CUTOVER_INVALID, CUTOVER_CONFLICT, LOG_*.
   */
  async hold(order: Order & { why: string }): Promise<void> {
    const { who, why } = order;
    const hold = { who, why, when: new Date(this.#parts.clock.now()).toISOString() };
    const change = (from: CutoverState) => {
      if (from.hold !== null) throw held(from.hold);
      return { hold };
    };
    await this.#unguarded(change, 'hold', order);
  }

  /** Whoever holds it. Errors: CUTOVER_INVALID, CUTOVER_CONFLICT, LOG_*. */
  async release(order: Order): Promise<void> {
    const change = (from: CutoverState) => (from.hold === null ? undefined : { hold: null });
    await this.#unguarded(change, 'release', order);
  }

  /** The bridge is left for good. Errors: CUTOVER_GUARD, CUTOVER_HELD, CUTOVER_COMPLETE, CUTOVER_INVALID, CUTOVER_CONFLICT, LOG_*. */
  async complete(order: Order): Promise<void> {
    const { completion, logger } = this.#parts;
    this.#requireLog();
    await completion.require(order.force);
    await this.#unguarded((from) => completion.change(from), 'complete', order);
    logger.info({ by: order.who }, 'the cutover is complete: the bridge is not used any more');
  }

  /** A line in the history that moves nothing: what is bound to an epoch before it is refused. Errors: CUTOVER_INVALID, CUTOVER_CONFLICT, LOG_*. */
  async note(what: string, order: Order): Promise<void> {
    await this.#unguarded(() => ({}), what, order);
  }

  async #guarded(change: ChangeOf, what: string, { who, why, force, ifEpoch }: Order): Promise<void> {
    this.#requireLog();
    const { changes, hubMoves, ownFlags, logger } = this.#parts;
    try {
      await changes.guarded(over(ifEpoch, hubMoves.allowed(change)), { who, what, why }, force);
    } catch (error) {
      const { code, message: reasons } = error as CrossfadeError;
      logger.warn({ code, what, by: who, reasons }, 'a change of the cutover was refused');
      throw error;
    }
    ownFlags.drop();
  }

  /** It moves no room. */
  async #unguarded(change: ChangeOf, what: string, { who, why, ifEpoch }: Order): Promise<void> {
    this.#requireLog();
    await this.#parts.changes.make(over(ifEpoch, change), { who, what, why });
  }

  #requireLog(): void {
    requireBridge(this.#parts.roomLanes);
    if (this.#parts.shared.follows) return;
    const why = 'the log does not answer, or what stands there is not known here yet';
    throw new CrossfadeError('LOG_UNAVAILABLE', `${why}; \`crossfade cutover rollback\` needs no log`);
  }
}
