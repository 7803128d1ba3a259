// Runs a plan: in come a plan and a person's pause, resume and stop, out go the same calls to the operator (set, rollback) that a
// person would make, so that the guard, a hold and the kill switches count for it as for anybody. Promises: of all replicas one leads, by a
// lock in the log, where the run stands too: if it dies another one goes on within seconds; the verdict that a guard is broken rolls
// back at once, whoever holds, and whether the log answers or not; whatever a person moves ends the run.

import { requireBridge } from '../cutover/command.ts';
import type { Operator } from '../cutover/operator.ts';
import type { Rollback } from '../cutover/rollback.ts';
import type { Seen, Survey } from '../cutover/survey.ts';
import { CrossfadeError, hasCode } from '../errors.ts';
import { keepNewest } from '../keep-newest.ts';
import type { Log } from '../log/log.ts';
import type { Outage } from '../rooms/outage.ts';
import type { RoomLanes } from '../rooms/room-lanes.ts';
import { type Clock, pause } from '../telemetry/clock.ts';
import { LogThrottle } from '../telemetry/log-throttle.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Plan } from './plan.ts';
import {
  actorOf,
  arrived,
  endedRun,
  isOpen,
  looked,
  newRun,
  newsOf,
  nextPercent,
  type PlanRun,
  paused,
  readRun,
  resumed,
  sampled,
  standsAt,
} from './run.ts';
import { judgeSample } from './sample.ts';

export interface PlansParts {
  instance: string;
  log: Pick<Log, 'shared' | 'swap'>;
  roomLanes: Pick<RoomLanes, 'state' | 'standalone'>;
  operator: Pick<Operator, 'set' | 'note'>;
  rollback: Pick<Rollback, 'rollBack'>;
  survey: Pick<Survey, 'look'>;
  outage: Pick<Outage, 'status'>;
  clock: Clock;
  logger: Logger;
}

/** The run as it stood in the log, and as it is known here: that is newer where the log could not take it yet. */
interface KnownRun {
  stored: string | undefined;
  run: PlanRun | undefined;
}

const runKey = 'plan';
const leaderKey = 'plan-leader';
const tickMs = 1_000;
/** A run that is over can be looked at for so long. */
const keptMs = 90 * 24 * 3_600_000;
/** Of the lock: longer than a raise takes with the guard's readings, so that it mostly changes hands with a death alone. */
const leaderMs = 6_000;
/** ms that the log is waited for; a rollback must not wait for one that hangs. */
const logMs = 500;
/** For so long the log must have answered before the lead is taken over: who had it writes first what it did without the log. */
const settledMs = 2_000;
const sayEveryMs = 10_000;
const tries = 5;
/** Runs as texts, some kB each; the oldest is forgotten first. */
const keptUnanswered = 20;

export class Plans {
  readonly #parts: PlansParts;
  readonly #saysFailed: LogThrottle;
  readonly #stop: () => void;
  #known: KnownRun = { stored: undefined, run: undefined };
  /** What was sent over `stored` and has no answer: the log may take any of it late, when the run is further here. */
  readonly #unanswered = new Set<string>();
  #isLeader = false;
  /** Since when the log has answered, ms monotonic; undefined: it does not. */
  #answersSince: number | undefined;
  #isBusy = false;
  /** What rolls the run back, whatever its samples say; empty: nothing. */
  #alert = '';

  constructor(parts: PlansParts) {
    this.#parts = parts;
    this.#saysFailed = new LogThrottle(parts.clock, sayEveryMs);
    this.#stop = parts.clock.every(tickMs, () => this.tick());
  }

  /** The one that runs, or the last one; undefined: there is none. */
  get run(): PlanRun | undefined {
    return this.#known.run;
  }

