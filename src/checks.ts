// Everything that must be so, looked at: in come a Config, and what of a replica there is, out go findings by group, before serving
// (configuration, bridge, log) or of a running replica (and all that it knows of the others). Promises: nothing is changed; what is
// not as it must be says what to do; it ends within seconds, whatever hangs.

import { accessSync, constants, existsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { BridgeState } from './bridge/health.ts';
import type { BridgeLane } from './bridge/lane.ts';
import type { Compare } from './compare/compare.ts';
import type { CompareVerdict } from './compare/verdict.ts';
import type { Config } from './config.ts';
import type { Contract } from './contract/contract.ts';
import { type AlikeFact, alikeFacts, differenceIn } from './cutover/alike.ts';
import { wayBack } from './cutover/check.ts';
import type { Cutover } from './cutover/cutover.ts';
import type { Seen } from './cutover/survey.ts';
import { bad, type CheckFinding, doubtful, good } from './findings.ts';
import { checkRedis, offsetFinding } from './log/redis/check.ts';
import type { Clock } from './telemetry/clock.ts';

export interface CheckGroup {
  name: string;
  findings: CheckFinding[];
}

/** The answer of `GET /check`. */
export interface Checked {
  /** Whether nothing has failed. */
  ok: boolean;
  groups: CheckGroup[];
}

export interface BeforeServing {
  config: Config;
  contract: Contract;
  bridge: BridgeLane | undefined;
  bridgeStates: BridgeState[];
  clock: Clock;
}

export interface RunningParts extends BeforeServing {
  cutover: Cutover;
  compare: Pick<Compare, 'verdict'>;
}

export function checked(groups: CheckGroup[]): Checked {
  return { ok: groups.every(({ findings }) => findings.every(({ status }) => status !== 'fail')), groups };
}

/** What can be looked at without a replica. Never rejects. */
export async function checkBefore(parts: BeforeServing): Promise<CheckGroup[]> {
  const { config, contract, bridge, bridgeStates, clock } = parts;
  const [atBridge, ofLog] = await Promise.all([
    bridge === undefined ? [] : bridgeFindings(bridge, bridgeStates, config.apiKey),
    config.redis === undefined
      ? [directoryFinding(config.dataDir)]
      : checkRedis(config.redis, [...contract.streams.keys()], clock),
  ]);
  return [
    { name: 'configuration', findings: configFindings(config, contract) },
    ...(bridge === undefined ? [] : [{ name: 'bridge', findings: atBridge }]),
    { name: 'log', findings: ofLog },
  ];
}

/** Of a running replica, and of the others as it knows them. Never rejects. */
export async function checkRunning(parts: RunningParts): Promise<Checked> {
  const { cutover, bridge, compare } = parts;
  const [before, seen, reach, held] = await Promise.all([
    checkBefore(parts),
    cutover.survey.look(),
    cutover.survey.reach(),
    cutover.answers.findings(),
  ]);
  const back = bridge === undefined ? [] : wayBack(parts.bridgeStates, reach);
  return checked([
    ...before,
    { name: 'replicas', findings: replicaFindings(seen) },
    { name: 'cutover', findings: [...held, ...back, ...compareFindings(compare.verdict)] },
  ]);
}

function configFindings({ insecure, bridges, killSwitch }: Config, { name, calls, hubs }: Contract): CheckFinding[] {
  return [
    good('settings', bridges.length === 0 ? 'can be used: standalone, everything by stream' : 'can be used'),
    good('contract', `'${name}': ${calls.length} calls, ${hubs.length} hubs`),
    ...(insecure
      ? [doubtful('secrets', '--insecure: whoever reaches the ports may broadcast, listen and look', 'set the secrets')]
      : []),
    ...(killSwitch
      ? [doubtful('kill switch', 'is on here: every room is at the bridge', 'unset EVENT_TRANSPORT_USE_REDIS_STREAMS')]
      : []),
  ];
}

async function bridgeFindings(
  bridge: BridgeLane,
  states: BridgeState[],
  apiKey: string | undefined,
): Promise<CheckFinding[]> {
  const answers = states.map(({ bridge: place, reachable, detail }) =>
    reachable
      ? good('health', `${place} ${detail}`)
      : bad('health', `${place}: ${detail}`, 'check --bridge (CROSSFADE_BRIDGE), and that it runs'),
  );
  if (states.some(({ reachable }) => !reachable)) return answers;
  const headers = apiKey === undefined ? [] : ['X-Internal-Api-Key', apiKey];
  const stats = await bridge.askAll('/internal/stats', headers).catch((error: Error) => error);
  if (stats instanceof Error)
    return [...answers, bad('key', `/internal/stats: ${stats.message}`, 'look at the bridge')];
  const wrong = stats.find(({ status }) => status !== 200);
  if (wrong === undefined) return [...answers, good('key', 'it takes INTERNAL_API_KEY, and counts its clients')];
  const hint =
    wrong.status === 401 || wrong.status === 403
      ? 'give crossfade the INTERNAL_API_KEY of the bridge'
      : 'the guard needs it';
  return [...answers, bad('key', `/internal/stats answered ${wrong.status}`, hint)];
}

function directoryFinding(dataDir: string): CheckFinding {
  // What does not exist yet is made.
  let nearest = resolve(dataDir);
  while (!existsSync(nearest)) nearest = dirname(nearest);
  try {
    accessSync(nearest, constants.W_OK);
    return good('embedded', `${dataDir} can be written; for one replica on one machine`);
  } catch (error) {
    const hint = 'give --data-dir (CROSSFADE_DATA_DIR) a directory of its own, or name a --redis';
    return bad('embedded', `${dataDir} cannot be written (${(error as NodeJS.ErrnoException).code})`, hint);
  }
}

function replicaFindings(seen: Seen[]): CheckFinding[] {
  const silent = seen.filter(({ view }) => view === undefined).map(({ instance }) => instance);
  const names = seen.map(({ instance }) => instance).join(', ');
  const [self, ...others] = seen;
  return [
    silent.length === 0
      ? good('answer', names)
      : bad('answer', `${silent.join(', ')} of ${names} do not answer`, 'look at them, and at their --admin'),
    ...alikeFacts.map((fact) => alikeFinding(fact, seen)),
    ...others.flatMap(({ instance, offsetMs }) =>
      offsetMs === undefined ? [] : [offsetFinding('clocks', instance, offsetMs)],
    ),
    ...(self?.view?.draining ? [doubtful('drain', 'this replica lets its clients go', 'start another')] : []),
  ];
}

/** Nothing where nothing was compared: who wants it before rooms move says so (`--require-compare`). */
function compareFindings(verdict: CompareVerdict | undefined): CheckFinding[] {
  if (verdict === undefined) return [];
  const { is, line } = verdict;
  return [
    is === 'different'
      ? doubtful('compare', line, '`crossfade compare show` says what differs')
      : good('compare', line),
  ];
}

function alikeFinding(fact: AlikeFact, seen: Seen[]): CheckFinding {
  const difference = differenceIn(fact, seen);
  if (difference === undefined) return good(fact, `all have ${seen[0]?.facts[fact] ?? 'none'}`);
  return bad(fact, difference, 'finish the rollout: until then no room comes to the stream lane');
}
