// The ledger while the hubs move to crossfade, back to the bridge, and to crossfade again, under two replicas; then the bridge is stopped for
// good. Clients of every transport reconnect and join again, two participants of a remote session exchange SDP all the time, and everybody
// gets what he is owed, once and in order; whoever looks finds the presence keys of each desktop that is connected.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { apiKey, jwtSecret } from '../support/bridge.ts';
import { type LedgerReport, type Progress, runLedger } from '../support/ledger/ledger.ts';
import { bridgeName, patientFlags, type Replica, setStage } from '../support/ledger/stage.ts';
import { assertAllAccepted, assertNoFault, tell } from '../support/ledger/verdict.ts';
import type { Step } from '../support/ledger/walk.ts';
import { Desktop, PresenceReader } from '../support/presence.ts';
import { connect, HttpTransportType, type HubClient, makeToken } from '../support/signalr.ts';
import { until } from '../support/wait.ts';

/** How often there and back, and with how many calls: CROSSFADE_TEST_MOVES=5 by hand. */
const rounds = Number(process.env.CROSSFADE_TEST_MOVES ?? 1);
const callCount = 800 * (rounds + 1);
/** What a connection that is closed by either side has not sent yet is lost with it. */
const endMarginMs = 2_000;
const session = 'ledger-session';

/** Two participants, one at each replica: an offer, its answer, and so on. */
class SdpExchange {
  readonly #ada: HubClient;
  readonly #bob: HubClient;
  /** How often either went, and who is not back yet. */
  #absences = 0;
  readonly #away = new Set<HubClient>();
  readonly faults: string[] = [];
  done = 0;
  #runs = true;

  private constructor(ada: HubClient, bob: HubClient) {
    this.#ada = ada;
    this.#bob = bob;
  }

