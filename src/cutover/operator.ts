// The operator's hand on the cutover: commands come in (set, rollback, reset), and what replicas want by themselves (flags
// at start, the kill switch); guarded moves of all replicas go out.
// Promises: nothing comes to the stream lane past the guard unless forced; what is held goes on by itself when the guard
// lets it; a rollback needs no log, and outranks what stands there when it returns.

import { CrossfadeError } from '../errors.ts';
import type { Log } from '../log/log.ts';
import type { Clock } from '../telemetry/clock.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { type Note, toEntry } from './control.ts';
import type { Cutover } from './cutover.ts';
import type { Detour } from './detour.ts';
import type { Guard } from './guard.ts';
import { answerMs, type Handover, type Roll } from './handover.ts';
import type { Peers, Told } from './peers.ts';
import {
  type CutoverState,
  initialState,
  isRolledBack,
  movesBetween,
  nextState,
  readState,
  rolledBack,
  usesStream,
} from './state.ts';
import { Tally } from './tally.ts';

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
  killSwitch: boolean;
  cutover: Cutover;
  handover: Handover;
  detour: Detour;
  guard: Guard;
  peers: Peers;
  log: Log;
  /** Writes the ids that this replica has accepted in the last `withinMs`, or 5 minutes, into the log. */
  rememberRecentIds(withinMs?: number): Promise<void>;
  clock: Clock;
  logger: Logger;
  metrics: Metrics;
}

const pursueMs = 1_000;
const monitorMs = 5_000;
/** A surplus that lasts this long is an alert. */
const alertMs = 30_000;
/** ms that a rollback waits for the log before it goes on without: longer than one replica that does not answer. */
const rollbackMs = 800;
const peerMs = 1_000;
const rememberedMs = 5_000;
/** ms for which a replica must be missing in the roster; a live one renews it every 3 s. */
const goneMs = 5_000;
/** ms: what was under way when the log was found to be away may have been accepted without it a little before. */
const idsSlackMs = 15_000;

export class Operator {
  readonly #parts: OperatorParts;
  readonly #remembered: Tally<true>;
  readonly #stops: (() => void)[] = [];
  /** Whether the shared state has been compared with ours since the log was last away. */
  #follows = false;
  #following = false;
  /** When the log was found to be away, ms monotonic. */
  #lostAt: number | undefined;
  /** Since when the log has had a newer state whose note was not read here, ms monotonic. */
  #behindSince: number | undefined;
  /** A rollback was decided without the log, here or by another replica: what stands in the log does not count against it. */
  #owesRollback = false;
  /** The flags' wish is told once; from then on the state says what holds. */
  #wishOpen = true;
  #pursuing = false;
  #heldFor = '';
  #surplusSince: number | undefined;
  readonly #missingSince = new Map<string, number>();

