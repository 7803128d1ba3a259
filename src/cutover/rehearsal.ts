// A dry run: in comes what a command would change, out goes what would come of it, and nothing is changed. It asks what the command
// would ask (hold, log, guard, roll call), and what it would not: whether the way back is open. Promise: where it says that
// the command is possible, and nothing has changed since, the command is not refused.

import { isDeepStrictEqual } from 'node:util';
import type { BridgeState } from '../bridge/health.ts';
import { CrossfadeError } from '../errors.ts';
import { bad, type CheckFinding, doubtful, good } from '../findings.ts';
import type { Log } from '../log/log.ts';
import { answerMs } from '../rooms/bounds.ts';
import type { RoomLanes } from '../rooms/room-lanes.ts';
import { type CutoverState, effectivePercent, movesBetween, nextState, rolledBack } from '../rooms/state.ts';
import type { Traffic } from '../rooms/traffic.ts';
import type { Clock } from '../telemetry/clock.ts';
import { total } from '../telemetry/lane-rates.ts';
import type { ChangeOf } from './changes.ts';
import { abandonMs, type Roll } from './coordinator.ts';
import type { Forecast } from './forecast.ts';
import type { Guard } from './guard.ts';
import type { SharedState } from './shared-state.ts';
import type { Survey } from './survey.ts';

export interface RehearsalParts {
  roomLanes: Pick<RoomLanes, 'state' | 'isFresh'>;
  shared: Pick<SharedState, 'follows'>;
  guard: Pick<Guard, 'check'>;
  survey: Pick<Survey, 'look' | 'forecast' | 'reach'>;
  traffic: Pick<Traffic, 'closedMs'>;
  callRoll(): Promise<Roll>;
  bridgeStates(): BridgeState[];
  log: Pick<Log, 'reachable'>;
  /** ms that a room may wait. */
  timeoutMs: number;
  clock: Clock;
}

export interface Rehearsal {
  dryRun: true;
  /** In the words of the history. */
  what: string;
  /** Over which it would be made. */
  epoch: number;
  /** Percent in force before and after. */
  from: number;
  to: number;
  /** Whether the command would be carried out; with `changes` false it would find that everything is so already. */
  possible: boolean;
  changes: boolean;
  findings: CheckFinding[];
  moves: Forecast;
  /** Hub connections that would be fenced. */
  fences: number;
  /** ms that calls of the moving rooms would wait: the longest wait of the last handovers here (null: there was none), and the bound. */
  hold: { longestMs: number | null; atMostMs: number };
  /** Of a rollback: what it could keep. */
  kept?: 'in order' | 'at once';
  /** The command, bound to what was seen; null where it would be refused or change nothing. */
  next: string | null;
}

export interface Rehearsed {
  change: ChangeOf;
  what: string;
  /** As it would be typed behind `crossfade cutover`. */
  words: string;
  /** Past the guard. */
  force: boolean;
}

export async function rehearse(parts: RehearsalParts, { change, what, words, force }: Rehearsed): Promise<Rehearsal> {
  const { state } = parts.roomLanes;
  const planned = plan(state, change);
  const { to } = planned;
  const { raises } = movesBetween(state, to);
  const seen = await lookAround(parts, to);
  const findings = [
    planned.finding,
    logFinding(parts),
    ...(raises ? [await guardFinding(parts, force)] : []),
    await rollFinding(parts),
    ...seen.wayBack,
  ];
  const possible = findings.every(({ status }) => status !== 'fail');
  const changes = !isDeepStrictEqual({ ...to, epoch: 0, history: [] }, { ...state, epoch: 0, history: [] });
  const command = `crossfade cutover ${words}${force ? ' --force' : ''} --if-epoch ${state.epoch}`;
  return {
    ...outcome(parts, what, to, seen),
    possible,
    changes,
    findings,
    next: possible && changes ? command : null,
  };
}

export async function rehearseRollback(parts: RehearsalParts): Promise<Rehearsal> {
  const { roomLanes, log, shared } = parts;
  const { state } = roomLanes;
  const to = nextState(state, rolledBack, { who: '', what: '', nowMs: parts.clock.now() });
  const seen = await lookAround(parts, to);
  const byLog = log.reachable && roomLanes.isFresh && shared.follows;
  const order = byLog
    ? good('order', 'through the log: what stands there is shown before what the bridge says next')
    : doubtful(
        'order',
        'at once, without the log: what may be out of order is counted',
        'bring Redis back, if there is time',
      );
  return {
    ...outcome(parts, 'rollback', to, seen),
    possible: true,
    changes: true,
    findings: [order, ...seen.wayBack],
    kept: byLog ? 'in order' : 'at once',
    next: 'crossfade cutover rollback',
  };
}

