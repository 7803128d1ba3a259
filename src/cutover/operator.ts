// The operator's hand on the cutover: commands come in (set, reset, rollback), moves of all replicas go out, and the state
// as an operator wants to see it. Promises: a rollback needs no log, it acts at once where it is asked, and says whom it
// could not reach.

import { isDeepStrictEqual } from 'node:util';
import type { BridgeState } from '../bridge/health.ts';
import { CrossfadeError } from '../errors.ts';
import type { Log } from '../log/log.ts';
import { type Clock, pause } from '../telemetry/clock.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Roll } from './coordinator.ts';
import type { Cutover } from './cutover.ts';
import type { Guard } from './guard.ts';
import type { By, ChangeOf, Moves } from './moves.ts';
import type { Outage } from './outage.ts';
import { type Peers, peerPaths, type Told } from './peers.ts';
import type { ReaderWatch } from './reader-watch.ts';
import type { SharedState } from './shared-state.ts';
import { type CutoverState, isRolledBack, type nextState, rolledBack } from './state.ts';
import type { Wishes } from './wishes.ts';

/** What a command changes; a pin of null ends one. */
export interface Command {
  percent?: number;
  mirror?: boolean;
  pins?: Record<string, 'bridge' | 'stream' | null>;
}

export interface OperatorParts {
  instance: string;
  /** What this replica's flags and variables ask for. */
  wish: { percent: number; mirror: boolean };
  cutover: Cutover;
  moves: Moves;
  shared: SharedState;
  wishes: Wishes;
  outage: Pick<Outage, 'status'>;
  guard: Guard;
  peers: Peers;
  readerWatch: Pick<ReaderWatch, 'isCutOff'>;
  /** What each bridge last said. */
  bridgeStates(): BridgeState[];
  log: Log;
  clock: Clock;
  logger: Logger;
}

/** ms that a rollback waits for the log before it goes on without: longer than one replica that does not answer. */
const rollbackMs = 800;
const peerMs = 1_000;

export class Operator {
  readonly #parts: OperatorParts;

  constructor(parts: OperatorParts) {
    this.#parts = parts;
  }

  /** Errors: CUTOVER_GUARD, CUTOVER_INVALID, CUTOVER_CONFLICT, LOG_* (nothing is changed before the log's state is known). */
  async set(command: Command, by: { who: string; force: boolean }): Promise<void> {
    const { pins } = this.#parts.cutover.state;
    const unknown = Object.entries(command.pins ?? {}).find(([room, lane]) => lane === null && !(room in pins));
    if (unknown !== undefined) throw new CrossfadeError('CUTOVER_INVALID', `'${unknown[0]}' is not pinned`);
    const change = (from: CutoverState) => {
      const changed = { ...changeOf(from, command), operated: true };
      return isDeepStrictEqual({ ...from, ...changed }, from) ? undefined : changed;
    };
    await this.#command(change, { who: by.who, what: wordsFor(command) }, by.force);
  }

  /** Drops what operators have set: the flags and variables of this replica hold again. Errors as set(). */
  async reset(by: { who: string; force: boolean }): Promise<void> {
    const { percent, mirror } = this.#parts.wish;
    const change = () => ({ percent, mirror, pins: {}, operated: false });
    await this.#command(change, { who: by.who, what: 'reset' }, by.force);
  }

  /**
   * Percent 0 without pins and mirror, at once. Error: CUTOVER_INVALID.
   * @returns the other replicas that follow, and those that could not be reached
   */
  async rollback(who: string): Promise<Told> {
    this.#requireBridge();
    const roll = await this.#moveBack(() => rolledBack, { who, what: 'rollback' });
    return roll === undefined ? this.#rollBackWithoutLog(who) : this.#tellSilent(roll);
  }

