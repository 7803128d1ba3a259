// `crossfade check`: is everything as it must be, line by line, each that is not with what to do. In comes the address of a running
// replica, or, before serving, the flags and variables of `serve`; out go lines or JSON, and exit code 1 if one has failed.

import { styleText } from 'node:util';
import { BridgeAddresses } from '../bridge/addresses.ts';
import { BridgeHealth } from '../bridge/health.ts';
import { BridgeLane } from '../bridge/lane.ts';
import { type Checked, type CheckGroup, checkBefore, checked } from '../checks.ts';
import { type Config, ConfigError, type GivenFlags, readConfig } from '../config.ts';
import { CrossfadeError } from '../errors.ts';
import { bad } from '../findings.ts';
import { contractOf } from '../parts.ts';
import { systemClock } from '../telemetry/clock.ts';
import { silentLogger } from '../telemetry/logger.ts';
import { askAdmin } from './admin-port.ts';
import type { Target } from './cutover.ts';
import { findingLines } from './findings-text.ts';

const nameWidth = 13;
/** The guard's three readings, and what may hang. */
const timeoutMs = 30_000;

/** Errors: CONFIG_INVALID, ADMIN_UNREACHABLE. */
export async function check(target: Target): Promise<void> {
  report(await askAdmin<Checked>({ ...target, timeoutMs }, 'GET', '/check'), target.output);
}

/** Before serving: configuration, bridge, log. */
export async function checkFirst(flags: GivenFlags, output: Target['output']): Promise<void> {
  report(checked(await groupsBefore(flags)), output);
}

async function groupsBefore(flags: GivenFlags): Promise<CheckGroup[]> {
  try {
    return await groupsOf(readConfig(flags, process.env));
  } catch (error) {
    if (!(error instanceof CrossfadeError)) throw error;
    const hint = error instanceof ConfigError ? 'see `crossfade serve --help`' : 'see `crossfade contract check`';
    return [{ name: 'configuration', findings: error.message.split('\n').map((line) => bad('settings', line, hint)) }];
  }
}

/** Errors: CONTRACT_INVALID, CONFIG_INVALID. */
async function groupsOf(config: Config): Promise<CheckGroup[]> {
  const contract = contractOf(config);
  const clock = systemClock;
  if (config.bridges.length === 0) return checkBefore({ config, contract, bridge: undefined, bridgeStates: [], clock });
  const addresses = await BridgeAddresses.open([...config.bridges], { clock });
  const bridge = new BridgeLane({ addresses, calls: config.bridgeCalls });
  const health = new BridgeHealth({ addresses, clock, logger: silentLogger });
  try {
    await health.begun;
    return await checkBefore({ config, contract, bridge, bridgeStates: health.states, clock });
  } finally {
    health.close();
    addresses.close();
    await bridge.close();
  }
}

function report(found: Checked, output: Target['output']): void {
  console.log(output === 'json' ? JSON.stringify(found, null, 2) : checkText(found));
  if (!found.ok) process.exitCode = 1;
}

function checkText({ groups }: Checked): string {
  const failed = groups.flatMap(({ findings }) => findings).filter(({ status }) => status === 'fail').length;
  const verdict =
    failed === 0 ? styleText('green', 'everything is as it must be √') : styleText('red', `${failed} failed ×`);
  const blocks = groups.map(({ name, findings }) =>
    [styleText('bold', name), '-'.repeat(name.length), ...findingLines(findings, nameWidth)].join('\n'),
  );
  return [...blocks, verdict].join('\n\n');
}
