// The ledger under faults: Redis is killed and started again three times, its replies are lost after it has executed the
// appends, the wall clock of one replica is 5 s off, and the bridges go away for 20 s. What is out of order must be what
// the replicas have counted, and that must have happened while the log failed.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { apiKey, jwtSecret } from '../support/bridge.ts';
import { type LedgerReport, type Progress, runLedger } from '../support/ledger/ledger.ts';
import { describeCall } from '../support/ledger/owed.ts';
import { bridgeName, type Replica, readMetric, readUnfenced, setStage } from '../support/ledger/stage.ts';
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
/** Calls that are answered while the replies of Redis are lost. */
const callsWithoutReplies = 100;
/** Long enough for a machine that is short of CPU, and much shorter than the faults. */
const publishTimeoutMs = 500;
/** A replica notices late that the log fails, and returns to it late. */
const noticedMs = 5_000;

const title = `two replicas, ${bridgeCount} × ${bridgeName}, faults: nothing owed is lost or shown twice, and out of order is only what was counted`;
test(title, async (t) => {
  const stage = await setStage(t, {
    replicaCount: 2,
    bridgeCount,
    durable: true,
    clockOffsetsMs,
    flags: ['--publish-timeout', String(publishTimeoutMs)],
  });
  const { redis, bridges, replicas, messagePack } = stage;
  const [one, two] = replicas as [Replica, Replica];
  /** From when to when the log failed, ms of performance.now(). */
  const logFaults: [from: number, to: number][] = [];
  const logFault = (name: string, run: () => Promise<void>): Step => ({
    name,
    run: async () => {
      const from = performance.now();
      await run();
      logFaults.push([from, performance.now()]);
    },
  });

  const killRedis = (): Step =>
    logFault('Redis killed and started again', async () => {
      await redis.kill9();
      // A duration is what is tested here, not a condition.
      await sleep(redisAwayMs);
      await redis.restart();
      await until(async () => (await isLogThere(one)) && (await isLogThere(two)), {
        timeoutMs: 15_000,
        what: 'the log',
      });
    });

  const loseReplies = (replica: Replica, { callCount }: Progress): Step =>
    logFault('the replies of Redis lost', async () => {
      const before = callCount();
      replica.toRedis.swallowReplies();
      await until(() => callCount() >= before + callsWithoutReplies, { timeoutMs: 15_000, what: 'calls' });
      replica.toRedis.cut();
      await until(() => isLogThere(replica), { timeoutMs: 15_000, what: 'the log' });
    });

  const takeBridgesAway = ({ readers }: Progress): Step => ({
    name: `the bridges away for ${bridgesAwayMs / 1000} s`,
    run: async () => {
      await Promise.all(bridges.map((bridge) => bridge.kill()));
      await sleep(bridgesAwayMs);
      await Promise.all(bridges.map((bridge) => bridge.restart()));
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
  const report: LedgerReport = await runLedger(t, {
    edges: [one.edge, two.edge],
    addressOf: (_, number) => (number % 2 === 0 ? one : two).listen,
    apiKey,
    jwtSecret,
    messagePack,
    walk,
    rules: async () => ({
      unfenced: new Set(readUnfenced(replicas).flatMap(({ eventIds }) => eventIds)),
      mayLose: () => true,
    }),
  });
  await tell(t, report, stage.replicas);
  t.diagnostic(`unfenced: ${JSON.stringify(await countUnfenced(replicas))}`);
  assertNoFault(report);
  const outages = readOutages(replicas);
  t.diagnostic(`${outages.length} outages of the log were told by the replicas`);
  assertUnfencedInFaults(report, replicas, [...logFaults, ...outages]);
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
      const reasons = ['unread', 'other_replica'];
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

/** When the replicas themselves said that the log fails, ms of performance.now(): it may also be too slow for them. */
function readOutages(replicas: Replica[]): [from: number, to: number][] {
  return replicas.flatMap(({ process }, i) => {
    const timesOf = (text: string) => {
      const said = process.lines.filter(({ msg }) => String(msg).startsWith(text));
      return said.map(({ time }) => Date.parse(String(time)) - clockOffsetsMs[i]! - performance.timeOrigin);
    };
    const ends = timesOf('the log answers: its rooms are back');
    return timesOf('the log fails: its rooms go to the bridge').map((from): [number, number] => {
      return [from, ends.find((to) => to > from) ?? Number.POSITIVE_INFINITY];
    });
  });
}

/** The events whose order may not be kept are those that were called while the log failed, and no others. */
function assertUnfencedInFaults({ made }: LedgerReport, replicas: Replica[], logFaults: [number, number][]): void {
  const calls = new Map([...made.values()].flat().map((each) => [each.call.eventId, each]));
  const failures = logFaults.map((fault) => fault.map((ms) => (ms / 1000).toFixed(3)).join('-')).join(', ');
  for (const { eventIds, room, reason } of readUnfenced(replicas)) {
    for (const id of eventIds) {
      const call = calls.get(id);
      assert.ok(call, `${id} in ${room} was called`);
      const isWithin = logFaults.some(
        ([from, to]) => call.answeredAt > from - noticedMs && call.startedAt < to + noticedMs,
      );
      assert.ok(isWithin, `${id} (${describeCall(call)}) is counted as ${reason}, but the log failed ${failures}`);
    }
  }
}
