// The log's outage: in come appends that the log could not take here, a reader that hears nothing, and what other replicas tell of
// theirs; out goes, for all rooms of all replicas that can be reached, the way by the bridge, until the log answers steadily again.
//
//     here               an append fails ------> the others are told, what was read is shown -----> all calls go by the bridge
//     each other one     hears of it ----------> tells, shows what was read, answers -------------> its calls do, too
//     each of them       its log answers for a moment, and knows the ids of the outage: "it answers here"
//     one of them        nobody's log fails any more ---> announce, ready, commit: an ordinary handover with its fences
//
// Promises: while a hub is native there is none, as its clients do not hear the bridge; no call goes by the bridge before every replica
// that can be reached has shown, or counted, what it had read; the moment grows with each relapse, so that rooms do not flap between the lanes.

import { z } from 'zod';
import { type FailureReason, failureReasons } from '../errors.ts';
import type { CurrentOutage } from '../lanes/call.ts';
import { type Peers, peerPaths } from '../peers/peers.ts';
import { allRooms } from '../room-set.ts';
import type { Clock } from '../telemetry/clock.ts';
import { LogThrottle } from '../telemetry/log-throttle.ts';
import type { Logger } from '../telemetry/logger.ts';
import { idsSlackMs } from './bounds.ts';
import type { RoomLanes } from './room-lanes.ts';
import type { Traffic } from './traffic.ts';
import type { Unfenced } from './unfenced.ts';

/**
 * How it stands with an outage at one replica. It tells all others once a second while it is in one, and with each change; the answer has the
 * same form. A replica that has just started sends it once, to learn.
 *
 * `at`: ms since 1970 by the sender's clock; news with a smaller `at` than its last is passed over. `fails`: its log fails; else it answers again,
 * and only the others are waited for. `epoch`: of its cutover state.
 */
export const outageNews = z.object({
  instance: z.string(),
  at: z.number(),
  isOn: z.boolean(),
  fails: z.boolean(),
  epoch: z.int(),
  reason: z.enum(failureReasons),
});
export type OutageNews = z.infer<typeof outageNews>;

export interface OutageParts {
  instance: string;
  roomLanes: RoomLanes;
  traffic: Pick<Traffic, 'flush'>;
  unfenced: Pick<Unfenced, 'untilShown'>;
  peers: Pick<Peers, 'ask' | 'others'>;
  /** Whether calls may take the bridge because the log fails. */
  fallback: boolean;
  /**
   * ms beyond those of `RoomLanes.hears` for which a reader that does not hear of the log is waited for, as long as an append at least. It is
   * counted in looks: a process that stood still hears of the log in the next one.
   */
  deafMs: number;
  /** Whether the log answers and is read here, and what stands in it of the cutover is known. */
  logAnswers(): boolean;
  /** Writes the ids that this replica has accepted in the last `withinMs` into the log. */
  rememberRecentIds(withinMs: number): Promise<void>;
  /**
   * The handover that brings the rooms of all replicas back.
   * Errors: CUTOVER_CONFLICT (also where one of `needs` does not take part in time), LOG_*.
   */
  comeBack(needs: string[]): Promise<unknown>;
  /** ms that what was read of a room may take until it is shown. */
  showMs(): number;
  clock: Clock;
  logger: Logger;
}

const lookMs = 100;
const tellAgainMs = 1_000;
/** A replica that does not tell again for so long has ended, or cannot be reached. */
const countsMs = 5_000;
/** ms that telling may hold a call up, beyond what the others wait for. */
const tellMs = 1_000;
/** ms for which the log must answer before the rooms return: at first, at most, and when an outage is a relapse. */
const firstSteadyMs = 250;
const maxSteadyMs = 4_000;
const relapseMs = 10_000;
/** The first replica by its name brings the rooms back; another one, if it has not done so after this. */
const othersTurnMs = 1_000;
const sayEveryMs = 5_000;

/** What another replica has told. `until`: ms, monotonic. */
interface Heard extends Pick<OutageNews, 'at' | 'isOn' | 'fails'> {
  until: number;
}

