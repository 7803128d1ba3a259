// What keeps rooms from moving, for `GET /check` and for dry runs: in come the parts that know it, out goes a finding each. Promise:
// nothing is changed, and nothing rejects.

import type { BridgeState } from '../bridge/health.ts';
import { bad, type CheckFinding, doubtful, good } from '../findings.ts';
import type { Log } from '../log/log.ts';
import type { Outage } from '../rooms/outage.ts';
import type { RoomLanes } from '../rooms/room-lanes.ts';
import { held } from './changes.ts';
import type { Guard } from './guard.ts';
import type { SharedState } from './shared-state.ts';

export interface CutoverCheckParts {
  roomLanes: Pick<RoomLanes, 'standalone' | 'state'>;
  outage: Pick<Outage, 'status'>;
  guard: Pick<Guard, 'check'>;
}

export async function cutoverFindings({ roomLanes, outage, guard }: CutoverCheckParts): Promise<CheckFinding[]> {
  if (roomLanes.state.completed) return [good('lanes', 'the cutover is complete: every room is on the stream lane')];
  if (roomLanes.standalone) return [good('lanes', 'there is no bridge: every room is on the stream lane')];
  const { hold, killed } = roomLanes.state;
  const reason = outage.status?.reason;
  return [
    reason === undefined
      ? good('log', 'no room is at the bridge for an outage of the log')
      : bad(
          'log',
          `all rooms are at the bridge, as the log failed (${reason})`,
          'bring Redis back: they return by themselves',
        ),
    await guardFinding(guard, false),
    killed.length === 0
      ? good('kill switch', 'nobody has it')
      : bad(
          'kill switch',
          `${killed.join(', ')}: every room is at the bridge`,
          'start them without EVENT_TRANSPORT_USE_REDIS_STREAMS=false',
        ),
    hold === null ? good('hold', 'nobody holds it') : doubtful('hold', held(hold).message, 'crossfade cutover release'),
  ];
}

export function logFinding({
  shared,
  log,
}: {
  shared: Pick<SharedState, 'follows'>;
  log: Pick<Log, 'reachable'>;
}): CheckFinding {
  if (shared.follows && log.reachable) return good('log', 'reachable, and its state is known here');
  return bad(
    'log',
    'it does not answer, or its state is not known here yet',
    'bring Redis back; a rollback needs none',
  );
}

export async function guardFinding(guard: Pick<Guard, 'check'>, force: boolean): Promise<CheckFinding> {
  const { ok: isOk, reasons } = await guard.check().catch((error: Error) => ({ ok: false, reasons: [error.message] }));
  if (isOk) return good('guard', '3 readings over 3 s: no client is left out');
  if (force) return doubtful('guard', `--force goes past it: ${reasons.join('; ')}`, 'remove what it names');
  return bad('guard', reasons.join('; '), 'remove what it names, or `--force` where it is harmless');
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
