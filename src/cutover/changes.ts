// One change of the cutover, made on all replicas: in comes what shall be different and who says so; out goes a state that
// all replicas have adopted. Promises: nothing comes to the stream lane past the guard unless forced, nor before the log
// knows the event ids that the bridge has accepted lately; no hub becomes native past the guard or without a replica, unless forced;
// what somebody holds is moved by nothing that has to pass here.
//
// How rooms come to the stream lane, and who asks the guard: `guarded` does (commands, flags at start, a kill switch that ends; not with
// --force). `make` does not: whoever calls it by itself gives it nothing but what lowers or moves no room (a rollback, a kill switch, a
// hold, the end of the cutover). `comeBack` does not either: the rooms were there before an outage. A replica that has missed a commit
// follows it as after an outage (shared-state.ts). Without a bridge every room is there.

import { CrossfadeError } from '../errors.ts';
import type { Log } from '../log/log.ts';
import type { RoomLanes } from '../rooms/room-lanes.ts';
import {
  type Change,
  type CutoverHold,
  type CutoverState,
  type Difference,
  movesBetween,
  nextState,
  usesStream,
} from '../rooms/state.ts';
import type { Clock } from '../telemetry/clock.ts';
import type { Logger } from '../telemetry/logger.ts';
import { tell } from './control.ts';
import type { Coordinator, MoveOptions, Roll } from './coordinator.ts';
import type { Guard } from './guard.ts';
import { Replies } from './replies.ts';

/** What is different then; undefined: it is so already. */
export type ChangeOf = (from: CutoverState) => Difference | undefined;

/** Who says so, in which words, and why. */
export interface By {
  who: string;
  what: string;
  why?: string | undefined;
}

export interface ChangesParts {
  instance: string;
  roomLanes: RoomLanes;
  coordinator: Pick<Coordinator, 'move'>;
  log: Pick<Log, 'append'>;
  guard: Guard;
  /** Writes the ids that this replica has accepted in the last 5 minutes into the log. */
  rememberRecentIds(): Promise<void>;
  clock: Clock;
  logger: Logger;
}

const rememberedMs = 5_000;
/** A step that nobody has asked for, and that is no line of the history. */
const noNews: By = { who: '', what: '' };

export class Changes {
  readonly #parts: ChangesParts;
  readonly #remembered: Replies<true>;

  constructor(parts: ChangesParts) {
    this.#parts = parts;
    this.#remembered = new Replies(parts.clock);
    parts.roomLanes.onAdopted((state, before) => {
      if (state.remembers && !before.remembers) this.#shareIds(state.epoch);
    });
  }

  /** Errors: CUTOVER_HELD, CUTOVER_GUARD, CUTOVER_CONFLICT (also if it raises, forced or not, and somebody has taken rooms back meanwhile), LOG_*. */
  async guarded(wanted: ChangeOf, by: By, force = false): Promise<void> {
    const change = unlessHeld(wanted);
    const { roomLanes, guard } = this.#parts;
    const { epoch } = roomLanes.state;
    const to = this.next(roomLanes.state, change, by);
    const takesFromBridge = (from: CutoverState, next: CutoverState) =>
      movesBetween(from, next).raises || roomLanes.takesHubs(from, next);
    if (!force && to !== undefined && takesFromBridge(roomLanes.state, to)) {
      const verdict = await guard.check();
      if (!verdict.ok) throw new CrossfadeError('CUTOVER_GUARD', verdict.reasons.join('; '));
    }
    const unlessTakenBack = (from: CutoverState) => {
      const changed = change(from);
      const isLower = (step: Change) => step.to < step.from || step.what.startsWith('rollback');
      const wereTakenBack = from.history.some((step) => step.epoch > epoch && isLower(step));
      // Two who take rooms back at the same time both may.
      const isRaise = changed !== undefined && takesFromBridge(from, { ...from, ...changed });
      if (wereTakenBack && isRaise) throw new CrossfadeError('CUTOVER_CONFLICT', 'rooms were taken back meanwhile');
      return changed;
    };
    const needsAll = !force && to !== undefined && roomLanes.takesHubs(roomLanes.state, to);
    await this.make(unlessTakenBack, by, { needsAll });
  }

  /** Without asking the guard. Errors: CUTOVER_CONFLICT, LOG_*. */
  async make(change: ChangeOf, by: By, options?: MoveOptions): Promise<Roll> {
    const { roomLanes, coordinator } = this.#parts;
    const to = this.next(roomLanes.state, change, by);
    if (to !== undefined && !roomLanes.state.remembers && (usesStream(to) || to.mirror)) await this.#beginToRemember();
    return coordinator.move((from) => this.next(from, change, by), options);
  }

  /**
   * Brings the rooms of all replicas back from the bridge, where an outage of the log has taken them. Errors as make().
   * @param needs the other replicas that are in it
   */
  comeBack(needs: string[]): Promise<Roll> {
    const back = (from: CutoverState) => this.#parts.roomLanes.outage && this.next(from, () => ({}), noNews);
    return this.#parts.coordinator.move(back, { fromBridge: true, needs });
  }

  /** The state that a change makes; undefined where it changes nothing. */
  next(from: CutoverState, change: ChangeOf, by: By): CutoverState | undefined {
    const changed = change(from);
    return changed && nextState(from, changed, { ...by, nowMs: this.#parts.clock.now() });
  }

  /** Another replica's recent ids are in the log. */
  onRemembered(epoch: number, instance: string): void {
    this.#remembered.note(String(epoch), instance, true);
  }

  /** Before any room comes to the stream lane the log must know what the bridge has accepted in the last 5 minutes. */
  async #beginToRemember(): Promise<void> {
    let question = '';
    const { here } = await this.#parts.coordinator.move((from) => {
      question = String(from.epoch + 1);
      this.#remembered.open(question);
      return this.next(from, () => ({ remembers: true }), noNews);
    });
    const answered = await this.#remembered.gather(question, here, rememberedMs);
    const silent = here.filter((instance) => !answered.has(instance));
    if (silent.length > 0) this.#parts.logger.warn({ silent }, 'their recent event ids are not in the log yet');
  }

  #shareIds(epoch: number): void {
    const { rememberRecentIds, log, instance, logger } = this.#parts;
    rememberRecentIds()
      .then(() => tell(log, { kind: 'remembered', epoch, instance }))
      .catch((error) => logger.warn({ reason: (error as Error).message }, 'recent event ids could not be shared'));
  }
}

/** Asked again at each try: somebody may hold it meanwhile. */
export function unlessHeld(change: ChangeOf): ChangeOf {
  return (from) => {
    const changed = change(from);
    if (changed !== undefined && from.hold !== null) throw held(from.hold);
    return changed;
  };
}

export function held({ who, when, why }: CutoverHold): CrossfadeError {
  const since = when.slice(0, 19).replace('T', ' ');
  return new CrossfadeError('CUTOVER_HELD', `${who} holds the cutover since ${since}Z: ${why}`);
}