  /** Begins a run; some replica takes its first step within seconds. Errors: CUTOVER_INVALID, CUTOVER_CONFLICT, LOG_UNAVAILABLE. */
  async start(plan: Plan, who: string): Promise<void> {
    const { roomLanes, clock } = this.#parts;
    requireBridge(roomLanes);
    await this.#change('started', { who }, (before) => {
      if (isOpen(before))
        throw new CrossfadeError(
          'CUTOVER_CONFLICT',
          `${before.by} runs the plan '${before.plan.name}': \`crossfade cutover stop\` ends it`,
        );
      const { percent } = roomLanes.state;
      const first = plan.steps[0]!.percent;
      if (first < percent)
        throw new CrossfadeError(
          'CUTOVER_INVALID',
          `${percent}% is set already: the first step, ${first}%, would lower it`,
        );
      return newRun(plan, who, roomLanes.state, clock.now());
    });
  }

  /** It stands where it is, and its guards look no more. Errors: CUTOVER_CONFLICT, LOG_UNAVAILABLE. */
  async pause(who: string, why?: string): Promise<void> {
    await this.#change('paused', { who, why }, (before) => {
      const run = openRun(before);
      if (run.state === 'paused') throw new CrossfadeError('CUTOVER_CONFLICT', `it is paused already: ${run.why}`);
      return paused(run, `paused by ${who}${why === undefined ? '' : `: ${why}`}`);
    });
  }

  /** It goes on where it stood. Errors: CUTOVER_CONFLICT, LOG_UNAVAILABLE. */
  async resume(who: string, why?: string): Promise<void> {
    await this.#change('resumed', { who, why }, (before) => {
      const run = openRun(before);
      if (run.state === 'running') throw new CrossfadeError('CUTOVER_CONFLICT', 'it runs already');
      return resumed(run, this.#parts.clock.now());
    });
  }

  /** Ends it; the percent stands. Errors: CUTOVER_CONFLICT, LOG_UNAVAILABLE. */
  async stop(who: string, why?: string): Promise<void> {
    const words = `stopped by ${who}${why === undefined ? '' : `: ${why}`}`;
    await this.#change('stopped', { who, why }, (before) =>
      endedRun(openRun(before), 'ended', words, this.#parts.clock.now()),
    );
  }

  /** Clients of the bridge have missed the stream lane for 30 s. */
  onSurplus(surplus: number): void {
    this.#alert = `${surplus} clients of the bridge have missed the stream lane for 30 s`;
  }

  close(): void {
    this.#stop();
  }

  /** Looks what there is to be done; a second later again. Never rejects. */
  async tick(): Promise<void> {
    if (this.#isBusy) return;
    this.#isBusy = true;
    // Who does not lead now must not roll back for it when it does.
    const alert = this.#alert;
    this.#alert = '';
    try {
      await this.#look();
      // Taken before the lock is asked for: a stop that comes meanwhile is then newer, and what is written here is refused.
      const known = this.#known;
      if (!isOpen(known.run)) this.#isLeader = false;
      else if (await this.#lead()) await this.#goOn(known, known.run, alert);
    } catch (error) {
      this.#sayFailed(error);
    } finally {
      this.#isBusy = false;
    }
  }

  async #look(): Promise<void> {
    try {
      await this.#refresh();
      this.#answersSince ??= this.#parts.clock.monotonic();
    } catch (error) {
      this.#answersSince = undefined;
      this.#sayFailed(error);
    }
  }

  async #goOn(known: KnownRun, run: PlanRun, alert: string): Promise<void> {
    const { roomLanes, survey, clock } = this.#parts;
    const { state } = roomLanes;
    // A replica that has not read what the one before has done.
    if (state.epoch < run.epoch) return;
    const news = newsOf(run, state);
    if (news?.kind === 'end') return this.#endFor(known, run, news.change);
    if (run.state === 'paused') return;
    if (news?.kind === 'moved') return this.#save(known, arrived(run, state, clock.now()));
    if (alert !== '' && run.steps.length > 0) return this.#rollBack(known, run, alert);
    const sinceMs = clock.now() - Date.parse(run.sampledAt);
    // Below 0: by the clock of a replica that was ahead.
    if (sinceMs >= 0 && sinceMs < run.plan.samples.every - tickMs / 2) return;
    const seen = await survey.look();
    // What was held, pinned or mirrored until now does not concern it.
    await this.#step(known, { ...looked(run, seen), epoch: state.epoch }, seen);
  }

  /** Judges where it stands, and goes on where that is good. */
  async #step(known: KnownRun, run: PlanRun, seen: Seen[]): Promise<void> {
    const { outage, clock } = this.#parts;
    const step = standsAt(run);
    if (step === undefined) return this.#move(known, run);
    const sample = judgeSample(run.plan, { ...run, seen, outage: outage.status, unfenced: step.unfenced });
    const next = sampled(run, sample, clock.now());
    const { verdict } = standsAt(next)!;
    if (verdict === 'broken') return this.#rollBack(known, next, next.why);
    if (verdict === null) return this.#save(known, next);
    if (nextPercent(next) !== undefined) return this.#move(known, next);
    await this.#save(known, endedRun(next, 'done', '', clock.now()));
  }

  async #move(known: KnownRun, run: PlanRun): Promise<void> {
    const { roomLanes, operator, clock } = this.#parts;
    const { hold } = roomLanes.state;
    const sampledAt = new Date(clock.now()).toISOString();
    const wait = (why: string) => this.#save(known, { ...run, sampledAt, why });
    if (hold !== null) return wait(`${hold.who} holds it: ${hold.why}`);
    const why = `step ${run.steps.length + 1} of ${run.plan.steps.length}, started by ${run.by}`;
    try {
      await operator.set({ percent: nextPercent(run)! }, { who: actorOf(run), why, ifEpoch: run.epoch });
    } catch (error) {
      if (!(error instanceof CrossfadeError)) throw error;
      return wait(error.message);
    }
    await this.#save(known, arrived(run, roomLanes.state, clock.now()));
  }

  async #rollBack(known: KnownRun, run: PlanRun, why: string): Promise<void> {
    const { rollback, log, clock, logger } = this.#parts;
    // A replica that stood still, or was cut off, may act for a run that others have ended meanwhile.
    const stored = await this.#inTime(log.shared(runKey)).catch(() => known.stored);
    if (stored !== known.stored && !this.#hasSent(stored)) return;
    logger.warn({ plan: run.plan.name, step: run.steps.length, why }, 'the plan rolls back');
    const { kept, notReached } = await rollback.rollBack({ who: actorOf(run), why });
    logger.info({ plan: run.plan.name, kept, notReached }, 'the plan has rolled back');
    const missing = notReached.length === 0 ? '' : `; not reached: ${notReached.join(', ')}`;
    await this.#save(known, endedRun(run, 'rolled back', `${why} (rolled back ${kept}${missing})`, clock.now()));
  }

  /** Somebody has moved the rooms; or the run has itself, and did not live to write it down. */
  async #endFor(
    known: KnownRun,
    run: PlanRun,
    { who, what, why }: { who: string; what: string; why?: string | undefined },
  ) {
    const now = this.#parts.clock.now();
    const isOwn = who === actorOf(run) && what.startsWith('rollback');
    if (isOwn) return this.#save(known, endedRun(run, 'rolled back', why ?? what, now));
    await this.#save(known, endedRun(run, 'ended', `${who}: ${what}${why === undefined ? '' : ` (${why})`}`, now));
  }

  /**
   * What the log cannot take now is kept here, and written when it can. A log that hangs is sent nothing more: it would take all of it late.
   * What follows a run that somebody has changed meanwhile is dropped: the log would refuse it, and until the next look this replica would
   * show it in place of that change.
   */
  async #save({ stored }: KnownRun, run: PlanRun): Promise<void> {
    if (stored !== this.#known.stored) return;
    this.#known = { stored, run };
    if (this.#answersSince !== undefined) await this.#writeOwn(this.#known).catch((error) => this.#sayFailed(error));
  }

  /** What a person has changed is not among these: where the log takes that late, it holds. Error: LOG_UNAVAILABLE. */
  async #writeOwn(known: KnownRun): Promise<void> {
    const text = JSON.stringify(known.run);
    this.#unanswered.add(text);
    keepNewest(this.#unanswered, keptUnanswered);
    if (!(await this.#write(known))) this.#unanswered.delete(text);
  }

  /** @returns whether `stored` is what stood in the log. Error: LOG_UNAVAILABLE */
  async #write({ stored, run }: KnownRun): Promise<boolean> {
    const text = JSON.stringify(run);
    const isWritten = await this.#inTime(this.#parts.log.swap(runKey, stored, text, keptMs));
    if (isWritten) this.#standsInLog(text, run);
    return isWritten;
  }

  /** Takes what stands in the log, unless what is known here follows it, or the log has lost it. Error: LOG_UNAVAILABLE. */
  async #refresh(): Promise<void> {
    const text = await this.#inTime(this.#parts.log.shared(runKey));
    const { stored, run } = this.#known;
    const isOlder = text === undefined || text === stored || this.#hasSent(text);
    if (run !== undefined && text === JSON.stringify(run)) this.#standsInLog(text, run);
    else if (run !== undefined && isOlder) await this.#writeOwn({ stored: text, run });
    else this.#standsInLog(text, text === undefined ? undefined : readRun(text));
  }

  #hasSent(text: string | undefined): boolean {
    return text !== undefined && this.#unanswered.has(text);
  }

  #standsInLog(stored: string | undefined, run: PlanRun | undefined): void {
    this.#known = { stored, run };
    this.#unanswered.clear();
  }

  /** Errors: LOG_UNAVAILABLE, CUTOVER_CONFLICT, and what `change` throws. */
  async #change(
    what: string,
    by: { who: string; why?: string | undefined },
    change: (run: PlanRun | undefined) => PlanRun,
  ): Promise<void> {
    for (let attempt = 1; attempt <= tries; attempt++) {
      await this.#refresh();
      const { stored, run } = this.#known;
      const next = change(run);
      if (!(await this.#write({ stored, run: next }))) continue;
      const { who, why } = by;
      // In the history it is newer than a raise of the plan that is under way, which is refused then.
      if (next.state !== 'running') await this.#parts.operator.note(`plan ${next.plan.name} ${what}`, { who, why });
      this.#parts.logger.info(
        { plan: next.plan.name, by: who, ...(why !== undefined && { why }) },
        `a plan was ${what}`,
      );
      return;
    }
    throw new CrossfadeError('CUTOVER_CONFLICT', 'others change the plan at this moment');
  }

  /** Who led when the log went away still does: nobody else can, and all that can be done without it is a rollback. */
  async #lead(): Promise<boolean> {
    const { log, instance, clock } = this.#parts;
    const isSettled = clock.monotonic() - (this.#answersSince ?? Number.POSITIVE_INFINITY) >= settledMs;
    const take = (from: string | undefined) => this.#inTime(log.swap(leaderKey, from, instance, leaderMs));
    try {
      this.#isLeader = (await take(instance)) || (isSettled && (await take(undefined)));
    } catch (error) {
      if (!hasCode(error, 'LOG_UNAVAILABLE')) throw error;
    }
    return this.#isLeader;
  }

  async #inTime<Answer>(asking: Promise<Answer>): Promise<Answer> {
    const late = pause(this.#parts.clock, logMs).then(() => {
      throw new CrossfadeError('LOG_UNAVAILABLE', 'the log does not answer');
    });
    // Whichever is second is nobody's.
    for (const each of [asking, late]) each.catch(() => {});
    return Promise.race([asking, late]);
  }

  #sayFailed(error: unknown): void {
    if (isOpen(this.#known.run) && this.#saysFailed.isDue())
      this.#parts.logger.warn({ reason: (error as Error).message }, 'the plan could not be looked after');
  }
}

/** Error: CUTOVER_CONFLICT. */
function openRun(run: PlanRun | undefined): PlanRun {
  if (isOpen(run)) return run;
  throw new CrossfadeError('CUTOVER_CONFLICT', 'no plan is running');
}
