// The ledger with two replicas and two bridges on a backplane. WebSockets come through a front that knows no affinity,
// the calls of each room alternate between the replicas, the percent is set on one of them, and one is held still (SIGSTOP)
// across commits and goes on.

import { test } from 'node:test';
import { apiKey, jwtSecret } from '../support/bridge.ts';
import { type LedgerReport, type Progress, runLedger } from '../support/ledger/ledger.ts';
import type { MadeCall } from '../support/ledger/owed.ts';
import { atOnceRules, bridgeName, patientFlags, setStage } from '../support/ledger/stage.ts';
import { assertAllAccepted, assertBothLanes, assertNoFault, assertNoneLost, tell } from '../support/ledger/verdict.ts';
import type { Step } from '../support/ledger/walk.ts';
import { noDotnet } from '../support/reference-bridge.ts';
import { startRoundRobin } from '../support/round-robin.ts';
import { until } from '../support/wait.ts';

/** So many calls are answered before a replica that stands still goes on, if the commit that it does not see is quicker. */
const callsWhileStopped = 200;
/** How long typing waits in its window, and what a busy machine adds. */
const windowMs = 500;
/** Shorter than the backend waits for an answer. */
const stoppedTimeoutMs = 8_000;

const title = `two replicas and two instances of the ${bridgeName}: every member gets what it is owed, once and in order, also while one replica stands still`;
test(title, { skip: noDotnet }, async (t) => {
  const stage = await setStage(t, { replicaCount: 2, bridgeCount: 2, flags: patientFlags });
  const [one, two] = stage.replicas as [(typeof stage.replicas)[0], (typeof stage.replicas)[0]];
  const front = await startRoundRobin(t, [one.edge, two.edge]);
  let stopped: typeof one | undefined;
  /** When a replica was held still, ms of performance.now(). */
  const stops: number[] = [];

  /** Half of the rooms go around a replica that stands still; the calls of the others wait in its sockets. */
  const goesAround = (room: string) => Number(room.split('-')[1]) % 2 === 0;
  const addressOf = (room: string, number: number): string => {
    const turn = number % 2 === 0 ? one : two;
    const other = number % 2 === 0 ? two : one;
    return (turn === stopped && goesAround(room) ? other : turn).listen;
  };

  const whileStopped = (replica: typeof one, step: Step, { callCount, roomsAt }: Progress): Step => ({
    name: `${step.name} while ${replica === one ? 'one' : 'two'} stands still`,
    run: async () => {
      const before = callCount();
      stopped = replica;
      await until(() => !roomsAt(replica.listen).some(goesAround), { what: 'the rooms that go around to do so' });
      stops.push(performance.now());
      replica.process.pause();
      try {
        await step.run();
        await until(() => callCount() >= before + callsWhileStopped, {
          timeoutMs: stoppedTimeoutMs,
          what: 'calls to go on without the replica',
        });
      } finally {
        replica.process.resume();
        stopped = undefined;
      }
    },
  });

  const walk = (progress: Progress): Step[] => [
    one.operator.set(1),
    one.operator.set(5),
    one.operator.set(25),
    one.operator.pin({ 'room-1': 'stream', 'room-2': 'bridge' }),
    one.operator.set(50),
    two.operator.rollBack(),
    one.operator.set(50),
    one.operator.set(100),
    whileStopped(two, one.operator.set(40), progress),
    whileStopped(two, one.operator.force(100), progress),
    one.operator.set(0),
  ];
  /** Typing that a replica holds when it stops comes too late: nobody knows what has gone before it meanwhile. */
  const mayLose = ({ call: { typing }, answeredAt }: MadeCall): boolean =>
    typing !== undefined && stops.some((at) => Math.abs(answeredAt - at) < windowMs);

  const { messagePack } = stage;
  const report: LedgerReport = await runLedger(t, {
    edges: [one.edge, two.edge],
    front: front.url,
    addressOf,
    apiKey,
    jwtSecret,
    messagePack,
    walk,
    rules: async () => ({ mayLose, ...(two.operator.rolledBackAtOnce && atOnceRules(stage.replicas)) }),
  });
  await tell(t, report, stage.replicas);
  assertNoFault(report);
  assertNoneLost(report);
  assertAllAccepted(report);
  await assertBothLanes(stage.replicas);
});
