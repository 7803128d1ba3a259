// The end of the migration: whether the bridge can be left for good, and what becomes irreversible with it. In comes what is known of all
// replicas, out go a finding each, and the change of the state. Promises: nothing is completed while a client, a room or a caller still
// needs the bridge; what a replica does then it does after a restart, too, whatever its flags say of a bridge.

import type { BridgeState } from '../bridge/health.ts';
import { CrossfadeError } from '../errors.ts';
import { bad, type CheckFinding, doubtful, good } from '../findings.ts';
import type { Log } from '../log/log.ts';
import type { Outage } from '../rooms/outage.ts';
import type { RoomLanes } from '../rooms/room-lanes.ts';
import { type CutoverState, type Difference, isAllByStream } from '../rooms/state.ts';
import type { Clock } from '../telemetry/clock.ts';
import { total } from '../telemetry/lane-rates.ts';
import { differencesAmong } from './alike.ts';
import { held } from './changes.ts';
import { guardFinding, logFinding } from './check.ts';
import { type Order, over, requireBridge } from './command.ts';
import type { Guard } from './guard.ts';
import type { SharedState } from './shared-state.ts';
import type { Seen, Survey } from './survey.ts';

export interface CompletionParts {
  roomLanes: Pick<RoomLanes, 'standalone' | 'state' | 'proxiedUnder'>;
  survey: Pick<Survey, 'look'>;
  outage: Pick<Outage, 'status'>;
  guard: Pick<Guard, 'check'>;
  shared: Pick<SharedState, 'follows'>;
  log: Pick<Log, 'reachable'>;
  bridgeStates(): BridgeState[];
  clock: Clock;
}

/** What a dry run of it found. */
export interface CompletionDryRun {
  dryRun: true;
  what: 'complete';
  /** Over which it would be made. */
  epoch: number;
  possible: boolean;
  findings: CheckFinding[];
  /** What cannot be taken back, a line each. */
  irreversible: string[];
  /** The command, bound to what was seen; null where it would be refused. */
  next: string | null;
}

/** ms for which what only the bridge could answer counts. */
const askedWithinMs = 60 * 60_000;
const shownPaths = 5;
const irreversible = [
  'no room goes back to the bridge: `set`, `pin`, `mirror`, `rollback` and the kill switch are refused, or do nothing',
  'no client goes back to the bridge: `hubs proxy` is refused',
  'no replica connects to the bridge any more, after a restart neither, whatever `--bridge` says',
  'a call that the log cannot take is answered 503: there is no other way for it',
  'what the contract does not know is answered 404; /health, /internal/stats and /internal/users/…/online by crossfade itself',
];

export class Completion {
  readonly #parts: CompletionParts;

  constructor(parts: CompletionParts) {
    this.#parts = parts;
  }

  /** Nothing is changed. Errors: CUTOVER_INVALID, CUTOVER_COMPLETE, CUTOVER_CONFLICT. */
  async dryRun({ force = false, ifEpoch }: Order): Promise<CompletionDryRun> {
    const { roomLanes } = this.#parts;
    requireBridge(roomLanes);
    const { epoch } = roomLanes.state;
    over(ifEpoch, () => undefined)(roomLanes.state);
    const findings = await this.#findings(force);
    const possible = findings.every(({ status }) => status !== 'fail');
    const command = `crossfade cutover complete${force ? ' --force' : ''} --if-epoch ${epoch}`;
    return { dryRun: true, what: 'complete', epoch, possible, findings, irreversible, next: possible ? command : null };
  }

