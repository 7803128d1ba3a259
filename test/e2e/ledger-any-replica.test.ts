// Clients behind a front that sends each request to the next of three replicas without any affinity, proxied and native. The recording is
// what it was; then the ledger of clients that come by requests (server-sent events, long polling), while one replica is drained and
// stopped, and another one killed: its clients, and those whose requests went through it, come back.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { apiKey, jwtSecret } from '../support/bridge.ts';
import { type LedgerReport, runLedger } from '../support/ledger/ledger.ts';
import type { MadeCall } from '../support/ledger/owed.ts';
import { bridgeName, patientFlags, type Replica, readMetric, setStage } from '../support/ledger/stage.ts';
import { assertNoFault, assertStreamLane, tell } from '../support/ledger/verdict.ts';
import type { Step } from '../support/ledger/walk.ts';
import { playRecording } from '../support/recording.ts';
import { startRequestRoundRobin } from '../support/round-robin.ts';
import { makeToken, openRaw } from '../support/signalr.ts';

/** The larger form is played by hand: CROSSFADE_TEST_ANY_REPLICA=1, as fast as two cores carry it. */
const isLarge = process.env.CROSSFADE_TEST_ANY_REPLICA !== undefined;
const size = isLarge
  ? { clientCount: 120, roomCount: 50, callCount: 20_000, durationMs: 150_000 }
  : { clientCount: 24, roomCount: 12, callCount: 800, durationMs: 4_000 };
/** What of the recording clients cause by requests, or as they come; the rest is no other with several replicas. */
const cases = isLarge ? {} : { only: /^(negotiate|preflight|transport|handshake|upgrade)/ };
/**
 * What a killed replica has not handed out yet is lost with the connection: what is on its way, and what waits for a client's next poll. Both
 * take as long as messages take in this run: less than a second on a quiet machine, some seconds on a busy one.
 */
const marginOf = ({ p99 }: LedgerReport['delay']) => Math.min(10_000, 1_000 + 2 * p99);

async function runTrial(t: TestContext, bridgeCount: number): Promise<void> {
  const stage = await setStage(t, { replicaCount: 3, bridgeCount, flags: patientFlags });
  const [one, two, three] = stage.replicas as [Replica, Replica, Replica];
  const front = await startRequestRoundRobin(
    t,
    stage.replicas.map(({ edge }) => edge),
  );
  const native = bridgeCount === 0;
  await t.test('the recording', (t) => {
    const target = { httpUrl: one.listen, hubsUrl: front.url, apiKey, jwtSecret, ...cases };
    // The recorded bridge spoke no MessagePack. Natively a room with members at two replicas counts twice.
    const except = [...(stage.messagePack ? ['handshake messagepack'] : []), ...(native ? ['stats'] : [])];
    return playRecording(t, { ...target, except, offersRefresh: native });
  });
  if (native) {
    await t.test('a WebSocket that is not where its token was given out is found by new credentials', (t) =>
      refreshAnywhere(t, stage.replicas),
    );
  }
  /** As a balancer does that knows beforehand. */
  const stop: Step = {
    name: 'one of three is drained and stopped',
    async run() {
      front.without(three.edge);
      await three.process.stop();
    },
  };
  /** As a balancer does that notices. */
  const kill: Step = {
    name: 'one of two is killed',
    async run() {
      await two.kill();
      front.without(two.edge);
    },
  };
  const quiet: Step = { name: 'nothing is done', run: async () => {} };
  let relayed = 0;
  const count: Step = {
    name: 'what was relayed is counted',
    async run() {
      for (const replica of stage.replicas) {
        relayed += await readMetric(replica, 'crossfade_edge_relays_total', { outcome: 'answered' });
      }
    },
  };
  const percents = native ? [quiet] : [one.operator.set(isLarge ? 100 : 50)];
  const mayLose = ({ call }: MadeCall) => call.typing !== undefined || call.receipt !== undefined;

  const report = await runLedger(t, {
    ...size,
    edges: stage.replicas.map(({ edge }) => edge),
    front: front.url,
    byRequests: true,
    addressOf: () => one.listen,
    apiKey,
    jwtSecret,
    messagePack: stage.messagePack,
    walk: () => [...percents, count, stop, quiet, kill, quiet],
    rules: async (delay) => ({ endMarginMs: marginOf(delay), mayLose }),
  });
  await tell(t, report, [one]);
  t.diagnostic(`owed is what was answered ${marginOf(report.delay)} ms before a connection's end`);
  t.diagnostic(`${relayed} requests were relayed before the first replica left`);
  // Calls may fail: a bridge waits with its 200 for clients by long polling that a killed replica has left behind there.
  assertNoFault(report);
  await assertStreamLane([one]);
  assert.ok(relayed > 0, 'nothing was relayed, so nothing was tried');
}

/** The token is of one replica, the WebSocket at the next one; whichever is asked answers. */
async function refreshAnywhere(t: TestContext, replicas: Replica[]): Promise<void> {
  const token = await makeToken({ sub: 'u1' }, jwtSecret);
  const ask = async (edge: string, action: string, bearer = token) => {
    const headers = { authorization: `Bearer ${bearer}` };
    const answer = await fetch(`${edge}/hubs/chat/${action}`, { method: 'POST', headers });
    const told = (await answer.json()) as { connectionToken?: string; connectionId?: string; error?: string };
    return { status: answer.status, ...told };
  };
  const { connectionToken, connectionId } = await ask(replicas[0]!.edge, 'negotiate?negotiateVersion=1');
  const gone = await ask(replicas[0]!.edge, `refresh?id=${connectionToken}`);
  assert.deepEqual(gone, { status: 404, error: 'connection_not_found' });
  await openRaw(t, `${replicas[1]!.edge}/hubs/chat?id=${connectionToken}`, token);
  const stranger = await makeToken({ sub: 'u2' }, jwtSecret);
  for (const { edge } of replicas) {
    const answer = await ask(edge, `refresh?id=${connectionToken}`);
    assert.deepEqual([answer.status, answer.connectionId], [200, connectionId]);
    const refused = await ask(edge, `refresh?id=${connectionToken}`, stranger);
    assert.deepEqual(refused, { status: 403, error: 'user_changed' });
  }
}

test(`by requests through any of three replicas before the ${bridgeName}: every client gets what it is owed, once and in order, also when one is stopped and one is killed`, (t) =>
  runTrial(t, 1));

test('by requests through any of three replicas with native hubs: every client gets what it is owed, once and in order, also when one is stopped and one is killed', (t) =>
  runTrial(t, 0));
