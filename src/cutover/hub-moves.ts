// Which hubs are native, as an operator changes it: in comes where hubs shall be, out goes what is different then, or why that must not
// be. Promises: no hub is native while a room is at the bridge, as its events would not reach the hub's clients; none becomes native that
// could not know its clients, nor while a replica does not take part.

import type { BridgeState } from '../bridge/health.ts';
import type { ClientsOfHub } from '../edge/both-hubs.ts';
import { leaveMs } from '../edge/leaving.ts';
import { CrossfadeError } from '../errors.ts';
import type { RoomLanes } from '../rooms/room-lanes.ts';
import { addsNative, type CutoverState, type HubKind, isAllByStream } from '../rooms/state.ts';
import { total } from '../telemetry/lane-rates.ts';
import type { ChangeOf } from './changes.ts';
import type { Command, HubsOf } from './command.ts';
import type { Seen, Survey } from './survey.ts';

export interface HubMovesParts {
  roomLanes: Pick<RoomLanes, 'nativeUnder' | 'nativeHubs'>;
  survey: Pick<Survey, 'look'>;
  outage: { readonly isOn: boolean };
  bridgeStates(): BridgeState[];
  /** The contract's hubs. */
  hubNames: string[];
  /** Connections that a replica closes per second, where a flag says so. */
  drainRate?: number | undefined;
}

/** What a replica says of itself in the roster: whether it could know the clients of native hubs. */
export const tokensFact = 'tokens';

/** Of all replicas that answer. */
export interface HubStatus extends ClientsOfHub {
  at: HubKind;
}

export class HubMoveRules {
  readonly #parts: HubMovesParts;

  constructor(parts: HubMovesParts) {
    this.#parts = parts;
  }

  /** Asks the replicas, once, before the change is made. Error: CUTOVER_INVALID. @returns what is different then, see {@link allowed} */
  async plan(moves: NonNullable<Command['hubs']>): Promise<HubsOf> {
    const { roomLanes, survey, hubNames, bridgeStates } = this.#parts;
    const unknown = Object.keys(moves).find((hub) => !hubNames.includes(hub));
    if (unknown !== undefined) throw invalid(`there is no hub '${unknown}': ${hubNames.join(', ')}`);
    const kinds = Object.values(moves);
    const replicas = await survey.look();
    if (kinds.includes('native')) requireTokens(replicas);
    if (kinds.includes('proxy') && !bridgeStates().some(({ reachable }) => reachable))
      throw invalid('no bridge answers: whoever is sent there finds nobody');
    const overMs = this.#paceOf(replicas, moves);
    return (from) => {
      const native = hubNames.filter((hub) => {
        const kind = moves[hub];
        return kind === undefined ? roomLanes.nativeUnder(from).includes(hub) : kind === 'native';
      });
      const isSo =
        from.hubs !== null && hubNames.every((hub) => native.includes(hub) === from.hubs!.native.includes(hub));
      return isSo ? {} : { hubs: { native, overMs } };
    };
  }

  /** The change, where it leaves no native hub with a room at the bridge. Error of the change: CUTOVER_INVALID. */
  allowed(change: ChangeOf): ChangeOf {
    return (from) => {
      const changed = change(from);
      if (changed !== undefined) this.#check(from, { ...from, ...changed });
      return changed;
    };
  }

  #check(from: CutoverState, to: CutoverState): void {
    const { roomLanes, outage } = this.#parts;
    if (isAllByStream({ ...to, killed: [] })) {
      if (!addsNative(from, to)) return;
      if (to.killed.length > 0)
        throw invalid(`${to.killed.join(', ')} has the kill switch: every room is at the bridge`);
      if (outage.isOn) throw invalid('the log fails, and all rooms are at the bridge: wait until they are back');
      return;
    }
    const wasNative = roomLanes.nativeUnder(from);
    // What the flags say holds where nothing was set.
    if ((to.hubs === null ? wasNative : to.hubs.native).length === 0) return;
    throw invalid(
      wasNative.length === 0
        ? `rooms are at the bridge, whose events reach no native client: \`crossfade cutover set 100\` and no pin to the bridge first`
        : `${wasNative.join(', ')} would hear nothing of a room at the bridge: \`crossfade cutover hubs proxy\` first, or a rollback, which does both`,
    );
  }

  /** For `GET /cutover`. */
  status(replicas: Pick<Seen, 'view'>[]): Record<string, HubStatus> {
    const { roomLanes, hubNames } = this.#parts;
    const native = roomLanes.nativeHubs;
    return Object.fromEntries(
      hubNames.map((hub) => {
        const counts = replicas.map(({ view }) => view?.hubs[hub] ?? nobody);
        return [
          hub,
          {
            at: native.includes(hub) ? 'native' : 'proxy',
            native: total(counts.map((each) => each.native)),
            proxied: total(counts.map((each) => each.proxied)),
          },
        ];
      }),
    );
  }

  /** As long as the replica with most of these clients would take at this one's --drain-rate. */
  #paceOf(replicas: Pick<Seen, 'view'>[], moves: NonNullable<Command['hubs']>): number {
    const counts = replicas.map(({ view }) =>
      Object.entries(moves).reduce((sum, [hub, kind]) => {
        const { native, proxied } = view?.hubs[hub] ?? nobody;
        return sum + (kind === 'native' ? proxied : native);
      }, 0),
    );
    const most = Math.max(0, ...counts);
    // Whoever comes meanwhile must not be closed at once.
    return Math.max(leastMs, leaveMs(most, this.#parts.drainRate));
  }
}

const nobody: ClientsOfHub = { native: 0, proxied: 0 };
/** A rollback alone closes at once. */
const leastMs = 100;

/** Closed by default: a replica that could not look at a token would let nobody in. */
function requireTokens(replicas: Pick<Seen, 'instance' | 'facts'>[]): void {
  const without = replicas.filter(({ facts }) => facts[tokensFact] === 'not checked').map(({ instance }) => instance);
  if (without.length === 0) return;
  throw invalid(
    `${without.join(', ')} could know no client of a native hub: set JWT_SECRET_KEY or CROSSFADE_JWKS_URL there first`,
  );
}

function invalid(message: string): CrossfadeError {
  return new CrossfadeError('CUTOVER_INVALID', message);
}
