// Dry runs: in comes what a command would change, out goes what would come of it, and nothing is changed. They ask what the command
// would ask (hold, log, guard, roll call), and what it would not: whether the way back is open. Promise: where one says that
// the command is possible, and nothing has changed since, the command is not refused.

import { isDeepStrictEqual } from 'node:util';
import type { BridgeState } from '../bridge/health.ts';
import { CrossfadeError } from '../errors.ts';
import { bad, type CheckFinding, doubtful, good } from '../findings.ts';
import type { Log } from '../log/log.ts';
import type { RoomLanes } from '../rooms/room-lanes.ts';
import {
  type CutoverState,
  effectivePercent,
  type HubKind,
  isAllByStream,
  movesBetween,
  nextState,
  rolledBack,
} from '../rooms/state.ts';
import type { Traffic } from '../rooms/traffic.ts';
import type { Clock } from '../telemetry/clock.ts';
import { total } from '../telemetry/lane-rates.ts';
import { type ChangeOf, unlessHeld } from './changes.ts';
import { guardFinding, logFinding, wayBack } from './check.ts';
import { type Command, changeBy, commandFor, type Order, over, requireBridge, resetTo, wordsFor } from './command.ts';
import { abandonMs, type Roll } from './coordinator.ts';
import type { Forecast } from './forecast.ts';
import type { Guard } from './guard.ts';
import { lowerMs } from './handover.ts';
import type { HubMoveRules } from './hub-moves.ts';
import type { Wish } from './own-flags.ts';
import { goesByLog } from './rollback.ts';
import type { SharedState } from './shared-state.ts';
import type { Seen, Survey } from './survey.ts';

export interface DryRunsParts {
  wish: Wish | null;
  roomLanes: Pick<RoomLanes, 'state' | 'isFresh' | 'standalone' | 'nativeHubs' | 'nativeUnder' | 'takesHubs'>;
  hubMoves: Pick<HubMoveRules, 'plan' | 'allowed'>;
  shared: Pick<SharedState, 'follows'>;
  guard: Pick<Guard, 'check'>;
  survey: Pick<Survey, 'look' | 'forecast' | 'reach'>;
  traffic: Pick<Traffic, 'closedMs'>;
  callRoll(): Promise<Roll>;
  bridgeStates(): BridgeState[];
  log: Pick<Log, 'reachable'>;
  /** ms; see HandoverParts. */
  timeoutMs: number;
  settleMs(): number;
  clock: Clock;
}

/** What a dry run found. */
export interface DryRun {
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
  /** Hubs that would move, with the connections that would be closed, over how many ms. */
  hubs: { hub: string; to: HubKind; connections: number; overMs: number }[];
  /** ms that calls of the moving rooms would wait: the longest wait of the last handovers here (null: there was none), and the bound. */
  callsWait: { longestMs: number | null; atMostMs: number };
  /** Of a rollback: what it could keep. */
  kept?: 'in order' | 'at once';
  /** The command, bound to what was seen; null where it would be refused or change nothing. */
  next: string | null;
}

export class DryRuns {
  readonly #parts: DryRunsParts;

  constructor(parts: DryRunsParts) {
    this.#parts = parts;
  }

  /** What {@link Operator.set} would do. Errors: CUTOVER_INVALID, CUTOVER_CONFLICT. */
  async set(command: Command, order: Order): Promise<DryRun> {
    const { roomLanes, hubMoves } = this.#parts;
    requireBridge(roomLanes);
    const hubsOf = command.hubs && (await hubMoves.plan(command.hubs));
    return this.#guarded(changeBy(command, hubsOf), wordsFor(command), commandFor(command), order);
  }

  /** What {@link Operator.reset} would do. Errors: CUTOVER_INVALID, CUTOVER_CONFLICT. */
  reset(order: Order): Promise<DryRun> {
    return this.#guarded(resetTo(this.#parts.wish), 'reset', 'reset', order);
  }

