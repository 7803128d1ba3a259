// `crossfade verify`: the success criteria SC-001 to SC-007, measured. In come the addresses of a running deployment, or nothing (it
// starts one then, in front of a given bridge or of the toy one); out goes what was asked for and what was measured, as a table or JSON.
// Promises: exit 1 if one fails; what was not measured is said, and is no pass; a running deployment has its percent back at the end.

import { randomBytes } from 'node:crypto';
import { cpus } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { styleText } from 'node:util';
import { type Criterion, type CriterionId, judge, targets } from '../bench/criteria.ts';
import { OwnDeployment } from '../bench/own-deployment.ts';
import { ProgressBar } from '../bench/progress.ts';
import { SignalRWire } from '../bench/signalr.ts';
import { type Deployment, measureCriteria } from '../bench/verification.ts';
import type { Status } from '../cutover/status.ts';
import { CrossfadeError } from '../errors.ts';
import { version } from '../version.ts';
import { askAdmin } from './admin-port.ts';
import { benchSecrets } from './bench.ts';
import { metricsTextOf, sumOf } from './metrics-text.ts';

export interface VerifyOptions {
  /** Of a running deployment: its admin port, its edge (or hub) and where the backend's calls go, as base URLs. */
  admin?: string;
  url?: string;
  publish?: string;
  /** For a deployment of its own. */
  bridge?: string;
  redis?: string;
  /** How long one load lasts, by one lane. */
  seconds: number;
  output: 'text' | 'json';
}

const by = 'crossfade verify';
const followMs = 15_000;
const askAgainMs = 50;
const signals = ['SIGINT', 'SIGTERM'] as const;

/** Errors: CONFIG_INVALID, BENCH_TARGET, ADMIN_UNREACHABLE, CUTOVER_GUARD, CUTOVER_HELD, CUTOVER_CONFLICT. */
export async function verify(options: VerifyOptions): Promise<void> {
  const { seconds, output } = options;
  const bar = new ProgressBar();
  if (output === 'text') console.log(`${targetsText()}\n`);
  const { deployment, close } = await deploymentOf(options);
  // Ctrl-C puts things back as well.
  const end = () => close().finally(() => process.exit(130));
  for (const signal of signals) process.once(signal, end);
  try {
    const measured = await measureCriteria({
      deployment,
      seconds,
      acceptedByLane,
      onProgress: (what, share) => bar.show(what, share),
    });
    const criteria = judge(measured);
    bar.clear();
    const environment = { version, node: process.version, cores: cpus().length, cpu: cpus()[0]?.model ?? 'unknown' };
    const ok = criteria.every((each) => each.ok === true);
    if (output === 'json') console.log(JSON.stringify({ ok, criteria, measured, environment }, null, 2));
    else console.log(verdictText(criteria, environment));
    if (criteria.some((each) => each.ok === false)) process.exitCode = 1;
  } finally {
    bar.clear();
    for (const signal of signals) process.off(signal, end);
    await close();
  }
}

interface UnderVerification {
  deployment: Deployment;
  close(): Promise<void>;
}

function deploymentOf(options: VerifyOptions): Promise<UnderVerification> {
  const { admin, url, publish, bridge, redis } = options;
  const running = [admin, url, publish].filter((given) => given !== undefined).length;
  if (running === 0) return ownDeployment(options);
  if (running < 3 || bridge !== undefined || redis !== undefined) {
    const hint = '--admin, --url and --publish name a running deployment together, without --bridge and --redis';
    throw new CrossfadeError('CONFIG_INVALID', hint);
  }
  return runningDeployment({ admin: admin!, url: url!, publish: publish! });
}

/** Without a bridge of the caller's its secrets are its own too. */
async function ownDeployment({ bridge, redis }: VerifyOptions): Promise<UnderVerification> {
  const secrets = bridge === undefined ? ownSecrets() : givenSecrets();
  const own = new OwnDeployment({ bridge, redis, secrets });
  try {
    let { listen, edge, admin } = await own.start();
    const wireOf = () => new SignalRWire({ url: edge, publish: listen, ...secrets });
    const deployment: Deployment = {
      wire: wireOf(),
      noBaseline:
        bridge === undefined ? 'not measured: the toy bridge is no baseline, name yours with --bridge' : undefined,
      // Nobody else uses it: there is no client to be left out.
      setPercent: (percent) => setPercent(admin, percent, { force: true }),
      metricsTexts: async () => [await metricsTextOf(admin)],
      killSwitch: {
        async on() {
          ({ listen, edge, admin } = await own.start({ killSwitch: true }));
          return { wire: wireOf(), metricsText: () => metricsTextOf(admin) };
        },
      },
    };
    return { deployment, close: () => own.close() };
  } catch (error) {
    await own.close();
    throw error;
  }
}

