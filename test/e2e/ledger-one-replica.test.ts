// The ledger with one replica in front of one bridge: the percent walks up and down under 200 connected clients.

import { test } from 'node:test';
import { bucketOf } from '../../src/rooms/bucket.ts';
import { apiKey, jwtSecret } from '../support/bridge.ts';
import { runLedger } from '../support/ledger/ledger.ts';
import { atOnceRules, bridgeName, patientFlags, setStage } from '../support/ledger/stage.ts';
import { assertAllAccepted, assertBothLanes, assertNoFault, assertNoneLost, tell } from '../support/ledger/verdict.ts';
import type { Step } from '../support/ledger/walk.ts';

/** Rooms that 25 percent leave on the bridge lane, or move to the stream lane. */
const low = roomWhere((bucket) => bucket < 25);
const high = roomWhere((bucket) => bucket >= 50);

test(`one replica and the ${bridgeName}: every member gets what it is owed, once and in order, at every percent`, async (t) => {
  const stage = await setStage(t, { replicaCount: 1, bridgeCount: 1, flags: patientFlags });
  const [{ edge, listen, operator }] = stage.replicas as [(typeof stage.replicas)[0]];
  const walk = (): Step[] => [
    operator.set(1),
    operator.set(5),
    operator.set(25),
    operator.pin({ [high]: 'stream', [low]: 'bridge' }),
    operator.set(50),
    operator.rollBack(),
    operator.pin({ [high]: 'stream' }),
    operator.set(50),
    operator.set(100),
    operator.pin({ [high]: null, [low]: 'bridge' }),
    operator.set(40),
    operator.set(0),
  ];
  const { messagePack } = stage;
  const rules = async () => (operator.rolledBackAtOnce ? atOnceRules(stage.replicas) : {});
  const report = await runLedger(t, {
    edges: [edge],
    addressOf: () => listen,
    ...{ apiKey, jwtSecret, messagePack, walk, rules },
  });
  await tell(t, report, stage.replicas);
  assertNoFault(report);
  assertNoneLost(report);
  assertAllAccepted(report);
  await assertBothLanes(stage.replicas);
});

function roomWhere(test: (bucket: number) => boolean): string {
  return Array.from({ length: 50 }, (_, i) => `room-${i}`).find((room) => test(bucketOf(room)))!;
}
