// The operator's hand on the cutover: commands come in (set, hold, release, reset, rollback), moves of all replicas go out, and the
// state as an operator wants to see it. Promises: a rollback needs no log, it acts at once where it is asked, and says whom it could
// not reach, and whether it kept the order; what was bound to an epoch changes nothing that is newer.

import { isDeepStrictEqual } from 'node:util';
import { CrossfadeError } from '../errors.ts';
import { bad, type CheckFinding, doubtful, good } from '../findings.ts';
import { type Peers, peerPaths, type Told } from '../peers/peers.ts';
import type { RoomLanes } from '../rooms/room-lanes.ts';
import { type CutoverState, type Difference, initialState, isRolledBack, rolledBack } from '../rooms/state.ts';
import { type Clock, pause } from '../telemetry/clock.ts';
import type { Logger } from '../telemetry/logger.ts';
import { type By, type ChangeOf, type Changes, held, unlessHeld } from './changes.ts';
import type { Roll } from './coordinator.ts';
import type { Guard } from './guard.ts';
import type { OwnFlags } from './own-flags.ts';
import { guardFinding, type Rehearsal, type RehearsalParts, rehearse, rehearseRollback } from './rehearsal.ts';
import type { SharedState } from './shared-state.ts';
import { cutoverStatus, type Status, type StatusParts } from './status.ts';
import type { Survey } from './survey.ts';

/** What a command changes; a pin of null ends one. */
export interface Command {
  percent?: number;
  /** Of which share of the rooms, 0-100. */
  mirror?: number;
  pins?: Record<string, 'bridge' | 'stream' | null>;
}

/** Who gives a command, and under which conditions. */
export interface Order {
  who: string;
  why?: string | undefined;
  /** Past the guard. */
  force?: boolean;
  /** Only over this epoch: nothing may have been changed since it was read. */
  ifEpoch?: number | undefined;
}

export interface RolledBack extends Told {
  /** `in order`: by the log, as any handover. `at once`: without it; what may be out of order is counted as unfenced. */
  kept: 'in order' | 'at once';
}

export interface OperatorParts extends StatusParts, RehearsalParts {
  instance: string;
  roomLanes: RoomLanes;
  guard: Guard;
  survey: Survey;
  changes: Changes;
  shared: SharedState;
  ownFlags: OwnFlags;
  peers: Pick<Peers, 'tell'>;
  clock: Clock;
  logger: Logger;
}

/** An edge alone. */
const noFlags = 'this replica takes no calls and so has no flags to go back to: give --admin of one that does';
/** ms that a rollback waits for the log before it goes on without: longer than one replica that does not answer. */
const rollbackMs = 800;
const peerMs = 1_000;

export class Operator {
  readonly #parts: OperatorParts;

  constructor(parts: OperatorParts) {
    this.#parts = parts;
  }

  /** Errors: CUTOVER_GUARD, CUTOVER_HELD, CUTOVER_INVALID, CUTOVER_CONFLICT, LOG_* (nothing is changed before the log's state is known). */
  async set(command: Command, order: Order): Promise<void> {
    await this.#command(this.#changeBy(command), wordsFor(command), order);
  }

