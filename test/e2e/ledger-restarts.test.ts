// The ledger with one replica that is killed (kill -9) and started again under its own name, again and again, while calls go
// through both replicas and its clients come back at once. Then the same where only its own way to Redis is closed when it
// starts, and where Redis comes later than the replica.

import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { apiKey, jwtSecret } from '../support/bridge.ts';
import { runLedger } from '../support/ledger/ledger.ts';
import type { MadeCall, Stay } from '../support/ledger/owed.ts';
import {
  bridgeName,
  faultyFlags,
  patientFlags,
  type Replica,
  readUnfenced,
  setStage,
  unfencedRules,
} from '../support/ledger/stage.ts';
import { assertNoFault, assertStreamLane, tell } from '../support/ledger/verdict.ts';
import type { Step } from '../support/ledger/walk.ts';
import { builtBinary } from '../support/process.ts';

/** What a killed replica, or a bridge that it leaves, has not sent yet is lost with the connection. */
const endMarginMs = 3_000;
/** How long Redis is away for a replica that starts. */
const awayMs = 8_000;

/** At each percent; ten are tried by hand: CROSSFADE_TEST_RESTARTS=10. */
const restarts = Number(process.env.CROSSFADE_TEST_RESTARTS ?? 2);

interface Trial {
  title: string;
  /** Each with so many restarts. */
  percents: number[];
  restarts: number;
  /** Keeps Redis from the replica that starts, for {@link awayMs}. @returns gives it back */
  takeRedis?(stage: Awaited<ReturnType<typeof setStage>>, replica: Replica): Promise<() => Promise<unknown>>;
}

const trials: Trial[] = [
  { title: 'at percent 100 and 50', percents: [100, 50], restarts },
  {
    title: 'while it alone cannot reach Redis for 8 s',
    percents: [100],
    restarts: 1,
    takeRedis: async (_, { toRedis }) => {
      toRedis.refuse();
      return async () => toRedis.pass();
    },
  },
  {
    title: 'while Redis comes 8 s later than it',
    percents: [50],
    restarts: 1,
    takeRedis: async ({ redis }) => {
      await redis.kill9();
      return () => redis.restart();
    },
  },
];

for (const trial of trials) {
  test(`a replica killed and started again under its name ${trial.title}, before the ${bridgeName}: nothing owed is lost or doubled, and out of order is only what was counted`, async (t) => {
    await runTrial(t, trial);
  });
}

async function runTrial(t: TestContext, { percents, restarts, takeRedis }: Trial): Promise<void> {
  const flags = takeRedis === undefined ? patientFlags : faultyFlags;
  const stage = await setStage(t, { replicaCount: 2, bridgeCount: 1, durable: true, flags, binary: builtBinary });
  const [one, two] = stage.replicas as [Replica, Replica];
  const readyAfter: number[] = [];
  /** When clients of the starting replica may have come before it could read the log, ms of performance.now(). */
  const blind = { from: Number.POSITIVE_INFINITY, to: Number.NEGATIVE_INFINITY };

  const restart = (): Step => ({
    name: 'killed and started again',
    run: async () => {
      // Its clients notice the end at once, and begin to come back.
      const killedAt = performance.now();
      await one.kill();
      const giveBack = await takeRedis?.(stage, one);
      if (giveBack !== undefined) blind.from = killedAt;
      const [ms] = await Promise.all([one.restart(), giveBack && sleep(awayMs).then(giveBack)]);
      readyAfter.push(Math.round(ms));
      if (giveBack !== undefined) blind.to = performance.now() + endMarginMs;
      await one.operator.untilFollowed();
    },
  });
  /** Who joined before the replica could read the log was closed to fetch what it missed. */
  const wasToldToFetch = ({ askedAt, endedAt }: Stay) =>
    askedAt > blind.from && askedAt < blind.to && endedAt < blind.to + endMarginMs;
  const mayLose = ({ call }: MadeCall) => call.typing !== undefined || call.receipt !== undefined;

  const report = await runLedger(t, {
    edges: [one.edge, two.edge],
    addressOf: (_, number) => (number % 2 === 0 ? one : two).listen,
    retryAt: (address) => (address === one.listen ? two.listen : undefined),
    apiKey,
    jwtSecret,
    messagePack: stage.messagePack,
    bareOnly: true,
    clientCount: 60,
    // An outage keeps all rooms at the bridge: there are calls before it, and behind it.
    ...(takeRedis === undefined ? { callCount: 6_000, durationMs: 10_000 } : { callCount: 10_000, durationMs: 18_000 }),
    walk: () =>
      percents.flatMap((percent) => [two.operator.set(percent), ...Array.from({ length: restarts }, restart)]),
    rules: async () => ({
      endMarginMs,
      mayLose,
      isExcused: wasToldToFetch,
      ...unfencedRules(stage.replicas),
    }),
  });
  await tell(t, report, stage.replicas);
  const counts = Map.groupBy(readUnfenced(stage.replicas), ({ reason }) => reason);
  t.diagnostic(
    `ready after ${readyAfter.join(', ')} ms; unfenced ${[...counts].map(([reason, of]) => `${of.length} ${reason}`)}`,
  );
  assertNoFault(report);
  await assertStreamLane(stage.replicas);
}