  constructor(parts: OperatorParts) {
    this.#parts = parts;
    const { clock, cutover, metrics } = parts;
    this.#remembered = new Tally(clock);
    cutover.onAdopted((state, before) => {
      metrics.cutoverEpoch.set(state.epoch);
      metrics.cutoverPercent.set(cutover.percent);
      if (state.remembers && !before.remembers) this.#shareIds(state.epoch);
    });
    metrics.cutoverPercent.set(cutover.percent);
    // Nothing ever moves there, and there is no bridge to ask.
    if (cutover.standalone) return;
    this.#stops = [
      clock.every(answerMs / 2, () => void this.#followIfLost()),
      clock.every(pursueMs, () => void this.#pursue()),
      clock.every(monitorMs, () => void this.#monitor()),
    ];
  }

  close(): void {
    for (const stop of this.#stops) stop();
  }

  /** Compares the shared state with ours: before the first read, and after the log was away. Error: LOG_UNAVAILABLE. */
  async follow(): Promise<void> {
    const stored = await this.#readStored();
    const { state: ours } = this.#parts.cutover;
    const owesRollback = this.#owesRollback;
    this.#owesRollback = false;
    try {
      const isUndone = owesRollback && !isRolledBack(stored.epoch < ours.epoch ? ours : stored);
      if (isUndone) await this.#writeRollback(stored);
      else if (stored.epoch > ours.epoch) this.#takeOver(stored);
      else if (stored.epoch < ours.epoch) await this.#writeBack(stored.epoch);
    } catch (error) {
      this.#owesRollback ||= owesRollback;
      throw error;
    }
    await this.#rememberMissedIds();
    // Unless it was rolled back meanwhile.
    this.#follows = !this.#owesRollback;
    void this.#pursue();
  }

  /** The log must know what the bridge has accepted while it was away, before a room comes to the stream lane. */
  async #rememberMissedIds(): Promise<void> {
    const { cutover, clock, rememberRecentIds } = this.#parts;
    if (this.#lostAt === undefined) return;
    if (cutover.remembersIds) await rememberRecentIds(clock.monotonic() - this.#lostAt + idsSlackMs);
    this.#lostAt = undefined;
  }

  /** Errors: CUTOVER_GUARD, CUTOVER_INVALID, CUTOVER_CONFLICT, LOG_* (nothing is changed before the log's state is known). */
  async set(command: Command, by: { who: string; force: boolean }): Promise<void> {
    this.#requireBridge();
    this.#requireLog();
    const change = (from: CutoverState) => ({ ...changeOf(from, command), operated: true });
    await this.#guardedMove(change, { who: by.who, what: wordsFor(command) }, by.force);
  }

  /** Drops what operators have set: the flags and variables of this replica hold again. Errors as set(). */
  async reset(by: { who: string; force: boolean }): Promise<void> {
    this.#requireBridge();
    this.#requireLog();
    const { percent, mirror } = this.#parts.wish;
    const change = () => ({ percent, mirror, pins: {}, operated: false });
    await this.#guardedMove(change, { who: by.who, what: 'reset' }, by.force);
  }

  /**
   * Percent 0 without pins and mirror, at once.
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
    const { cutover } = this.#parts;
    const { who = 'rollback', what = 'rollback' } = state.history.at(-1) ?? {};
    // Several are told at once: the first that moves does it for all.
    const change = (from: CutoverState) => (isRolledBack(from) ? undefined : rolledBack);
    if ((await this.#moveBack(change, { who, what })) !== undefined) return;
    const outdated = state.epoch <= cutover.state.epoch && !isRolledBack(cutover.state);
    this.#rolledBackWithoutLog(outdated ? this.#next(cutover.state, () => rolledBack, { who, what })! : state);
  }

  onNote(note: Note): void {
    if (note.kind === 'remembered') this.#remembered.note(String(note.epoch), note.instance, true);
    else if (note.kind === 'restored' && note.to.epoch > this.#parts.cutover.state.epoch) this.#takeOver(note.to);
  }

  /** For `GET /cutover`. */
  async status(): Promise<object> {
    const { cutover, guard, detour, log, wish, peers } = this.#parts;
    const { state } = cutover;
    const replicas = await peers.refresh();
    return {
      epoch: state.epoch,
      percent: state.percent,
      pins: state.pins,
      mirror: state.mirror,
      effective: {
        percent: cutover.percent,
        ...(state.killed.length > 0 && { why: `the kill switch of ${state.killed.join(', ')}` }),
        ...(this.#heldFor !== '' && { held: this.#heldFor }),
      },
      operated: state.operated,
      wish,
      killed: state.killed,
      detour: detour.roomCount,
      guard: guard.last ?? null,
      log: { reachable: log.reachable, followed: this.#follows },
      replicas: replicas.map(({ instance, facts }) => ({ instance, ...facts })),
      history: state.history,
    };
  }

  /** Raises pass the guard first, unless forced. */
  async #guardedMove(change: ChangeOf, by: { who: string; what: string }, force: boolean): Promise<void> {
    const { cutover, guard } = this.#parts;
    const { epoch } = cutover.state;
    const to = this.#next(cutover.state, change, by);
    if (!force && to !== undefined && movesBetween(cutover.state, to).raises) {
      const verdict = await guard.check();
      if (!verdict.ok) throw new CrossfadeError('CUTOVER_GUARD', verdict.reasons.join('; '));
    }
    const unlessRolledBack = (from: CutoverState) => {
      const isNews = from.history.some((step) => step.epoch > epoch);
      if (!force && isNews && isRolledBack(from)) {
        throw new CrossfadeError('CUTOVER_CONFLICT', 'all rooms were taken back while the guard looked');
      }
      return change(from);
    };
    await this.#move(unlessRolledBack, by);
    this.#wishOpen = false;
  }

  async #move(change: ChangeOf, by: { who: string; what: string }): Promise<Roll> {
    const { cutover, handover } = this.#parts;
    const to = this.#next(cutover.state, change, by);
    if (to !== undefined && !cutover.state.remembers && (usesStream(to) || to.mirror)) await this.#beginToRemember();
    return handover.move((from) => this.#next(from, change, by));
  }

  /** Before any room comes to the stream lane the log must know what the bridge has accepted in the last 5 minutes. */
  async #beginToRemember(): Promise<void> {
    let question = '';
    const { here } = await this.#parts.handover.move((from) => {
      question = String(from.epoch + 1);
      this.#remembered.open(question);
      return this.#next(from, () => ({ remembers: true }), { who: '', what: '' });
    });
    const answered = await this.#remembered.gather(question, here, rememberedMs);
    const silent = here.filter((instance) => !answered.has(instance));
    if (silent.length > 0) this.#parts.logger.warn({ silent }, 'their recent event ids are not in the log yet');
  }

  #shareIds(epoch: number): void {
    const { rememberRecentIds, handover, instance, logger } = this.#parts;
    rememberRecentIds()
      .then(() => handover.tell({ kind: 'remembered', epoch, instance }))
      .catch((error) => logger.warn({ reason: (error as Error).message }, 'recent event ids could not be shared'));
  }

  /** By the log, in order with the calls. @returns undefined where that does not come about in time */
  async #moveBack(change: ChangeOf, by: { who: string; what: string }): Promise<Roll | undefined> {
    const { log, clock, cutover } = this.#parts;
    // One that hangs still counts as reachable for a while, but is not read any more.
    if (!log.reachable || !cutover.isFresh || !this.#follows) return undefined;
    const moved = this.#move(change, by).catch(() => undefined);
    const roll = await Promise.race([moved, after(clock, rollbackMs)]);
    return isRolledBack(cutover.state) ? roll : undefined;
  }

  /** Who does not read the log may still be reached by HTTP. */
  async #tellSilent({ here, silent }: Roll): Promise<Told> {
    const { peers, cutover, instance } = this.#parts;
    const others = here.filter((each) => each !== instance);
    if (silent.length === 0) return { reached: others, notReached: [] };
    const told = await peers.tell('/cutover/adopt', cutover.state, peerMs, silent);
    return { reached: [...others, ...told.reached], notReached: told.notReached };
  }