  static async begin(t: TestContext, [one, two]: Replica[]): Promise<{ exchange: SdpExchange; end(): Promise<void> }> {
    const enter = async ({ edge }: Replica, user: string) => {
      const token = await makeToken({ sub: user }, jwtSecret);
      const reconnectMs = Array.from({ length: 1_000 }, () => 100);
      return connect(t, `${edge}/hubs/remote-access`, token, { reconnectMs });
    };
    const exchange = new SdpExchange(await enter(one!, 'ada'), await enter(two!, 'bob'));
    for (const client of [exchange.#ada, exchange.#bob]) {
      const { connection } = client;
      const join = () => connection.invoke('JoinSession', session, 'participant');
      connection.onreconnecting(() => {
        exchange.#absences++;
        exchange.#away.add(client);
      });
      // A connection that is lost before it has joined comes back once more.
      connection.onreconnected(
        () =>
          void join().then(
            () => exchange.#away.delete(client),
            () => {},
          ),
      );
      await join();
    }
    const running = exchange.#run();
    return { exchange, end: () => exchange.#end(running) };
  }

  async #end(running: Promise<void>): Promise<void> {
    this.#runs = false;
    await running;
    const seen = [...this.#numbers(this.#bob, 'SdpOffer'), ...this.#numbers(this.#ada, 'SdpAnswer').map((n) => -n)];
    if (new Set(seen).size < seen.length) this.faults.push('something was shown twice');
  }

  async #run(): Promise<void> {
    for (let n = 1; this.#runs; n++) {
      await until(() => this.#away.size === 0, { timeoutMs: 30_000, what: 'both participants to be back' });
      const before = this.#absences;
      const went = await this.#exchange(n).catch(() => false);
      if (went) this.done++;
      else if (this.#absences === before && this.#runs) this.faults.push(`exchange ${n} was lost`);
      await sleep(50);
    }
  }

  async #exchange(n: number): Promise<boolean> {
    await this.#ada.connection.invoke('SendSdpOffer', session, { n, sdp: 'v=0 '.repeat(1_000) });
    if (!(await this.#isShown(this.#bob, 'SdpOffer', n))) return false;
    await this.#bob.connection.invoke('SendSdpAnswer', session, { n, sdp: 'v=0 '.repeat(1_000) });
    return this.#isShown(this.#ada, 'SdpAnswer', n);
  }

  async #isShown(client: HubClient, method: string, n: number): Promise<boolean> {
    const giveUpAt = performance.now() + 5_000;
    while (performance.now() < giveUpAt) {
      if (this.#numbers(client, method).includes(n)) return true;
      await sleep(5);
    }
    return false;
  }

  #numbers(client: HubClient, method: string): number[] {
    return client.of(method).map(({ args }) => (args[0] as { payload: { n: number } }).payload.n);
  }
}

/** Each is there as well by a chat connection at the other replica, which moves before the desktop's, or behind it. */
async function startDesktops(t: TestContext, [one, two]: Replica[]): Promise<Desktop[]> {
  const { WebSockets, ServerSentEvents, LongPolling } = HttpTransportType;
  const places = [
    { user: 'fay', session: 'desk-0', at: one!, chatAt: two!, transport: WebSockets },
    { user: 'fay', session: 'desk-1', at: two!, chatAt: one!, transport: WebSockets },
    { user: 'gus', session: 'desk-2', at: one!, chatAt: two!, transport: ServerSentEvents },
    { user: 'hal', session: 'desk-3', at: two!, chatAt: one!, transport: LongPolling },
    { user: 'ivy', session: 'desk-4', at: two!, chatAt: one!, transport: WebSockets },
    { user: 'jim', session: 'desk-5', at: one!, chatAt: two!, transport: LongPolling },
  ];
  return Promise.all(
    places.map(async ({ user, session, at, chatAt, transport }) => {
      const token = await makeToken({ sub: user }, jwtSecret);
      await connect(t, `${chatAt.edge}/hubs/chat`, token, { reconnectMs: Array.from({ length: 1_000 }, () => 100) });
      return Desktop.start(t, at.edge, user, session, transport);
    }),
  );
}

const title = `two replicas and a ${bridgeName}: every member gets what it is owed while all hubs move to crossfade, back, and there again, and when the bridge is gone`;
test(title, async (t) => {
  const stage = await setStage(t, { replicaCount: 2, bridgeCount: 1, presence: true, flags: patientFlags });
  const [one, two] = stage.replicas as [Replica, Replica];
  await one.operator.force(100).run();
  const { exchange, end } = await SdpExchange.begin(t, stage.replicas);
  const desktops = await startDesktops(t, stage.replicas);
  const presence = await PresenceReader.start(stage.redis, desktops);

  let moves = 0;
  const move = (replica: Replica, kind: 'native' | 'proxy', { readers }: Progress): Step => ({
    name: `hubs ${kind}`,
    run: async () => {
      await replica.operator.moveHubs(kind);
      await until(() => readers.every(({ isBack }) => isBack), { timeoutMs: 60_000, what: 'all readers to be back' });
      const { done } = exchange;
      await until(() => exchange.done > done + 3, { timeoutMs: 30_000, what: 'SDP to be exchanged' });
      moves++;
      await until(() => desktops.every(({ returns }) => returns >= moves), { what: 'all desktops to be back' });
    },
  });
  const report: LedgerReport = await runLedger(t, {
    edges: [one.edge, two.edge],
    addressOf: (_room, number) => (number % 2 === 0 ? one : two).listen,
    apiKey,
    jwtSecret,
    messagePack: stage.messagePack,
    clientCount: 40,
    roomCount: 20,
    callCount,
    durationMs: callCount * 4,
    rules: async () => ({ endMarginMs }),
    walk: (progress) => [
      ...Array.from({ length: rounds }, () => [move(one, 'native', progress), move(two, 'proxy', progress)]).flat(),
      move(one, 'native', progress),
      { name: 'the bridge is stopped for good', run: () => stage.bridges[0]!.kill() },
    ],
  });
  await end();
  await presence.end();
  await tell(t, report, stage.replicas);
  t.diagnostic(`${exchange.done} SDP exchanges`);
  t.diagnostic(`${presence.lookCount} looks at presence keys`);
  assertNoFault(report);
  assertAllAccepted(report);
  assert.deepEqual(exchange.faults, []);
  assert.deepEqual(presence.faults, []);
  assert.deepEqual([presence.gaps, presence.removed], [[], []], 'keys were missing, for so many ms, or removed');
});