  /** What {@link Rollback.rollBack} would do. Error: CUTOVER_INVALID. */
  async rollback(): Promise<DryRun> {
    const { roomLanes, clock } = this.#parts;
    requireBridge(roomLanes);
    const { state } = roomLanes;
    const to = nextState(state, rolledBack, { who: '', what: '', nowMs: clock.now() });
    const seen = await lookAround(this.#parts, to);
    const byLog = goesByLog(this.#parts);
    const order = byLog
      ? good('order', 'through the log: what stands there is shown before what the bridge says next')
      : doubtful(
          'order',
          'at once, without the log: what may be out of order is counted',
          'bring Redis back, if there is time',
        );
    return {
      ...outcome(this.#parts, 'rollback', to, seen),
      possible: true,
      changes: true,
      findings: [order, ...seen.wayBack],
      kept: byLog ? 'in order' : 'at once',
      next: 'crossfade cutover rollback',
    };
  }

  /** @param words as they would be typed behind `crossfade cutover` */
  async #guarded(change: ChangeOf, what: string, words: string, { force = false, ifEpoch }: Order): Promise<DryRun> {
    const { roomLanes, guard, hubMoves } = this.#parts;
    requireBridge(roomLanes);
    const { state } = roomLanes;
    const { to, finding } = plan(state, unlessHeld(over(ifEpoch, hubMoves.allowed(change))));
    const { raises } = movesBetween(state, to);
    const takesHubs = roomLanes.takesHubs(state, to);
    const seen = await lookAround(this.#parts, to);
    const findings = [
      finding,
      logFinding(this.#parts),
      ...(raises || takesHubs ? [await guardFinding(guard, force)] : []),
      await rollFinding(this.#parts, takesHubs && !force),
      ...seen.wayBack,
    ];
    const possible = findings.every(({ status }) => status !== 'fail');
    const changes = !isDeepStrictEqual({ ...to, epoch: 0, history: [] }, { ...state, epoch: 0, history: [] });
    const command = `crossfade cutover ${words}${force ? ' --force' : ''} --if-epoch ${state.epoch}`;
    return {
      ...outcome(this.#parts, what, to, seen),
      possible,
      changes,
      findings,
      next: possible && changes ? command : null,
    };
  }
}

/** What the change makes of the state; where somebody holds it, what it would make. */
function plan(state: CutoverState, change: ChangeOf): { to: CutoverState; finding: CheckFinding } {
  const after = (from: CutoverState) => {
    const changed = change(from);
    return changed === undefined ? state : nextState(state, changed, { who: '', what: '', nowMs: 0 });
  };
  try {
    return { to: after(state), finding: good('hold', 'nobody holds it') };
  } catch (error) {
    if (!(error instanceof CrossfadeError)) throw error;
    if (error.code !== 'CUTOVER_HELD' || state.hold === null) throw error;
    return { to: after({ ...state, hold: null }), finding: bad('hold', error.message, 'crossfade cutover release') };
  }
}

/** @param needsAll whether the command is refused where a replica is silent */
async function rollFinding({ callRoll, clock }: DryRunsParts, needsAll: boolean): Promise<CheckFinding> {
  const startedAt = clock.monotonic();
  try {
    const { here, silent } = await callRoll();
    const ms = Math.round(clock.monotonic() - startedAt);
    const names = here.toSorted().join(', ');
    if (silent.length === 0)
      return good('replicas', `${names} ${here.length === 1 ? 'has' : 'have'} answered in ${ms} ms`);
    const missing = silent.join(', ');
    if (needsAll) {
      const why = `${missing} do not answer, and hubs move at all replicas or at none`;
      return bad('replicas', why, `look at ${missing}, or \`--force\` where they are gone`);
    }
    const detail = `${names} would take part; ${missing} do not answer and would be left out`;
    return doubtful('replicas', detail, `look at ${missing}: they keep their calls waiting until they have read`);
  } catch (error) {
    return bad('replicas', `nobody could be asked: ${(error as Error).message}`, 'bring Redis back');
  }
}

interface Surroundings {
  moves: Forecast;
  fences: number;
  hubs: DryRun['hubs'];
  wayBack: CheckFinding[];
}

async function lookAround(parts: DryRunsParts, to: CutoverState): Promise<Surroundings> {
  const { roomLanes, survey, bridgeStates } = parts;
  const [moves, replicas, reach] = await Promise.all([
    survey.forecast({ from: roomLanes.state, to }),
    survey.look(),
    survey.reach(),
  ]);
  return {
    moves,
    fences: total(replicas.map(({ view }) => view?.clients ?? 0)),
    hubs: hubsThatMove(parts, to, replicas),
    wayBack: wayBack(bridgeStates(), reach),
  };
}

function hubsThatMove(
  { roomLanes }: Pick<DryRunsParts, 'roomLanes'>,
  to: CutoverState,
  replicas: Pick<Seen, 'view'>[],
): DryRun['hubs'] {
  const [before, after] = [roomLanes.nativeHubs, roomLanes.nativeUnder(to)];
  const move = (hub: string, kind: HubKind) => ({
    hub,
    to: kind,
    connections: total(replicas.map(({ view }) => view?.hubs[hub]?.[kind === 'native' ? 'proxied' : 'native'] ?? 0)),
    overMs: isAllByStream(to) ? (to.hubs?.overMs ?? 0) : 0,
  });
  return [
    ...after.filter((hub) => !before.includes(hub)).map((hub) => move(hub, 'native')),
    ...before.filter((hub) => !after.includes(hub)).map((hub) => move(hub, 'proxy')),
  ];
}

function outcome(
  { roomLanes, traffic, timeoutMs, settleMs }: DryRunsParts,
  what: string,
  to: CutoverState,
  { moves, fences, hubs }: Surroundings,
): Omit<DryRun, 'possible' | 'changes' | 'findings' | 'next'> {
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
    hubs,
    callsWait: {
      longestMs: !raises && !lowers ? 0 : traffic.closedMs.length === 0 ? null : Math.max(...traffic.closedMs),
      // The door of an announced change opens by itself; behind its commit, rooms that leave the stream lane wait for what is shown.
      atMostMs: timeoutMs + abandonMs + (lowers ? lowerMs(timeoutMs, settleMs()) : 0),
    },
  };
}