export class Outage {
  readonly #parts: OutageParts;
  readonly #heard = new Map<string, Heard>();
  readonly #stops: (() => void)[];
  readonly #saysStay: LogThrottle;
  /** What was read here when it began is shown, or counted. */
  #isShown: Promise<void> = Promise.resolve();
  /** ms, monotonic */
  #beganAt = 0;
  #endedAt = Number.NEGATIVE_INFINITY;
  /** Since when the log has answered, ms monotonic; undefined: it does not. */
  #answersSince: number | undefined;
  /** Whether the log knows the ids that the bridge has accepted meanwhile through this replica. */
  #keepsIds = false;
  #steadyMs = firstSteadyMs;
  #isLooking = false;
  /** Whether this replica has heard of the log since it started. */
  #hasHeard = false;
  /** ms, as far as this process was running. */
  #deafForMs = 0;

  constructor(parts: OutageParts) {
    this.#parts = parts;
    this.#saysStay = new LogThrottle(parts.clock, sayEveryMs);
    this.#stops = [
      parts.clock.every(lookMs, () => this.#look()),
      parts.clock.every(tellAgainMs, async () => {
        if (this.isOn) await this.#exchange();
      }),
    ];
  }

  /** Whether the calls of all rooms go by the bridge. */
  get isOn(): boolean {
    return this.#parts.roomLanes.outage !== undefined;
  }

