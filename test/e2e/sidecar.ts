// crossfade as the end-to-end tests start it: from the source and from the built binary, on the log of their choice.
// In come a test and flags; out go the running sidecar's addresses and clients that are connected to it.

import type { TestContext } from 'node:test';
import { allowedOrigin, apiKey, jwtSecret } from '../support/bridge.ts';
import { builtBinary, type Crossfade, type StartOptions, startCrossfade } from '../support/process.ts';
import { type ConnectOptions, connect, type HubClient, makeToken } from '../support/signalr.ts';
import { until } from '../support/wait.ts';

/** What is shipped; `npm test` builds it first. */
export const binary: StartOptions = { binary: builtBinary };

/** Where the bundle might make a difference. */
export const programs: { name: string; options: StartOptions }[] = [
  { name: 'the source', options: { source: true } },
  { name: 'the binary', options: binary },
];

export const secrets = { INTERNAL_API_KEY: apiKey, JWT_SECRET_KEY: jwtSecret };

/** For tests in which the log does not fail: a machine that is short of CPU for a moment is no failing log. */
export const patient = ['--publish-timeout', '5000'];

let instances = 0;

/** One sidecar with a name of its own, unless the flags give one. @param options.env beside the secrets */
export function startSidecar(
  t: TestContext,
  flags: string[],
  { env = {}, ...options }: StartOptions & { env?: Record<string, string> } = {},
): Promise<Crossfade> {
  const instance = flags.includes('--instance') ? [] : ['--instance', `test-${process.pid}-${++instances}`];
  return startCrossfade(
    t,
    [...instance, '--allowed-origins', allowedOrigin, ...flags],
    { ...secrets, ...env },
    options,
  );
}

/** A client of one hub, joined to nothing yet. */
export async function join(
  t: TestContext,
  url: string,
  hub: string,
  user: string,
  options: ConnectOptions = {},
): Promise<HubClient> {
  return connect(t, `${url}/hubs/${hub}`, await makeToken({ sub: user }, jwtSecret), options);
}

/** Waits until this share of rooms is on the stream lane there: what a flag asks for passes the guard first. */
export async function atPercent({ admin }: Pick<Crossfade, 'admin'>, percent: number): Promise<void> {
  let state: { effective: { percent: number } } | undefined;
  await until(
    async () => {
      state = (await (await fetch(`${admin}/cutover`)).json()) as typeof state;
      return state?.effective.percent === percent;
    },
    { timeoutMs: 15_000, what: () => `percent ${percent}: ${JSON.stringify(state)}` },
  );
}