  /** Error: CUTOVER_GUARD, with every reason. */
  async require(force = false): Promise<void> {
    const failed = (await this.#findings(force)).filter(({ status }) => status === 'fail');
    if (failed.length > 0) throw refusal(failed.map(({ name, detail }) => `${name}: ${detail}`).join('; '));
  }

  /** What is different then. Errors: CUTOVER_GUARD, CUTOVER_HELD (somebody was faster). */
  change(from: CutoverState): Difference {
    if (from.hold !== null) throw held(from.hold);
    if (!isAllByStream(from) || this.#parts.roomLanes.proxiedUnder(from).length > 0)
      throw refusal('a room or a hub has gone to the bridge meanwhile');
    return { completed: true, mirror: false, operated: true };
  }

  async #findings(force: boolean): Promise<CheckFinding[]> {
    const { roomLanes, survey, outage, guard, bridgeStates } = this.#parts;
    const seen = await survey.look();
    const someBridge = bridgeStates().some(({ reachable }) => reachable);
    return [
      ...stateFindings(roomLanes.state, roomLanes.proxiedUnder(roomLanes.state)),
      logFinding(this.#parts),
      outage.status === null
        ? good('outage', 'the log takes what it is given')
        : bad('outage', 'all rooms are at the bridge, as the log fails', 'bring Redis back: they return by themselves'),
      ...whetherAllFollow(seen),
      clientsFinding(seen),
      someBridge ? await guardFinding(guard, force) : good('guard', 'no bridge answers: nobody can be connected to it'),
      this.#callersFinding(seen, force),
    ];
  }

  /** Reads that crossfade answers itself do not count, nor what the bridge does not know either. */
  #callersFinding(seen: Seen[], force: boolean): CheckFinding {
    const since = this.#parts.clock.now() - askedWithinMs;
    const asked = seen.flatMap(({ view }) => view?.onlyAtBridge ?? []).filter(({ lastMs }) => lastMs >= since);
    if (asked.length === 0) return good('callers', 'nobody has asked for what the bridge alone knows, for an hour');
    const paths = [...new Set(asked.map(({ request }) => request))];
    const more = paths.length > shownPaths ? ` and ${paths.length - shownPaths} more` : '';
    const detail = `${paths.slice(0, shownPaths).join(', ')}${more}: the bridge has answered within the last hour, crossfade will say 404`;
    const hint = 'put it into the contract, or end who asks (an hour must pass), or `--force` where nobody needs it';
    return force ? doubtful('callers', detail, hint) : bad('callers', detail, hint);
  }
}

function stateFindings(state: CutoverState, proxiedHubs: string[]): CheckFinding[] {
  const { percent, pins, hold, killed } = state;
  const pinned = Object.keys(pins).filter((room) => pins[room] === 'bridge');
  return [
    percent === 100
      ? good('percent', '100')
      : bad('percent', `${percent}: rooms are at the bridge`, 'crossfade cutover set 100'),
    pinned.length === 0
      ? good('pins', 'none to the bridge')
      : bad('pins', `to the bridge: ${pinned.slice(0, shownPaths).join(', ')}`, 'crossfade cutover unpin <room>'),
    proxiedHubs.length === 0
      ? good('hubs', 'all are native')
      : bad('hubs', `end at the bridge: ${proxiedHubs.join(', ')}`, 'crossfade cutover hubs native'),
    hold === null ? good('hold', 'nobody holds it') : bad('hold', held(hold).message, 'crossfade cutover release'),
    killed.length === 0
      ? good('kill switch', 'nobody has it')
      : bad('kill switch', `${killed.join(', ')} has it`, 'start them without EVENT_TRANSPORT_USE_REDIS_STREAMS=false'),
  ];
}

/** A hub that has moved lets its clients go a few at a time. */
function clientsFinding(seen: Seen[]): CheckFinding {
  const left = total(seen.flatMap(({ view }) => Object.values(view?.hubs ?? {}).map(({ proxied }) => proxied)));
  if (left === 0) return good('clients', 'none is at the bridge any more');
  return bad('clients', `${left} still at the bridge`, 'wait until they have come over');
}

function whetherAllFollow(seen: Seen[]): CheckFinding[] {
  const silent = seen.filter(({ view }) => view === undefined).map(({ instance }) => instance);
  const differences = differencesAmong(seen);
  return [
    silent.length === 0
      ? good('replicas', `${seen.map(({ instance }) => instance).join(', ')} answer`)
      : bad('replicas', `${silent.join(', ')} do not answer, and would not hear of it`, 'look at them first'),
    differences.length === 0
      ? good('alike', 'all run the same release and contract')
      : bad('alike', differences.join('; '), 'until then no replica knows what the others would do'),
  ];
}

function refusal(reasons: string): CrossfadeError {
  return new CrossfadeError('CUTOVER_GUARD', reasons);
}
