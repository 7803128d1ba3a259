// Where a ledger is played: Redis, bridges and replicas as child processes. In go how many of them and their switches, out
// come their addresses and what the replicas have said and counted. All of it ends with the test.

import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { allowedOrigin, apiKey, jwtSecret, startBridge } from '../bridge.ts';
import { keepPresence } from '../presence.ts';
import { type Crossfade, startCrossfade } from '../process.ts';
import { type Redis, startRedis } from '../redis.ts';
import { noDotnet, startReferenceBridge } from '../reference-bridge.ts';
import { startProxy, type TcpProxy } from '../tcp-proxy.ts';
import { Operator } from './cutover.ts';
import type { MadeCall } from './owed.ts';

/** A bridge that can go away and come back at the same address. */
export interface Bridge {
  readonly url: string;
  kill(): Promise<void>;
  restart(): Promise<void>;
}

export interface Replica extends Crossfade {
  operator: Operator;
  instance: string;
  /** Between the replica and Redis. */
  toRedis: TcpProxy;
  /** The JSON log lines of this process and of those before it. */
  readonly lines: Record<string, unknown>[];
  /** As `kill -9`. */
  kill(): Promise<void>;
  /** The same replica once more, at the same ports; resolves when it says that it is ready. @returns the ms that this took */
  restart(): Promise<number>;
}

export interface Stage {
  redis: Redis;
  bridges: Bridge[];
  replicas: Replica[];
  /** Whether the hubs speak MessagePack. */
  messagePack: boolean;
}

export interface StageOptions {
  /** 0: hubs are native. Several share their broadcasts over a Redis of their own; only the reference bridge can. */
  bridgeCount: number;
  replicaCount: number;
  /** Flags of every replica. */
  flags?: string[];
  /** ... and of each by itself. */
  flagsOf?: string[][];
  /** Every acknowledged write of Redis is on disk: a kill -9 loses nothing that was acknowledged. */
  durable?: boolean;
  /** How far the wall clock of each replica is off, in ms. */
  clockOffsetsMs?: number[];
  /** The bridge keeps presence keys, in the replicas' Redis. */
  presence?: boolean;
  /** A built binary to run in place of the sources. */
  binary?: string;
}

/** Which bridge the ledgers are played with on this machine. */
export const bridgeName = noDotnet ? 'toy bridge' : 'reference bridge';

/** For runs in which the log does not fail: a machine that is short of CPU for a moment is no failing log. */
export const patientFlags = ['--publish-timeout', '5000'];
/** For runs in which the log does fail: one slow append takes all rooms to the bridge, and such a machine would keep them there. */
export const faultyFlags = ['--publish-timeout', '500'];

const shiftedClock = new URL('./shifted-clock.ts', import.meta.url);

export async function setStage(t: TestContext, options: StageOptions): Promise<Stage> {
  const redis = await startRedis(t, options.durable ? { appendfsync: 'always' } : {});
  const bridges = await startBridges(t, options.bridgeCount, options.presence ? redis : undefined);
  const starts = Array.from({ length: options.replicaCount }, (_, i) => startReplica(t, i, redis, bridges, options));
  const messagePack = !noDotnet || options.bridgeCount === 0;
  return { redis, bridges, replicas: await Promise.all(starts), messagePack };
}

async function startBridges(t: TestContext, count: number, presence: Redis | undefined): Promise<Bridge[]> {
  if (count === 0) return [];
  if (noDotnet) {
    assert.equal(count, 1, 'toy bridges do not know of each other');
    return [await startToyBridge(t, presence?.client())];
  }
  const backplane = count === 1 ? {} : { backplane: (await startRedis(t)).url };
  const keeping = presence === undefined ? {} : { presence: presence.url };
  const start = () => startReferenceBridge(t, { messagePack: true, ...backplane, ...keeping });
  // The first start builds the program.
  const first = await start();
  return [first, ...(await Promise.all(Array.from({ length: count - 1 }, start)))];
}

