// Which lane a call takes: in goes a call's room, out comes its lane with the epoch under which that was decided.
// Promises: a room's lane depends on the shared state alone, but that it is the bridge while the log fails, while this replica does not
// know the state, and where this replica has the kill switch; a call waits while its room moves, and while this replica may have missed
// that it does, or does not know the state yet; what the log refuses as stale is decided again.

import { CrossfadeError } from '../errors.ts';
import { type CurrentOutage, type Decision, StaleEpoch } from '../lanes/call.ts';
import { allRooms, type RoomSet } from '../room-set.ts';
import { type Clock, pause } from '../telemetry/clock.ts';
import { answerMs } from './bounds.ts';
import {
  type CutoverState,
  comesAfter,
  effectivePercent,
  type HubKind,
  initialState,
  isNative,
  isRolledBack,
  laneOf,
  MovedRooms,
  mirrors,
  mirrorsRoom,
  movesBetween,
  usesStream,
} from './state.ts';
import type { Traffic } from './traffic.ts';

/** How far this replica follows the log. */
export interface Follow {
  /** ms since the reader last had everything; Infinity before it has begun. */
  stalenessMs(): number;
  reachable(): boolean;
}

export interface RoomLanesParts {
  /** Set where there is no bridge: every room is on the stream lane, and nothing ever moves. */
  standalone: boolean;
  /** This replica's own kill switch. */
  killSwitch: boolean;
  /** Where its flag says that hub connections end, as long as nobody has moved them. */
  hubs: HubKind;
  /** The contract's hubs. */
  hubNames: string[];
  traffic: Traffic;
  follow: Follow;
  /** ms that a call waits for the log to be read. */
  timeoutMs: number;
  clock: Clock;
}

/**
 * ms after its start for which a replica that does not know the shared state yet keeps its calls, and its clients, waiting. Others
 * may use the stream lane meanwhile: a call that went to the bridge at once would overtake what they have appended, and
 * its repeat through them would be shown again. A log that is away for longer must not keep the bridge's traffic from it.
 */
export const unknownStateMs = 800;
const pollMs = 5;
/** ms that the bridge's messages wait for the log to be read. */
const catchUpMs = 1_000;
/** ms that a call waits for the state that the log already has. */
const newerStateMs = 2_000;
/** ms; longer than a call takes on its way into a window, and the window's append. */
const leftRecentlyMs = 2_000;

/** `together`: by a handover that has waited for what was under way here. `alone`: by one that has not, or without any. */
export type Adoption = 'together' | 'alone';

export class RoomLanes {
  readonly #parts: RoomLanesParts;
  readonly #onAdopted: ((state: CutoverState, before: CutoverState) => void)[] = [];
  #state: CutoverState = initialState;
  /** `blind`: the wait for the state is over, and it is not known all the same. */
  #knowledge: 'awaited' | 'blind' | 'known' = 'awaited';
  readonly #awaitsState = Promise.withResolvers<void>();
  /** Waits for the log to be read, by how long they may last: all that wait so long share one. */
  readonly #catchUps = new Map<number, Promise<void>>();
  readonly #awaitsEpoch = new Set<() => void>();
  /** The rooms that have left the stream lane here alone, or may have; until: ms monotonic. */
  #leftAlone: { rooms: RoomSet; until: number } = { rooms: new Set(), until: 0 };
  /** Set by outage.ts while the log fails: the rooms of the stream lane are at the bridge. */
  outage: CurrentOutage | undefined;
  /** Set by shared-state.ts: a rollback that was decided without the log, until the log has it. */
  unwrittenRollback: CutoverState | undefined;

