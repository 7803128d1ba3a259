// The ledger under faults: Redis is killed and started again three times, its replies are lost after it has executed the
// appends, the wall clock of one replica is 5 s off, and the bridges go away for 20 s. Whatever is shown out of order must have
// been counted, and nothing may be counted that was made outside of an outage.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { apiKey, jwtSecret } from '../support/bridge.ts';
import { type LedgerReport, type Progress, runLedger } from '../support/ledger/ledger.ts';
import { findCountedOutside, toldOutages } from '../support/ledger/outages.ts';
import type { MadeCall } from '../support/ledger/owed.ts';
import {
  bridgeName,
  faultyFlags,
  type Replica,
  readMetric,
  readUnfenced,
  setStage,
  unfencedRules,
} from '../support/ledger/stage.ts';
import { assertBothLanes, assertNoFault, tell } from '../support/ledger/verdict.ts';
import type { Step } from '../support/ledger/walk.ts';
import { noDotnet } from '../support/reference-bridge.ts';
import { until } from '../support/wait.ts';

const clockOffsetsMs = [5_000, 0];
const bridgeCount = noDotnet ? 1 : 2;
/** How long Redis and the bridges are away, ms. */
const redisAwayMs = 2_000;
const bridgesAwayMs = 20_000;
const backWithinMs = 30_000;
/** What a bridge has taken, and not sent yet, dies with it: more, where the machine is short of CPU. */
const bridgeLossMs = 3_000;
/** Calls that are answered while the replies of Redis are lost. */
const callsWithoutReplies = 100;
const title = `two replicas, ${bridgeCount} × ${bridgeName}, faults: nothing owed is lost or shown twice, and out of order is only what was counted`;
test(title, async (t) => {
  const stage = await setStage(t, {
    replicaCount: 2,
    bridgeCount,
    durable: true,
    flags: faultyFlags,
    clockOffsetsMs,
  });
  const { redis, bridges, replicas, messagePack } = stage;
  const [one, two] = replicas as [Replica, Replica];
  /** When the bridges were away, ms of performance.now(). */
  const away = { from: Number.POSITIVE_INFINITY, to: Number.NEGATIVE_INFINITY };
  const killRedis = (): Step => ({
    name: 'Redis killed and started again',
    run: async () => {
      await redis.kill9();
      // A duration is what is tested here, not a condition.
      await sleep(redisAwayMs);
      await redis.restart();
      await until(async () => (await isLogThere(one)) && (await isLogThere(two)), {
        timeoutMs: 15_000,
        what: 'the log',
      });
    },
  });

  const loseReplies = (replica: Replica, { callCount }: Progress): Step => ({
    name: 'the replies of Redis lost',
    run: async () => {
      const before = callCount();
      replica.toRedis.swallowReplies();
      await until(() => callCount() >= before + callsWithoutReplies, { timeoutMs: 15_000, what: 'calls' });
      replica.toRedis.cut();
      await until(() => isLogThere(replica), { timeoutMs: 15_000, what: 'the log' });
    },
  });

  const takeBridgesAway = ({ readers }: Progress): Step => ({
    name: `the bridges away for ${bridgesAwayMs / 1000} s`,
    run: async () => {
      away.from = performance.now();
      await Promise.all(bridges.map((bridge) => bridge.kill()));
      await sleep(bridgesAwayMs);
      await Promise.all(bridges.map((bridge) => bridge.restart()));
      away.to = performance.now();
      const missing = () => readers.filter(({ isBack }) => !isBack).map(({ spec }) => `${spec.name} (${spec.hub})`);
      await until(() => missing().length === 0, { timeoutMs: backWithinMs, what: () => `${missing()} to be back` });
    },
  });

  const walk = (progress: Progress): Step[] => [
    one.operator.set(25),
    killRedis(),
    one.operator.set(50),
    loseReplies(one, progress),
    one.operator.set(100),
    killRedis(),
    loseReplies(two, progress),
    one.operator.set(50),
    takeBridgesAway(progress),
    two.operator.set(40),
    killRedis(),
    two.operator.rollBack(),
    one.operator.set(60),
    one.operator.set(0),
  ];
  /** Typing that waits in its window when the log fails is dropped, and so is what a window gives to a bridge that is away. */
  const mayLose = ({ call, startedAt, answeredAt }: MadeCall): boolean =>
    call.typing !== undefined || (answeredAt > away.from - bridgeLossMs && startedAt < away.to);

  const report: LedgerReport = await runLedger(t, {
    edges: [one.edge, two.edge],
    addressOf: (_, number) => (number % 2 === 0 ? one : two).listen,
    apiKey,
    jwtSecret,
    messagePack,
    walk,
    rules: async () => ({
      ...unfencedRules(replicas),
      mayLose,
      endMarginMs: bridgeLossMs,
    }),
  });
  await tell(t, report, stage.replicas);
  t.diagnostic(`unfenced: ${JSON.stringify(await countUnfenced(replicas))}`);
  assertNoFault(report);
  assertCountedWithinOutages(report, replicas);
  await assertUnfencedCounted(replicas);
  await assertBothLanes(replicas);
});

async function isLogThere({ admin }: Replica): Promise<boolean> {
  const response = await fetch(`${admin}/readyz`);
  const { checks } = (await response.json()) as { checks: { log: { ok: boolean } } };
  return checks.log.ok;
}

/** Each replica's log lines and its counter say the same. */
async function assertUnfencedCounted(replicas: Replica[]): Promise<void> {
  for (const { logged, counted } of await countUnfenced(replicas)) assert.deepEqual(logged, counted);
}

async function countUnfenced(replicas: Replica[]) {
  return Promise.all(
    replicas.map(async (replica) => {
      const lines = readUnfenced([replica]);
      const reasons = ['unread', 'other_replica', 'state_unknown', 'in_doubt'];
      const count = (reason: string) => readMetric(replica, 'crossfade_order_unfenced_total', { reason });
      const counted = Object.fromEntries(await Promise.all(reasons.map(async (each) => [each, await count(each)])));
      const logged = Object.fromEntries(
        reasons.map((each) => [
          each,
          lines.filter(({ reason }) => reason === each).flatMap((line) => line.eventIds).length,
        ]),
      );
      return { logged, counted };
    }),
  );
}

/** Of what a rollback leaves behind without the log, too, so every step of the walk but a plain change is an outage. */
function assertCountedWithinOutages({ made, steps }: LedgerReport, replicas: Replica[]): void {
  const disturbed = steps.filter(({ name }) => !/^(set|force) /.test(name));
  const outages = [
    ...disturbed.map(({ startedAt, endedAt }) => ({ from: startedAt, to: endedAt })),
    ...replicas.flatMap((replica, i) => toldOutages(replica, clockOffsetsMs[i])),
  ];
  const counted = readUnfenced(replicas).flatMap(({ eventIds }) => eventIds);
  const outside = findCountedOutside(made, counted, outages);
  assert.equal(outside.length, 0, `${outside.length} counted outside:\n${outside.slice(0, 20).join('\n')}`);
}
