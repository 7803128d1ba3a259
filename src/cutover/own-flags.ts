// What this replica wants of the cutover by itself: its flags at start, its kill switch, and the end of kill switches whose
// replicas are gone. In come the flags, out go moves that the guard has to allow (but for the kill switch itself, which nothing holds),
// until it is so.
// Promises: what the guard, or somebody, holds is told once in clear words, and goes on by itself when it may.

import { type CrossfadeError, hasCode } from '../errors.ts';
import type { Roster } from '../log/log.ts';
import type { RoomLanes } from '../rooms/room-lanes.ts';
import type { CutoverState } from '../rooms/state.ts';
import type { Clock } from '../telemetry/clock.ts';
import { LogThrottle } from '../telemetry/log-throttle.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Changes } from './changes.ts';

/** What the flags and variables of a replica that takes calls ask for. */
export interface Wish {
  percent: number;
  mirror: boolean;
}

export interface OwnFlagsParts {
  instance: string;
  /** What the flags and variables ask for; null: this replica decides no call's lane, and its flags move nobody who does. */
  wish: Wish | null;
  killSwitch: boolean;
  roomLanes: RoomLanes;
  changes: Changes;
  roster: Pick<Roster, 'replicas'>;
  /** Whether the shared state is known here. */
  follows(): boolean;
  clock: Clock;
  logger: Logger;
}

const pursueMs = 1_000;
const sayEveryMs = 10_000;
/** ms for which a replica must be missing in the roster; a live one renews it every 3 s. */
const goneMs = 5_000;

/** Whether an operator's state stands against the flags of a replica. */
export function isOverruled(
  { operated, percent, mirror }: Pick<CutoverState, 'operated' | 'percent' | 'mirror'>,
  wish: Wish,
): boolean {
  return operated && (percent !== wish.percent || mirror !== wish.mirror);
}

export class OwnFlags {
  readonly #parts: OwnFlagsParts;
  readonly #saysFailed: LogThrottle;
  #stop = () => {};
  /** The flags' wish is told once; from then on the state says what holds. */
  #isOpen = true;
  #pursuing = false;
  #heldFor = '';
  readonly #missingSince = new Map<string, number>();

  constructor(parts: OwnFlagsParts) {
    this.#parts = parts;
    this.#saysFailed = new LogThrottle(parts.clock, sayEveryMs);
  }

  /** Begins to pursue them. */
  start(): void {
    this.#stop = this.#parts.clock.every(pursueMs, () => this.pursue());
    this.#parts.clock.after(0, () => this.pursue());
  }

  /** Why what this replica wants does not happen, as the guard or somebody holds it; empty: it does, or nothing is wanted. */
  get heldFor(): string {
    return this.#heldFor;
  }

  /** Somebody has said what holds: the flags do not count any more. */
  drop(): void {
    this.#isOpen = false;
  }

  close(): void {
    this.#stop();
  }

  /** One thing after the other; what does not succeed is tried again. */
  async pursue(): Promise<void> {
    if (!this.#parts.follows() || this.#pursuing || this.#parts.roomLanes.standalone) return;
    this.#pursuing = true;
    try {
      await this.#pursueKillSwitches();
      await this.#pursueFlags();
      // What was held is done, or nobody wants it any more: another replica has done it, or an operator has spoken.
      this.#letGo();
    } catch (error) {
      if (hasCode(error, 'CUTOVER_GUARD', 'CUTOVER_HELD')) this.#hold(error);
      else if (this.#saysFailed.isDue())
        this.#parts.logger.warn({ reason: (error as Error).message }, 'the cutover could not be changed yet');
    } finally {
      this.#pursuing = false;
    }
  }

  async #pursueKillSwitches(): Promise<void> {
    const { roomLanes, changes, killSwitch, instance, roster } = this.#parts;
    const { killed } = roomLanes.state;
    if (killSwitch && !killed.includes(instance)) {
      const add = (from: CutoverState) =>
        from.killed.includes(instance) ? undefined : { killed: [...from.killed, instance] };
      await changes.make(add, { who: instance, what: 'kill switch on' });
    }
    if (killed.length === 0) return;
    const live = (await roster.replicas()).map((replica) => replica.instance);
    const gone = killed.filter((each) => (each === instance ? !killSwitch : this.#isGone(each, live.includes(each))));
    if (gone.length === 0) return;
    const remove = (from: CutoverState) => {
      const left = from.killed.filter((each) => !gone.includes(each));
      return left.length < from.killed.length ? { killed: left } : undefined;
    };
    await changes.guarded(remove, { who: instance, what: `kill switch of ${gone.join(', ')} gone` });
  }

  /** An emptied log has lost the roster, too: a replica is gone when it is missing for a while. */
  #isGone(instance: string, isLive: boolean): boolean {
    const now = this.#parts.clock.monotonic();
    if (isLive) this.#missingSince.delete(instance);
    else if (!this.#missingSince.has(instance)) this.#missingSince.set(instance, now);
    return now - (this.#missingSince.get(instance) ?? now) >= goneMs;
  }

  async #pursueFlags(): Promise<void> {
    const { roomLanes, changes, wish, instance, killSwitch, logger } = this.#parts;
    if (!this.#isOpen || killSwitch || wish === null) return;
    const follow = ({ operated, percent, mirror }: CutoverState) =>
      operated || (percent === wish.percent && mirror === wish.mirror) ? undefined : wish;
    if (follow(roomLanes.state) !== undefined) {
      await changes.guarded(follow, { who: instance, what: 'flags at start' });
    }
    if (isOverruled(roomLanes.state, wish)) {
      const { percent, mirror } = roomLanes.state;
      logger.info({ wish, percent, mirror }, 'the flags are overruled by what an operator has set');
    }
    this.drop();
  }

  #hold({ code, message: reasons }: CrossfadeError): void {
    if (reasons === this.#heldFor) return;
    this.#heldFor = reasons;
    const { percent } = this.#parts.roomLanes;
    this.#parts.logger.warn({ code, percent, reasons }, `the percent is held at ${percent}: ${reasons}`);
  }

  #letGo(): void {
    if (this.#heldFor !== '') this.#parts.logger.info('nothing is held any more');
    this.#heldFor = '';
  }
}