  /** For `GET /cutover`; null: there is none. `since`: ISO 8601. `fails`: the replicas whose log does not answer steadily yet. */
  get status(): { since: string; reason: FailureReason; fails: string[] } | null {
    const { roomLanes, clock, instance } = this.#parts;
    if (roomLanes.outage === undefined) return null;
    const since = new Date(clock.now() - (clock.monotonic() - this.#beganAt)).toISOString();
    const fails = [...(this.#answers ? [] : [instance]), ...this.#othersThatFail()];
    return { since, reason: roomLanes.outage.reason, fails };
  }

  /** The log has failed here. Resolves when calls may go to the bridge, see {@link CurrentOutage}. */
  begin(reason: FailureReason): Promise<void> {
    this.#relapse();
    return this.#enter(reason).ready;
  }

  /** Asks the others, who may be in an outage of which a replica that has just started has not been told. */
  async ask(): Promise<void> {
    await this.#exchange();
  }

  /** Another replica tells, or asks. Resolves when the bridge overtakes nothing here that is not counted. @returns how it stands here */
  async hear(news: OutageNews): Promise<OutageNews> {
    this.#take(news);
    await this.#isShown;
    return this.#news;
  }

  /** All rooms were taken back by a handover, or none is on the stream lane any more. */
  end(): void {
    const { roomLanes, clock, logger } = this.#parts;
    if (roomLanes.outage === undefined) return;
    roomLanes.outage = undefined;
    this.#endedAt = clock.monotonic();
    logger.info('all rooms are back from the bridge');
  }

  close(): void {
    for (const stop of this.#stops) stop();
  }

  #enter(reason: FailureReason): CurrentOutage {
    const { roomLanes, traffic, unfenced, showMs, clock, logger } = this.#parts;
    if (roomLanes.outage !== undefined) return roomLanes.outage;
    this.#beganAt = clock.monotonic();
    this.#answersSince = undefined;
    this.#keepsIds = false;
    const isRelapse = this.#beganAt - this.#endedAt < relapseMs;
    this.#steadyMs = isRelapse ? Math.min(2 * this.#steadyMs, maxSteadyMs) : firstSteadyMs;
    this.#isShown = unfenced.untilShown(allRooms, showMs());
    const { promise: ready, resolve } = Promise.withResolvers<void>();
    roomLanes.outage = { reason, ready };
    logger.warn({ reason }, 'all rooms go to the bridge');
    Promise.all([this.#exchange(), this.#isShown]).then(() => resolve());
    // What they hold goes by the bridge too, and typing is dropped: its sender's message may be there already.
    traffic.flush(allRooms);
    return roomLanes.outage;
  }

  get #news(): OutageNews {
    const { roomLanes, clock, instance } = this.#parts;
    const { epoch } = roomLanes.state;
    const reason = roomLanes.outage?.reason ?? 'connection_lost';
    return { instance, at: clock.now(), isOn: this.isOn, fails: this.isOn && !this.#answers, epoch, reason };
  }

  /** Tells the others, and takes what they answer. Never rejects. */
  async #exchange(): Promise<void> {
    const { peers, showMs } = this.#parts;
    const { answers } = await peers.ask(peerPaths.outage, this.#news, showMs() + tellMs);
    for (const answer of answers) {
      const { data } = outageNews.safeParse(answer);
      if (data !== undefined) this.#take(data);
    }
  }

  #take({ instance, at, isOn, fails, epoch, reason }: OutageNews): void {
    const { roomLanes, clock } = this.#parts;
    if (at <= (this.#heard.get(instance)?.at ?? Number.NEGATIVE_INFINITY)) return;
    this.#heard.set(instance, { at, isOn, fails, until: clock.monotonic() + countsMs });
    // One whose log answers, but whose state is older, has not read yet that the outage is over.
    const lasts = isOn && (fails || epoch >= roomLanes.state.epoch);
    // Who knows that hubs are native sends nothing to the bridge; who does not know it yet will be told by the log.
    if (lasts && roomLanes.usesStream && !roomLanes.hasNativeHubs) this.#enter(reason);
  }

  /** Whether the log answers steadily, and nothing of the outage has to be written into it any more. */
  get #answers(): boolean {
    return this.#keepsIds && this.#isSteadyFor(this.#steadyMs);
  }

  #isSteadyFor(ms: number): boolean {
    return this.#answersSince !== undefined && this.#parts.clock.monotonic() - this.#answersSince >= ms;
  }

  #othersThatFail(): string[] {
    return [...this.#heard].flatMap(([instance, { fails }]) => (fails ? [instance] : []));
  }

  #othersInIt(): string[] {
    return [...this.#heard].flatMap(([instance, { isOn }]) => (isOn ? [instance] : []));
  }

  async #look(): Promise<void> {
    if (this.#isLooking) return;
    this.#isLooking = true;
    try {
      this.#forgetSilent();
      if (this.isOn) await this.#lookWhetherOver();
      else this.#lookWhetherDeaf();
    } catch (error) {
      this.#stay(error);
    } finally {
      this.#isLooking = false;
    }
  }

  #forgetSilent(): void {
    const now = this.#parts.clock.monotonic();
    for (const [instance, { until }] of this.#heard) if (until <= now) this.#heard.delete(instance);
  }

  /** Its clients would miss what others append, and its own calls are not needed to find that out. */
  #lookWhetherDeaf(): void {
    const { roomLanes, fallback, deafMs } = this.#parts;
    if (roomLanes.hears) this.#hasHeard = true;
    const isDeaf = this.#hasHeard && !roomLanes.hears && roomLanes.usesStream && !roomLanes.hasNativeHubs;
    this.#deafForMs = fallback && isDeaf ? this.#deafForMs + lookMs : 0;
    if (this.#deafForMs >= deafMs) void this.begin('connection_lost');
  }

  async #lookWhetherOver(): Promise<void> {
    const { roomLanes, logAnswers, clock, rememberRecentIds, comeBack, peers, instance } = this.#parts;
    if (!roomLanes.usesStream) return this.end();
    if (!logAnswers()) return this.#relapse();
    this.#answersSince ??= clock.monotonic();
    if (!this.#isSteadyFor(this.#steadyMs)) return;
    if (!this.#keepsIds) {
      const since = this.#answersSince;
      await rememberRecentIds(clock.monotonic() - this.#beganAt + idsSlackMs);
      // A call has failed meanwhile: all of it once more.
      if (since !== this.#answersSince) return;
      this.#keepsIds = true;
      await this.#exchange();
    }
    const isFirst = peers.others.every((other) => instance < other);
    if (!this.#answers || this.#othersThatFail().length > 0) return;
    if (isFirst || this.#isSteadyFor(this.#steadyMs + othersTurnMs)) await comeBack(this.#othersInIt());
  }

  /** The log fails once more. The others, who may have been told that it answers, know before the next call goes to the bridge. */
  #relapse(): void {
    const { roomLanes } = this.#parts;
    const hasTold = this.#keepsIds;
    this.#answersSince = undefined;
    this.#keepsIds = false;
    if (hasTold && roomLanes.outage !== undefined) roomLanes.outage = { ...roomLanes.outage, ready: this.#exchange() };
  }

  /** The log does not take the ids, or the handover has failed. */
  #stay(error: unknown): void {
    this.#answersSince = undefined;
    this.#keepsIds = false;
    this.#steadyMs = Math.min(2 * this.#steadyMs, maxSteadyMs);
    const reason = (error as Error).message;
    if (this.#saysStay.isDue()) this.#parts.logger.warn({ reason }, 'the rooms stay with the bridge');
  }
}