  /** Another replica has rolled back without the log, and maybe without knowing what is known here. Error: CUTOVER_INVALID. */
  async adoptFromPeer(state: CutoverState): Promise<void> {
    if (!isRolledBack(state)) throw new CrossfadeError('CUTOVER_INVALID', 'replicas take over nothing but a rollback');
    const { cutover, moves, shared } = this.#parts;
    const { who = 'rollback', what = 'rollback' } = state.history.at(-1) ?? {};
    // Several are told at once: the first that moves does it for all.
    const change = (from: CutoverState) => (isRolledBack(from) ? undefined : rolledBack);
    if ((await this.#moveBack(change, { who, what })) !== undefined) return;
    const outdated = state.epoch <= cutover.state.epoch && !isRolledBack(cutover.state);
    shared.rollBackWithoutLog(outdated ? moves.next(cutover.state, () => rolledBack, { who, what })! : state);
  }

  /** For `GET /cutover`. */
  async status(): Promise<object> {
    const { cutover, guard, outage, log, wish, wishes, peers, shared, readerWatch, bridgeStates } = this.#parts;
    const { state } = cutover;
    const [self, ...others] = await peers.refresh();
    return {
      epoch: state.epoch,
      percent: state.percent,
      pins: state.pins,
      mirror: state.mirror,
      effective: {
        percent: cutover.percent,
        ...(state.killed.length > 0 && { why: `the kill switch of ${state.killed.join(', ')}` }),
        ...(wishes.heldFor !== '' && { held: wishes.heldFor }),
      },
      operated: state.operated,
      wish,
      killed: state.killed,
      outage: outage.status,
      guard: guard.last ?? null,
      bridges: bridgeStates(),
      log: { reachable: log.reachable, followed: shared.follows, isCutOff: readerWatch.isCutOff },
      replicas: [
        { ...self!.facts, instance: self!.instance, epoch: String(state.epoch) },
        ...others.map(({ instance, facts }) => ({ ...facts, instance })),
      ],
      history: state.history,
    };
  }

  async #command(change: ChangeOf, by: By, force: boolean): Promise<void> {
    this.#requireBridge();
    this.#requireLog();
    const { moves, wishes, logger } = this.#parts;
    try {
      await moves.guarded(change, by, force);
    } catch (error) {
      const { code, message: reasons } = error as CrossfadeError;
      logger.warn({ code, what: by.what, by: by.who, reasons }, 'a change of the cutover was refused');
      throw error;
    }
    wishes.drop();
  }

  /** By the log, in order with the calls. @returns undefined where that does not come about in time */
  async #moveBack(change: ChangeOf, by: By): Promise<Roll | undefined> {
    const { log, clock, cutover, moves, shared } = this.#parts;
    // One that hangs still counts as reachable for a while, but is not read any more.
    if (!log.reachable || !cutover.isFresh || !shared.follows) return undefined;
    const moved = moves.make(change, by).catch(() => undefined);
    const roll = await Promise.race([moved, pause(clock, rollbackMs).then(() => undefined)]);
    return isRolledBack(cutover.state) ? roll : undefined;
  }

  /** Who does not read the log may still be reached by HTTP. */
  async #tellSilent({ here, silent }: Roll): Promise<Told> {
    const { peers, cutover, instance } = this.#parts;
    const others = here.filter((each) => each !== instance);
    if (silent.length === 0) return { reached: others, notReached: [] };
    const told = await peers.tell(peerPaths.adopt, cutover.state, peerMs, silent);
    return { reached: [...others, ...told.reached], notReached: told.notReached };
  }

  async #rollBackWithoutLog(who: string): Promise<Told> {
    const { cutover, moves, shared, peers, logger } = this.#parts;
    const state = moves.next(cutover.state, () => rolledBack, { who, what: 'rollback without the log' })!;
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
    if (!this.#parts.cutover.standalone) return;
    throw new CrossfadeError('CUTOVER_INVALID', 'there is no --bridge: every room is on the stream lane');
  }
}

function changeOf(from: CutoverState, { percent, mirror, pins }: Command): Parameters<typeof nextState>[1] {
  const kept = Object.entries({ ...from.pins, ...pins }).filter(([, lane]) => lane !== null);
  return {
    ...(percent !== undefined && { percent }),
    ...(mirror !== undefined && { mirror }),
    ...(pins !== undefined && { pins: Object.fromEntries(kept) as CutoverState['pins'] }),
  };
}

function wordsFor({ percent, mirror, pins }: Command): string {
  const words = Object.entries(pins ?? {}).map(([room, lane]) =>
    lane === null ? `unpin ${room}` : `pin ${room} ${lane}`,
  );
  if (percent !== undefined) words.unshift(`set ${percent}`);
  if (mirror !== undefined) words.push(`mirror ${mirror ? 'on' : 'off'}`);
  return words.join(', ');
}