  /** Drops what operators have set: the flags and variables of this replica hold again. Errors as set(). */
  async reset(order: Order): Promise<void> {
    await this.#command(this.#reset, 'reset', order);
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

  /**
   * Percent 0 without pins and mirror, at once, also while somebody holds it: the hold stays. Error: CUTOVER_INVALID.
   * @returns the other replicas that follow, and those that could not be reached
   */
  async rollback({ who, why }: Pick<Order, 'who' | 'why'>): Promise<RolledBack> {
    this.#requireBridge();
    const by = { who, what: 'rollback', why };
    const roll = await this.#moveBack(() => rolledBack, by);
    if (roll !== undefined) return { kept: 'in order', ...(await this.#tellSilent(roll)) };
    return { kept: 'at once', ...(await this.#rollBackWithoutLog(by)) };
  }

  /** A line in the history that moves nothing: what is bound to an epoch before it is refused. Errors: CUTOVER_INVALID, CUTOVER_CONFLICT, LOG_*. */
  async note(what: string, order: Order): Promise<void> {
    await this.#unguarded(() => ({}), what, order);
  }

  /** What {@link set} would do; nothing is changed. Errors: CUTOVER_INVALID, CUTOVER_CONFLICT. */
  async rehearseSet(command: Command, order: Order): Promise<Rehearsal> {
    this.#requireBridge();
    return this.#rehearse(this.#changeBy(command), wordsFor(command), commandFor(command), order);
  }

  /** What {@link reset} would do; nothing is changed. Errors: CUTOVER_INVALID, CUTOVER_CONFLICT. */
  async rehearseReset(order: Order): Promise<Rehearsal> {
    this.#requireBridge();
    return this.#rehearse(this.#reset, 'reset', 'reset', order);
  }

  /** What {@link rollback} would do; nothing is changed. Error: CUTOVER_INVALID. */
  async rehearseRollback(): Promise<Rehearsal> {
    this.#requireBridge();
    return rehearseRollback(this.#parts);
  }

  /** Another replica has rolled back without the log, and maybe without knowing what is known here. Error: CUTOVER_INVALID. */
  async adoptFromPeer(state: CutoverState): Promise<void> {
    if (!isRolledBack(state)) throw new CrossfadeError('CUTOVER_INVALID', 'replicas take over nothing but a rollback');
    const { roomLanes, changes, shared } = this.#parts;
    const { who = 'rollback', what = 'rollback' } = state.history.at(-1) ?? {};
    // Several are told at once: the first that moves does it for all.
    const change = (from: CutoverState) => (isRolledBack(from) ? undefined : rolledBack);
    if ((await this.#moveBack(change, { who, what })) !== undefined) return;
    const outdated = state.epoch <= roomLanes.state.epoch && !isRolledBack(roomLanes.state);
    shared.rollBackWithoutLog(outdated ? changes.next(roomLanes.state, () => rolledBack, { who, what })! : state);
  }

  /** For `GET /check`: what would keep rooms from moving. Never rejects. */
  async findings(): Promise<CheckFinding[]> {
    const { roomLanes } = this.#parts;
    if (roomLanes.standalone) return [good('lanes', 'there is no bridge: every room is on the stream lane')];
    const { hold, killed } = roomLanes.state;
    const { outage } = this.#parts;
    const reason = outage.status?.reason;
    return [
      reason === undefined
        ? good('log', 'no room is at the bridge for an outage of the log')
        : bad(
            'log',
            `all rooms are at the bridge, as the log failed (${reason})`,
            'bring Redis back: they return by themselves',
          ),
      await guardFinding(this.#parts, false),
      killed.length === 0
        ? good('kill switch', 'nobody has it')
        : bad(
            'kill switch',
            `${killed.join(', ')}: every room is at the bridge`,
            'start them without EVENT_TRANSPORT_USE_REDIS_STREAMS=false',
          ),
      hold === null
        ? good('hold', 'nobody holds it')
        : doubtful('hold', held(hold).message, 'crossfade cutover release'),
    ];
  }

  /** For `GET /cutover`. */
  status(): Promise<Status> {
    return cutoverStatus(this.#parts);
  }

  readonly #reset = () => {
    const { wish } = this.#parts;
    if (wish === null) throw new CrossfadeError('CUTOVER_INVALID', noFlags);
    const { percent, mirror } = wish;
    return { percent, mirror, mirrorPercent: initialState.mirrorPercent, pins: {}, operated: false };
  };

  /** Error: CUTOVER_INVALID. */
  #changeBy(command: Command): ChangeOf {
    const { pins } = this.#parts.roomLanes.state;
    const unknown = Object.entries(command.pins ?? {}).find(([room, lane]) => lane === null && !(room in pins));
    if (unknown !== undefined) throw new CrossfadeError('CUTOVER_INVALID', `'${unknown[0]}' is not pinned`);
    return changeBy(command);
  }

  #rehearse(change: ChangeOf, what: string, words: string, { force = false, ifEpoch }: Order): Promise<Rehearsal> {
    return rehearse(this.#parts, { change: unlessHeld(over(ifEpoch, change)), what, words, force });
  }

  async #command(change: ChangeOf, what: string, { who, why, force, ifEpoch }: Order): Promise<void> {
    this.#requireBridge();
    this.#requireLog();
    const { changes, ownFlags, logger } = this.#parts;
    try {
      await changes.guarded(over(ifEpoch, change), { who, what, why }, force);
    } catch (error) {
      const { code, message: reasons } = error as CrossfadeError;
      logger.warn({ code, what, by: who, reasons }, 'a change of the cutover was refused');
      throw error;
    }
    ownFlags.drop();
  }

  /** It moves no room. */
  async #unguarded(change: ChangeOf, what: string, { who, why, ifEpoch }: Order): Promise<void> {
    this.#requireBridge();
    this.#requireLog();
    await this.#parts.changes.make(over(ifEpoch, change), { who, what, why });
  }

  /** By the log, in order with the calls. @returns undefined where that does not come about in time */
  async #moveBack(change: ChangeOf, by: By): Promise<Roll | undefined> {
    const { log, clock, roomLanes, changes, shared } = this.#parts;
    // One that hangs still counts as reachable for a while, but is not read any more.
    if (!log.reachable || !roomLanes.isFresh || !shared.follows) return undefined;
    // What is made without the log then must not be made once more when the log answers: it would undo what was raised meanwhile.
    let isGivenUp = false;
    const unlessGivenUp = (from: CutoverState) => (isGivenUp ? undefined : change(from));
    const moved = changes.make(unlessGivenUp, by).catch(() => undefined);
    const roll = await Promise.race([moved, pause(clock, rollbackMs).then(() => undefined)]);
    isGivenUp = true;
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

  async #rollBackWithoutLog(by: By): Promise<Told> {
    const { roomLanes, changes, shared, peers, logger } = this.#parts;
    const state = changes.next(roomLanes.state, () => rolledBack, { ...by, what: 'rollback without the log' })!;
    shared.rollBackWithoutLog(state);
    const told = await peers.tell(peerPaths.adopt, state, peerMs);
    logger.warn(told, 'rolled back without the log');
    return told;
  }

  #requireLog(): void {
    if (this.#parts.shared.follows) return;
    const why = 'the log does not answer, or what stands there is not known here yet';
    throw new CrossfadeError('LOG_UNAVAILABLE', `${why}; \`crossfade cutover rollback\` needs no log`);
  }

  #requireBridge(): void {
    if (!this.#parts.roomLanes.standalone) return;
    throw new CrossfadeError('CUTOVER_INVALID', 'there is no --bridge: every room is on the stream lane');
  }
}

/** What is to be changed, as long as nobody has changed anything since: steps without words (of the machinery) do not count. */
function over(epoch: number | undefined, change: ChangeOf): ChangeOf {
  if (epoch === undefined) return change;
  return (from) => {
    const isAsRead = from.epoch >= epoch && !from.history.some((step) => step.epoch > epoch);
    if (isAsRead) return change(from);
    throw new CrossfadeError('CUTOVER_CONFLICT', `the cutover is at epoch ${from.epoch}, not as it was at ${epoch}`);
  };
}

function changeBy(command: Command): ChangeOf {
  return (from) => {
    const changed = { ...differenceOf(from, command), operated: true };
    return isDeepStrictEqual({ ...from, ...changed }, from) ? undefined : changed;
  };
}

function differenceOf(from: CutoverState, { percent, mirror, pins }: Command): Difference {
  const kept = Object.entries({ ...from.pins, ...pins }).filter(([, lane]) => lane !== null);
  return {
    ...(percent !== undefined && { percent }),
    ...(mirror !== undefined && { mirror: mirror > 0, mirrorPercent: mirror || initialState.mirrorPercent }),
    ...(pins !== undefined && { pins: Object.fromEntries(kept) as CutoverState['pins'] }),
  };
}

function wordsFor({ percent, mirror, pins }: Command): string {
  const words = Object.entries(pins ?? {}).map(([room, lane]) =>
    lane === null ? `unpin ${room}` : `pin ${room} ${lane}`,
  );
  if (percent !== undefined) words.unshift(`set ${percent}`);
  if (mirror !== undefined) words.push(`mirror ${mirrorWord(mirror)}`);
  return words.join(', ');
}

/** As it is typed behind `crossfade cutover`. */
function commandFor(command: Command): string {
  const { percent, mirror, pins = {} } = command;
  const parts = Number(percent !== undefined) + Number(mirror !== undefined) + Object.keys(pins).length;
  if (mirror !== undefined && parts === 1) return `mirror ${mirror}`;
  const [pin] = Object.entries(pins);
  if (pin === undefined || parts > 1) return wordsFor(command);
  const [room, lane] = pin;
  return lane === null ? `unpin ${quoted(room)}` : `pin ${quoted(room)} ${lane}`;
}

/** As a shell reads it. */
function quoted(word: string): string {
  return /^[\w./:@%+=-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

function mirrorWord(percent: number): string {
  if (percent === 0) return 'off';
  return percent === 100 ? 'on' : `${percent}%`;
}