function ownSecrets(): { apiKey: string; jwtSecret: string } {
  return { apiKey: randomBytes(16).toString('hex'), jwtSecret: randomBytes(32).toString('hex') };
}

function givenSecrets(): { apiKey: string; jwtSecret: string } {
  const { apiKey, jwtSecret } = benchSecrets();
  if (apiKey === undefined)
    throw new CrossfadeError('CONFIG_INVALID', 'INTERNAL_API_KEY: is not set; the bridge wants it');
  return { apiKey, jwtSecret };
}

async function runningDeployment(sides: { admin: string; url: string; publish: string }): Promise<UnderVerification> {
  const { admin } = sides;
  const before = await askAdmin<Status>({ admin }, 'GET', '/cutover');
  const hasBridge = before.bridges.length > 0;
  const deployment: Deployment = {
    wire: new SignalRWire({ ...sides, ...benchSecrets() }),
    noBaseline: hasBridge ? undefined : 'not measured: there is no bridge',
    setPercent: async (percent) => {
      if (hasBridge) await setPercent(admin, percent);
    },
    async metricsTexts() {
      const { replicas } = await askAdmin<Status>({ admin }, 'GET', '/cutover');
      const others = replicas.slice(1).flatMap((replica) => (replica.admin === undefined ? [] : [replica.admin]));
      return Promise.all([admin, ...others].map(metricsTextOf));
    },
    killSwitch: { not: 'not measured: it is a restart, which is not done to a running deployment' },
  };
  const close = () => deployment.setPercent(before.percent);
  return { deployment, close };
}

/** Resolves when every replica that answers has it in force. */
async function setPercent(admin: string, percent: number, order: { force?: true } = {}): Promise<void> {
  const why = 'the success criteria are measured';
  await askAdmin({ admin }, 'PUT', '/cutover', { percent, by, why, ...order });
  const givesUpAt = performance.now() + followMs;
  for (;;) {
    const { effective, epoch, replicas } = await askAdmin<Status>({ admin }, 'GET', '/cutover');
    const follow = replicas.every((replica) => !replica.answers || Number(replica.epoch) >= epoch);
    if (effective.percent === percent && follow) return;
    if (performance.now() > givesUpAt) {
      throw new CrossfadeError(
        'BENCH_TARGET',
        `percent ${percent} is set and not in force: ${effective.why ?? 'replicas do not follow'}`,
      );
    }
    await sleep(askAgainMs);
  }
}

function acceptedByLane(text: string): { bridge: number; stream: number } {
  const of = (lane: string) => sumOf(text, 'events_published_total', [`transport="${lane}"`, 'status="success"']);
  return { bridge: of('http'), stream: of('redis_streams') };
}

function targetsText(): string {
  const rows = Object.entries(targets).map(([id, [name, target]]) => `${id}  ${name.padEnd(nameWidth)}${target}`);
  return [styleText('bold', 'what is asked for'), ...rows].join('\n');
}

const nameWidth = 17;

function verdictText(criteria: Criterion[], environment: Record<string, string | number>): string {
  const marks = { true: styleText('green', '√'), false: styleText('red', '×'), null: styleText('yellow', '‼') };
  const blocks = criteria.map(({ id, name, measured, ok, details }) =>
    [
      `${marks[String(ok) as keyof typeof marks]} ${id satisfies string as CriterionId}  ${name.padEnd(nameWidth)}${measured}`,
      ...details.map((detail) => styleText('dim', `  ${' '.repeat('SC-001  '.length + nameWidth)}${detail}`)),
    ].join('\n'),
  );
  const count = (ok: boolean | null) => criteria.filter((each) => each.ok === ok).length;
  const notMeasured = count(null) === 0 ? '' : `, ${count(null)} not measured`;
  const verdict = `${count(true)} hold, ${count(false)} failed${notMeasured}`;
  const colour = count(false) > 0 ? 'red' : count(null) > 0 ? 'yellow' : 'green';
  const { version: release, node, cores, cpu } = environment;
  return [
    styleText('bold', 'what was measured'),
    ...blocks,
    '',
    styleText(colour, verdict),
    styleText(
      'dim',
      `crossfade ${release}, Node ${node}, ${cores} cores (${cpu}), the load comes from the same machine`,
    ),
  ].join('\n');
}