  async #rollBackWithoutLog(who: string): Promise<Told> {
    const { cutover, peers, logger } = this.#parts;
    const state = this.#next(cutover.state, () => rolledBack, { who, what: 'rollback without the log' })!;
    this.#rolledBackWithoutLog(state);
    const told = await peers.tell('/cutover/adopt', state, peerMs);
    logger.warn(told, 'rolled back without the log');
    return told;
  }

  #rolledBackWithoutLog(state: CutoverState): void {
    this.#parts.cutover.adopt(state);
    this.#owesRollback = true;
    this.#follows = false;
  }

  /** The initial one where the log has none. Error: LOG_UNAVAILABLE. */
  async #readStored(): Promise<CutoverState> {
    const stored = await this.#parts.log.readState();
    return stored === undefined ? initialState : readState(stored.value);
  }

  #takeOver(state: CutoverState): void {
    const { cutover, detour } = this.#parts;
    // Nothing of these rooms was fenced here: they come to the stream lane as after an outage.
    if (movesBetween(cutover.state, state).raises) detour.takeAll('connection_lost');
    cutover.adopt(state);
  }

  /** Whatever stands in the log, and however high its epoch is: a rollback outranks it. */
  async #writeRollback(stored: CutoverState): Promise<void> {
    const { cutover } = this.#parts;
    const base = stored.epoch > cutover.state.epoch ? stored : cutover.state;
    const by = { who: 'rollback', what: 'written into the log that was away' };
    const state = this.#next(base, () => rolledBack, by)!;
    await this.#restore(state, stored.epoch);
    cutover.adopt(state);
  }

  /** An empty or older log does not take back what a live replica knows. */
  async #writeBack(storedEpoch: number): Promise<void> {
    const { state } = this.#parts.cutover;
    await this.#restore(state, storedEpoch);
    this.#parts.logger.warn(
      { epoch: state.epoch, storedEpoch },
      'the log had lost the cutover state; it was written back',
    );
  }

  /** Errors: CUTOVER_CONFLICT (another state came in between), LOG_*. */
  async #restore(state: CutoverState, over: number): Promise<void> {
    const next = { epoch: state.epoch, value: JSON.stringify(state) };
    const note = toEntry({ kind: 'restored', to: state });
    const result = await this.#parts.log.commitState(next, { over, note, withinMs: peerMs });
    if (result === 'committed') return;
    throw new CrossfadeError('CUTOVER_CONFLICT', `the log has another state by now (${result})`);
  }

  async #followIfLost(): Promise<void> {
    const { log, logger, cutover, clock } = this.#parts;
    if (!log.reachable) {
      this.#follows = false;
      this.#lostAt ??= clock.monotonic();
      return;
    }
    // What stands in the log is read first: the changes that were missed come with their fences then.
    if (this.#follows || this.#following || !cutover.isFresh) return;
    this.#following = true;
    await this.follow()
      .catch((error) => logger.warn({ reason: (error as Error).message }, 'the shared state could not be read'))
      .finally(() => {
        this.#following = false;
      });
  }

  /** What this replica wants by itself, one thing after the other, until it is so. */
  async #pursue(): Promise<void> {
    if (!this.#follows || this.#pursuing) return;
    this.#pursuing = true;
    try {
      await this.#keepStored();
      await this.#pursueKillSwitches();
      await this.#pursueWish();
    } catch (error) {
      if (error instanceof CrossfadeError && error.code === 'CUTOVER_GUARD') this.#hold(error.message);
      else this.#parts.logger.warn({ reason: (error as Error).message }, 'the cutover could not be changed yet');
    } finally {
      this.#pursuing = false;
    }
  }

  /** The log may have been emptied, or gone and come back empty, without being away for as long as it takes to notice. */
  async #keepStored(): Promise<void> {
    const { cutover, clock } = this.#parts;
    const stored = await this.#readStored();
    if (stored.epoch < cutover.state.epoch) await this.#writeBack(stored.epoch);
    if (stored.epoch <= cutover.state.epoch) {
      this.#behindSince = undefined;
      return;
    }
    // Its note comes within milliseconds, with its fences; if it does not, it is lost.
    this.#behindSince ??= clock.monotonic();
    if (cutover.isFresh && clock.monotonic() - this.#behindSince >= pursueMs) this.#takeOver(stored);
  }

  async #pursueKillSwitches(): Promise<void> {
    const { cutover, killSwitch, instance, log } = this.#parts;
    const { killed } = cutover.state;
    if (killSwitch && !killed.includes(instance)) {
      const add = (from: CutoverState) =>
        from.killed.includes(instance) ? undefined : { killed: [...from.killed, instance] };
      await this.#move(add, { who: instance, what: 'kill switch on' });
    }
    if (killed.length === 0) return;
    const live = (await log.roster.replicas()).map((replica) => replica.instance);
    const gone = killed.filter((each) => (each === instance ? !killSwitch : this.#isGone(each, live.includes(each))));
    if (gone.length === 0) return;
    const remove = (from: CutoverState) => {
      const left = from.killed.filter((each) => !gone.includes(each));
      return left.length < from.killed.length ? { killed: left } : undefined;
    };
    await this.#guardedMove(remove, { who: instance, what: `kill switch of ${gone.join(', ')} gone` }, false);
    this.#letGo();
  }

  /** An emptied log has lost the roster, too: a replica is gone when it is missing for a while. */
  #isGone(instance: string, isLive: boolean): boolean {
    const now = this.#parts.clock.monotonic();
    if (isLive) this.#missingSince.delete(instance);
    else if (!this.#missingSince.has(instance)) this.#missingSince.set(instance, now);
    return now - (this.#missingSince.get(instance) ?? now) >= goneMs;
  }

  async #pursueWish(): Promise<void> {
    const { cutover, wish, instance, killSwitch } = this.#parts;
    if (!this.#wishOpen || killSwitch) return;
    const follow = ({ operated, percent, mirror }: CutoverState) =>
      operated || (percent === wish.percent && mirror === wish.mirror) ? undefined : wish;
    if (follow(cutover.state) !== undefined) {
      await this.#guardedMove(follow, { who: instance, what: 'flags at start' }, false);
    }
    this.#wishOpen = false;
    this.#letGo();
  }

  #hold(reasons: string): void {
    if (reasons === this.#heldFor) return;
    this.#heldFor = reasons;
    const { percent } = this.#parts.cutover;
    this.#parts.logger.warn(
      { code: 'CUTOVER_GUARD', percent, reasons },
      `the percent is held at ${percent}: ${reasons}`,
    );
  }

  #letGo(): void {
    if (this.#heldFor !== '') this.#parts.logger.info('the guard lets the rooms go on');
    this.#heldFor = '';
  }

  /** Clients that have come to the bridge directly miss what goes by stream: seen for 30 s, it is an alert. */
  async #monitor(): Promise<void> {
    const { cutover, guard, clock, logger, metrics, log } = this.#parts;
    if (!cutover.usesStream || !log.reachable) {
      this.#surplusSince = undefined;
      return;
    }
    const { surplus = 0 } = await guard.read();
    metrics.guardSurplus.set(Math.max(0, surplus));
    if (surplus <= 0) {
      this.#surplusSince = undefined;
      return;
    }
    const now = clock.monotonic();
    this.#surplusSince ??= now;
    if (now - this.#surplusSince < alertMs) return;
    logger.error({ code: 'CUTOVER_GUARD', surplus }, 'clients of the bridge miss the stream lane');
    this.#surplusSince = now;
  }

  #next(from: CutoverState, change: ChangeOf, { who, what }: { who: string; what: string }): CutoverState | undefined {
    const changed = change(from);
    return changed && nextState(from, changed, { who, what, nowMs: this.#parts.clock.now() });
  }

  #requireLog(): void {
    if (this.#follows) return;
    const why = 'the log does not answer, or what stands there is not known here yet';
    throw new CrossfadeError('LOG_UNAVAILABLE', `${why}; \`crossfade cutover rollback\` needs no log`);
  }

  #requireBridge(): void {
    if (this.#parts.cutover.standalone) {
      throw new CrossfadeError('CUTOVER_INVALID', 'there is no --bridge: every room is on the stream lane');
    }
  }
}

/** undefined: it is so already. */
type ChangeOf = (from: CutoverState) => Parameters<typeof nextState>[1] | undefined;

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

function after(clock: Clock, ms: number): Promise<undefined> {
  return new Promise((resolve) => clock.after(ms, () => resolve(undefined)));
}