/** What the change makes of the state; where somebody holds it, what it would make. */
function plan(state: CutoverState, change: ChangeOf): { to: CutoverState; finding: CheckFinding } {
  const by = { who: '', what: '', nowMs: 0 };
  try {
    const changed = change(state);
    return {
      to: changed === undefined ? state : nextState(state, changed, by),
      finding: good('hold', 'nobody holds it'),
    };
  } catch (error) {
    if (!(error instanceof CrossfadeError)) throw error;
    if (error.code !== 'CUTOVER_HELD' || state.hold === null) throw error;
    const changed = change({ ...state, hold: null });
    const to = changed === undefined ? state : nextState(state, changed, by);
    return { to, finding: bad('hold', error.message, 'crossfade cutover release') };
  }
}

function logFinding({ shared, log }: RehearsalParts): CheckFinding {
  if (shared.follows && log.reachable) return good('log', 'reachable, and its state is known here');
  return bad(
    'log',
    'it does not answer, or its state is not known here yet',
    'bring Redis back; a rollback needs none',
  );
}

export async function guardFinding({ guard }: Pick<RehearsalParts, 'guard'>, force: boolean): Promise<CheckFinding> {
  const { ok: isOk, reasons } = await guard.check().catch((error: Error) => ({ ok: false, reasons: [error.message] }));
  if (isOk) return good('guard', '3 readings over 3 s: no client is left out');
  if (force) return doubtful('guard', `--force goes past it: ${reasons.join('; ')}`, 'remove what it names');
  return bad('guard', reasons.join('; '), 'remove what it names, or `--force` where it is harmless');
}

async function rollFinding({ callRoll, clock }: RehearsalParts): Promise<CheckFinding> {
  const startedAt = clock.monotonic();
  try {
    const { here, silent } = await callRoll();
    const ms = Math.round(clock.monotonic() - startedAt);
    const names = here.toSorted().join(', ');
    if (silent.length === 0)
      return good('replicas', `${names} ${here.length === 1 ? 'has' : 'have'} answered in ${ms} ms`);
    const detail = `${names} would take part; ${silent.join(', ')} do not answer and would be left out`;
    return doubtful(
      'replicas',
      detail,
      `look at ${silent.join(', ')}: they keep their calls waiting until they have read`,
    );
  } catch (error) {
    return bad('replicas', `nobody could be asked: ${(error as Error).message}`, 'bring Redis back');
  }
}

interface Surroundings {
  moves: Forecast;
  fences: number;
  wayBack: CheckFinding[];
}

async function lookAround(parts: RehearsalParts, to: CutoverState): Promise<Surroundings> {
  const { roomLanes, survey, bridgeStates } = parts;
  const [moves, replicas, reach] = await Promise.all([
    survey.forecast({ from: roomLanes.state, to }),
    survey.look(),
    survey.reach(),
  ]);
  return {
    moves,
    fences: total(replicas.map(({ view }) => view?.clients ?? 0)),
    wayBack: wayBack(bridgeStates(), reach),
  };
}

/** A room that cannot go back should not come: the bridge answers, and a rollback without the log would reach every replica. */
export function wayBack(bridges: BridgeState[], reach: Map<string, string[] | undefined>): CheckFinding[] {
  const down = bridges.filter(({ reachable }) => !reachable);
  const cut = [...reach].flatMap(([from, missed]) =>
    missed === undefined ? [`${from} does not answer`] : missed.map((each) => `${from} does not reach ${each}`),
  );
  const names = [...reach.keys()].join(', ');
  return [
    down.length === 0
      ? good('way back', `the bridge answers (${bridges.map(({ bridge }) => bridge).join(', ')})`)
      : bad(
          'way back',
          down.map(({ bridge, detail }) => `${bridge}: ${detail}`).join('; '),
          'bring the bridge back first',
        ),
    cut.length > 0
      ? doubtful('way back', `without the log: ${cut.join('; ')}`, 'let their admin ports reach each other (--admin)')
      : good('way back', reach.size === 1 ? 'there is no other replica' : `without the log: ${names} reach each other`),
  ];
}

function outcome(
  { roomLanes, traffic, timeoutMs }: RehearsalParts,
  what: string,
  to: CutoverState,
  { moves, fences }: Surroundings,
): Omit<Rehearsal, 'possible' | 'changes' | 'findings' | 'next'> {
  const { state } = roomLanes;
  const { raises, lowers } = movesBetween(state, to);
  return {
    dryRun: true,
    what,
    epoch: state.epoch,
    from: effectivePercent(state),
    to: effectivePercent(to),
    moves,
    fences: raises ? fences : 0,
    hold: {
      longestMs: !raises && !lowers ? 0 : traffic.closedMs.length === 0 ? null : Math.max(...traffic.closedMs),
      // The door of an announced change opens by itself; behind its commit, rooms that leave the stream lane wait for what is shown.
      atMostMs: timeoutMs + abandonMs + (lowers ? answerMs + timeoutMs : 0),
    },
  };
}
