// One run of the ledger: in go addresses and what is to happen meanwhile, out comes what was made, shown and found.
// Clients are connected before the first call; after the last one it waits until everything owed was shown, and then
// until nothing comes any more, so that a late double is seen too.

import type { TestContext } from 'node:test';
import { until } from '../wait.ts';
import { type ClientOptions, connectReaders, describeMix } from './clients.ts';
import { type Fault, type Rules, standardRules } from './fault.ts';
import { Feed, type FeedOptions } from './feed.ts';
import { judge } from './judge.ts';
import type { MadeCall } from './owed.ts';
import { planCalls } from './plan.ts';
import type { Reader } from './reader.ts';
import { type Step, Walk } from './walk.ts';

export interface LedgerOptions extends Omit<ClientOptions, 'clientCount' | 'rooms'> {
  apiKey: string;
  addressOf: FeedOptions['addressOf'];
  retryAt?: FeedOptions['retryAt'];
  /** Standard: 200, 50, 20,000, 75 s. */
  clientCount?: number;
  roomCount?: number;
  callCount?: number;
  durationMs?: number;
  /** How long what is owed may take after the last call. */
  arrivalMs?: number;
  /** What is done meanwhile. */
  walk?(progress: Progress): Step[];
  /** Asked whenever it is judged: what the replicas have said by then. @param delay see {@link LedgerReport}, by then */
  rules?(delay: LedgerReport['delay']): Promise<Partial<Rules>>;
}

/** How far a run has come, for steps that wait for it. */
export interface Progress {
  /** Those that read. */
  readers: Reader[];
  /** How many calls were answered. */
  callCount(): number;
  /** The rooms whose call waits for its answer at this address. */
  roomsAt(address: string): string[];
}

export interface LedgerReport {
  /** Room -> its calls as they were made. */
  made: ReadonlyMap<string, MadeCall[]>;
  faults: Fault[];
  /** Readers that read and lost a connection all the same. */
  lost: string[];
  outcomes: Record<string, number>;
  /** How many hub messages the readers were shown. */
  shownCount: number;
  /** From a call's begin to what a member saw of it, ms, for the calls that carry a number. */
  delay: { p50: number; p99: number };
  steps: Walk['report'];
  mix: string;
  /** ms from the first call to the end of the last one. */
  feedMs: number;
}

const userRoomCount = 10;
const quietMs = 1_000;
const quietTimeoutMs = 60_000;

export async function runLedger(t: TestContext, options: LedgerOptions): Promise<LedgerReport> {
  const { clientCount = 200, roomCount = 50, callCount = 20_000, durationMs = 75_000, arrivalMs = 30_000 } = options;
  const rooms = {
    requests: Array.from({ length: roomCount }, (_, i) => `room-${i}`),
    users: Array.from({ length: userRoomCount }, (_, i) => `person-${i}`),
  };
  const clients = { ...options, clientCount, rooms };
  const readers = (await connectReaders(t, clients)).filter(({ spec }) => !spec.isStalled);
  const progress: Progress = {
    readers,
    callCount: () => feed.madeCount,
    roomsAt: (address) => [...feed.underWay].flatMap(([room, at]) => (at === address ? [room] : [])),
  };
  const walk = new Walk(options.walk?.(progress) ?? []);
  const { apiKey, addressOf, retryAt } = options;
  const plan = planCalls(rooms, callCount);
  const feed: Feed = new Feed({
    plan,
    apiKey,
    durationMs,
    addressOf,
    ...(retryAt && { retryAt }),
    admit: (share) => walk.admit(share),
  });

  const startedAt = performance.now();
  await Promise.all([feed.run(), walk.run(() => feed.madeCount / callCount)]);
  const feedMs = Math.round(performance.now() - startedAt);
  const judgeNow = async () => {
    const rules = await options.rules?.(measureDelay(readers, feed));
    return judge(feed.made, staysOf(readers), { ...standardRules, ...rules });
  };
  await settle(readers, judgeNow, arrivalMs);
  return {
    made: feed.made,
    faults: await judgeNow(),
    lost: readers.filter(({ lostCount }) => lostCount > 0).map(({ spec }) => `${spec.name} (${spec.hub})`),
    outcomes: Object.fromEntries(feed.outcomes),
    shownCount: staysOf(readers).reduce((sum, { seen }) => sum + seen.length, 0),
    delay: measureDelay(readers, feed),
    steps: walk.report,
    mix: describeMix(clients),
    feedMs,
  };
}

async function settle(readers: Reader[], judgeNow: () => Promise<Fault[]>, arrivalMs: number): Promise<void> {
  const endsAt = performance.now() + arrivalMs;
  do await untilQuiet(readers);
  while ((await judgeNow()).length > 0 && performance.now() < endsAt);
}

async function untilQuiet(readers: Reader[]): Promise<void> {
  let shown = -1;
  let since = 0;
  await until(
    () => {
      const now = staysOf(readers).reduce((sum, { seen }) => sum + seen.length, 0);
      if (now !== shown) since = performance.now();
      shown = now;
      return performance.now() - since > quietMs;
    },
    { timeoutMs: quietTimeoutMs, what: 'the readers to be shown nothing more' },
  );
}

function staysOf(readers: Reader[]) {
  return readers.flatMap(({ stays }) => stays);
}

function measureDelay(readers: Reader[], feed: Feed): LedgerReport['delay'] {
  const begun = new Map(
    [...feed.made].flatMap(([room, calls]) =>
      calls.flatMap(({ call, startedAt }) => call.shows.map(({ label }) => [`${room} ${label}`, startedAt] as const)),
    ),
  );
  const delays = staysOf(readers)
    .flatMap(({ room, seen }) =>
      seen.filter(({ label }) => / n\d+$/.test(label)).map(({ label, at }) => at - begun.get(`${room} ${label}`)!),
    )
    .sort((a, b) => a - b);
  const at = (share: number) => Math.round(delays[Math.floor(delays.length * share)] ?? 0);
  return { p50: at(0.5), p99: at(0.99) };
}