async function startToyBridge(t: TestContext, presence: ReturnType<Redis['client']> | undefined): Promise<Bridge> {
  const begin = async (port = 0) => {
    const begun = await startBridge(t, { port });
    if (presence !== undefined) keepPresence(begun, presence);
    return begun;
  };
  let bridge = await begin();
  const { url } = bridge;
  const port = Number(new URL(url).port);
  const kill = () => bridge.close();
  const restart = async () => {
    bridge = await begin(port);
  };
  return { url, kill, restart };
}

async function startReplica(
  t: TestContext,
  number: number,
  redis: Redis,
  bridges: Bridge[],
  { flags = [], flagsOf = [], clockOffsetsMs = [], ...program }: StageOptions,
): Promise<Replica> {
  const instance = `replica-${number}`;
  const toRedis = await startProxy(t, redis.port);
  const offsetMs = clockOffsetsMs[number] ?? 0;
  const clock: Record<string, string> =
    offsetMs === 0 ? {} : { NODE_OPTIONS: `--import=${shiftedClock}`, CLOCK_OFFSET_MS: String(offsetMs) };
  const args = [
    ...['--instance', instance, '--allowed-origins', allowedOrigin],
    ...['--redis', `redis://127.0.0.1:${toRedis.port}`],
    ...bridges.flatMap(({ url }) => ['--bridge', url]),
    ...flags,
    ...(flagsOf[number] ?? []),
  ];
  const env = { INTERNAL_API_KEY: apiKey, JWT_SECRET_KEY: jwtSecret, ...clock };
  const crossfade = await startCrossfade(t, args, env, program);
  const { listen, edge, admin, health } = crossfade;
  const opened = Object.entries({ listen, edge, admin }).filter(([, url]) => new URL(url).port !== '');
  const ports = opened.flatMap(([side, url]) => [`--${side}`, new URL(url).host]);
  const processes = [crossfade.process];
  return {
    ...{ listen, edge, admin, health, instance, operator: new Operator(admin), toRedis },
    get process() {
      return processes.at(-1)!;
    },
    get lines() {
      return processes.flatMap((each) => each.lines);
    },
    async kill() {
      await processes.at(-1)!.kill();
    },
    async restart() {
      const begunAt = performance.now();
      processes.push((await startCrossfade(t, [...args, ...ports], env, program)).process);
      return performance.now() - begunAt;
    },
  };
}

/**
 * What a replica has counted.
 * @param name such as `events_published_total`
 * @param labels those that must be there, such as `{ transport: 'http' }`
 * @returns the sum over all series of that name and labels
 */
export async function readMetric(
  { admin }: { admin: string },
  name: string,
  labels: Record<string, string> = {},
): Promise<number> {
  const text = await (await fetch(`${admin}/metrics`)).text();
  const series = text.split('\n').filter((line) => new RegExp(`^${name}(\\{| )`).test(line));
  const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
  const matching = series.filter((line) => wanted.every((part) => line.includes(part)));
  return matching.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0);
}

/** What the replicas' log lines allow the events that they name. */
export function unfencedRules(replicas: Replica[]): { unfenced: Set<string>; inDoubt: Set<string> } {
  const said = readUnfenced(replicas);
  const ids = (of: typeof said) => new Set(of.flatMap(({ eventIds }) => eventIds));
  return { unfenced: ids(said), inDoubt: ids(said.filter(({ reason }) => reason === 'in_doubt')) };
}

/** A rollback at once does not wait for the log: what it put out of order is counted, and typing in its window is dropped. */
export function atOnceRules(replicas: Replica[]) {
  return { ...unfencedRules(replicas), mayLose: ({ call }: MadeCall) => call.typing !== undefined };
}

/** The events whose order the replicas could not prove, as their log lines name them. */
export function readUnfenced(replicas: Replica[]): { eventIds: string[]; room: string; reason: string }[] {
  const said = replicas.flatMap(({ lines }) => lines.filter(({ msg }) => msg === 'order cannot be proven'));
  return said as unknown as { eventIds: string[]; room: string; reason: string }[];
}