  constructor(parts: RoomLanesParts) {
    this.#parts = parts;
    if (parts.standalone) this.stateIsKnown();
    else parts.clock.after(unknownStateMs, () => this.#goBlind());
  }

  get state(): CutoverState {
    return this.#state;
  }

  /** Whether there is no bridge, or it was left for good: every room is on the stream lane. */
  get standalone(): boolean {
    return this.#parts.standalone || this.#state.completed;
  }

  /** The share of rooms on the stream lane here and now. */
  get percent(): number {
    if (this.standalone) return 100;
    return this.#parts.killSwitch ? 0 : effectivePercent(this.#state);
  }

  /** Whether this hub's connections end at crossfade. */
  isNative(hub: string): boolean {
    return this.#parts.standalone || isNative(this.#state, hub, this.#parts.hubs);
  }

  /** Whether those of any hub do, so that what the bridge shows does not reach every client. */
  get hasNativeHubs(): boolean {
    return this.nativeHubs.length > 0;
  }

  get nativeHubs(): string[] {
    return this.#parts.standalone ? this.#parts.hubNames : this.nativeUnder(this.#state);
  }

  /** The hubs whose connections would end at crossfade under this state. */
  nativeUnder(state: CutoverState): string[] {
    return this.#parts.hubNames.filter((hub) => isNative(state, hub, this.#parts.hubs));
  }

  /** Whether connections of a hub end at crossfade by this change that did not before, by an operator's word or by the flags. */
  takesHubs(from: CutoverState, to: CutoverState): boolean {
    const before = this.nativeUnder(from);
    return this.nativeUnder(to).some((hub) => !before.includes(hub));
  }

  /** The hubs whose connections would end at the bridge under this state. */
  proxiedUnder(state: CutoverState): string[] {
    const native = this.nativeUnder(state);
    return this.#parts.hubNames.filter((hub) => !native.includes(hub));
  }

  /** The shared state was read, for the first time or once more. */
  stateIsKnown(): void {
    this.#knowledge = 'known';
    this.#awaitsState.resolve();
  }

  /** Whether lanes are decided here: the shared state is known, or was waited for in vain. */
  get decides(): boolean {
    return this.#knowledge !== 'awaited';
  }

  /**
   * Whether a state is newer than the one that holds, and that is not for good. A replica that was cut off reads what was raised
   * meanwhile: that must not move its rooms, not even until it has written the rollback that it was asked for. What was raised after
   * that very rollback, which then stands in the log already, does.
   */
  takes(state: CutoverState): boolean {
    if (state.epoch <= this.#state.epoch || (this.#state.completed && !state.completed)) return false;
    const rollback = this.unwrittenRollback;
    return rollback === undefined || isRolledBack(state) || state.completed || comesAfter(state, rollback);
  }

  /** Takes a state over, where it {@link takes} it. */
  adopt(state: CutoverState, how: Adoption): void {
    if (!this.takes(state)) return;
    const before = this.#state;
    this.#state = state;
    if (how === 'alone' && this.#knowledge === 'known') this.#noteLeftAlone(before, state);
    for (const run of this.#onAdopted) run(state, before);
    for (const look of this.#awaitsEpoch) look();
  }

  /** Keeps for 2 s which rooms may have left; ends their windows now, as one that ended later would give out typing that nobody drops any more. */
  #noteLeftAlone(before: CutoverState, state: CutoverState): void {
    const { clock, traffic } = this.#parts;
    const { raises, lowers } = movesBetween(before, state);
    const isNext = state.epoch === before.epoch + 1;
    // Nothing of a room that only comes to the stream lane waits here.
    if (isNext && raises && !lowers) return;
    // Otherwise it is not known which: a room may have left and come back, by changes or by an outage that were missed.
    const isAllThatLeft = isNext && lowers && clock.monotonic() >= this.#leftAlone.until;
    const rooms = isAllThatLeft ? new MovedRooms(before, state, 'lower') : allRooms;
    this.#leftAlone = { rooms, until: clock.monotonic() + leftRecentlyMs };
    traffic.flush(rooms);
  }

  /** Whether the room has left the stream lane here a moment ago, or may have, and the other replicas did not wait for its windows here. */
  hasLeftAlone(room: string): boolean {
    const { rooms, until } = this.#leftAlone;
    return this.#parts.clock.monotonic() < until && rooms.has(room);
  }

  /** @returns whether the state has this epoch, or a newer one, within `ms` */
  async untilEpoch(epoch: number, ms: number): Promise<boolean> {
    if (this.#state.epoch >= epoch) return true;
    const { promise: adopted, resolve } = Promise.withResolvers<void>();
    const look = () => this.#state.epoch >= epoch && resolve();
    this.#awaitsEpoch.add(look);
    await Promise.race([adopted, pause(this.#parts.clock, ms)]);
    this.#awaitsEpoch.delete(look);
    return this.#state.epoch >= epoch;
  }

  onAdopted(run: (state: CutoverState, before: CutoverState) => void): void {
    this.#onAdopted.push(run);
  }

  /** What holds for the room at this moment. */
  decide(room: string): Decision {
    if (this.standalone) return { lane: 'stream' };
    const { epoch } = this.#state;
    if (this.#knowledge !== 'known') return { lane: 'bridge', epoch, isBlind: true };
    if (this.#parts.killSwitch || laneOf(this.#state, room) === 'bridge') return { lane: 'bridge', epoch };
    const { outage } = this;
    return outage === undefined ? { lane: 'stream', epoch } : { lane: 'bridge', epoch, outage };
  }

  /** Runs a call by its room's lane. Errors: those of `run`. */
  async carry<Result>(room: string, run: (decision: Decision) => Promise<Result>): Promise<Result> {
    for (;;) {
      if (!this.standalone) await this.#admit(room);
      const decision = this.decide(room);
      if (decision.isBlind && this.#parts.hubs === 'native') throw unknownState();
      const end = this.begin(room);
      try {
        return await run(decision);
      } catch (error) {
        if (!(error instanceof StaleEpoch)) throw error;
      } finally {
        end();
      }
      await this.newerThan(decision.epoch ?? 0);
    }
  }

  /** Something of this room is under way until the returned function is called. */
  begin(room: string): () => void {
    return this.#parts.traffic.begin(room);
  }

  /** Waits until this replica has read the state that the log already has. Error: LOG_UNAVAILABLE. */
  async newerThan(epoch: number): Promise<void> {
    if (await this.untilEpoch(epoch + 1, newerStateMs)) return;
    throw new CrossfadeError('LOG_UNAVAILABLE', 'the cutover has changed, but the change was not read in time', {
      reason: 'timeout',
    });
  }

  get mirror(): boolean {
    return !this.#parts.killSwitch && mirrors(this.#state);
  }

  /** Whether this room's bridge-lane events are mirrored. */
  mirrorsRoom(room: string): boolean {
    return !this.#parts.killSwitch && mirrorsRoom(this.#state, room);
  }

  /** Whether event ids are remembered here; if not, the bridge's own memory answers repeats, as without crossfade. */
  get remembersIds(): boolean {
    if (this.standalone || this.#state.remembers) return true;
    return this.#parts.clock.now() < this.#state.rememberUntilMs;
  }

  /** Whether any room may be on the stream lane. */
  get usesStream(): boolean {
    return this.standalone || usesStream(this.#state);
  }

  /** Whether this replica has read the log just now, or there is no log to be read. */
  get isFresh(): boolean {
    const { follow } = this.#parts;
    return !follow.reachable() || this.hears;
  }

  /** Whether this replica has heard of the log just now. */
  get hears(): boolean {
    return this.#parts.follow.stalenessMs() < answerMs;
  }

  /**
   * For what the bridge sends while this replica may have missed that rooms have left the stream lane: what stands in the
   * log comes first. undefined: nothing is missed.
   */
  untilCaughtUp(): Promise<void> | undefined {
    if (!this.usesStream || this.isFresh) return undefined;
    return this.#untilFresh(catchUpMs);
  }

  #goBlind(): void {
    if (this.#knowledge === 'known') return;
    this.#knowledge = 'blind';
    this.#awaitsState.resolve();
  }

  async #admit(room: string): Promise<void> {
    if (!this.decides) await this.#awaitsState.promise;
    const { traffic, timeoutMs } = this.#parts;
    for (;;) {
      // Behind each door again: where the process stood still meanwhile, the door's own time is over before the commit is read.
      if (!this.isFresh) await this.#untilFresh(timeoutMs);
      const opened = traffic.waitFor(room);
      if (opened === undefined) return;
      await opened;
    }
  }

  /** A replica that was stopped may have missed a commit; a log that hangs is not waited for beyond the bound. */
  #untilFresh(limitMs: number): Promise<void> {
    const known = this.#catchUps.get(limitMs);
    if (known !== undefined) return known;
    const catchingUp = this.#pollUntilFresh(limitMs).finally(() => this.#catchUps.delete(limitMs));
    this.#catchUps.set(limitMs, catchingUp);
    return catchingUp;
  }

  async #pollUntilFresh(limitMs: number): Promise<void> {
    const { clock } = this.#parts;
    const givesUpAt = clock.monotonic() + limitMs;
    while (!this.isFresh && clock.monotonic() < givesUpAt) await pause(clock, pollMs);
  }
}

/** This replica's flag says `--hubs native`: what the bridge would show reaches no client here. */
function unknownState(): CrossfadeError {
  return new CrossfadeError(
    'LOG_UNAVAILABLE',
    'the shared state is not known, and native hubs hear nothing of the bridge',
    {
      reason: 'connection_lost',
    },
  );
}
