// Native hubs over real sockets with the built-in contract, a hand-made roster and log, and time in the test's hand.

import { readFileSync } from 'node:fs';
import type { TestContext } from 'node:test';
import type { Event } from '../../../src/contract/event.ts';
import { loadContract } from '../../../src/contract/load.ts';
import type { ClientLimits } from '../../../src/edge/budget.ts';
import { Edge } from '../../../src/edge/edge.ts';
import type { ConnectionLimits } from '../../../src/edge/native/connection.ts';
import type { RelayPeers } from '../../../src/edge/relay/relay.ts';
import { PeerSignature } from '../../../src/peers/peer-signature.ts';
import { Faults } from '../../../src/telemetry/faults.ts';
import { silentLogger } from '../../../src/telemetry/logger.ts';
import { type Budget, createMetrics } from '../../../src/telemetry/metrics.ts';
import { jwtSecret } from '../../support/bridge.ts';
import { TestClock } from '../../support/clock.ts';
import { makeToken, openRaw, type RawClient } from '../../support/signalr.ts';
import { until } from '../../support/wait.ts';

const contractFile = new URL('../../../src/contract/support-center.yaml', import.meta.url);

/** One replica alone, of a release that gives tokens without tags. */
const noPeers: RelayPeers = {
  peers: {
    tag: '',
    allRelay: false,
    find: async () => undefined,
    refresh: async () => [],
    ask: async () => ({ answers: [], notReached: [] }),
  },
  signature: new PeerSignature({ instance: 'a', secret: undefined, clock: new TestClock() }),
};

export async function startEdge(
  t: TestContext,
  limits: Partial<ConnectionLimits> = {},
  budget: Partial<ClientLimits> = {},
  others: RelayPeers = noPeers,
) {
  const clock = new TestClock();
  const counters = new Map<string, number>();
  const presence: string[] = [];
  const published: Event[] = [];
  const metrics = createMetrics();
  const log = { keep: async (_event: Event): Promise<void> => {} };
  const edge = new Edge({
    contract: loadContract(readFileSync(contractFile, 'utf8'), 'support-center.yaml'),
    hadBridge: false,
    native: {
      auth: { secret: jwtSecret, jwksUrl: undefined },
      allowedOrigins: ['https://app.example'],
      limits,
      budget,
    },
    roster: {
      set: (counter, value) => {
        if (value === 0) counters.delete(counter);
        else counters.set(counter, value);
      },
      read: async () => [counters],
      describe: () => {},
      replicas: async () => [{ instance: 'a', facts: {}, counters }],
      holdPresence: (user, session) => presence.push(`hold ${user} ${session}`),
      keepPresence: () => {},
      releasePresence: (user, counter) => presence.push(`release ${user} ${counter}`),
    },
    clock,
    faults: new Faults(silentLogger, metrics),
    logger: silentLogger,
    metrics,
  });
  edge.connect({
    publish: async (event) => {
      published.push(event);
      await log.keep(event);
    },
    untilLogIsRead: () => undefined,
    onHubTyping: () => {},
    others,
  });
  await edge.listen({ host: '127.0.0.1', port: 0 });
  t.after(async () => {
    const closed = edge.close();
    await until(() => clock.timers > 0 || true);
    clock.advance(10_000);
    await closed;
  });
  const url = `http://127.0.0.1:${edge.address.port}/hubs`;
  /** What has been counted of this budget. */
  const exceeded = async (name: Budget) => {
    const { values } = await metrics.overBudget.get();
    return values.find(({ labels }) => labels.budget === name)!.value;
  };
  return {
    exceeded,
    metrics,
    edge,
    url,
    clock,
    counters,
    presence,
    published,
    log,
    token: await makeToken({ sub: 'u1' }, jwtSecret),
  };
}

export async function shaken(t: TestContext, url: string, token: string): Promise<RawClient> {
  const client = await openRaw(t, url, token);
  client.shakeHands();
  await until(() => client.records.length > 0, { what: 'the handshake' });
  return client;
}

export async function joined(t: TestContext, url: string, token: string, room: string): Promise<RawClient> {
  const client = await shaken(t, `${url}/chat`, token);
  client.sendRecord({ type: 1, invocationId: '0', target: 'JoinRoom', arguments: [room] });
  await until(() => client.records.length === 3, { what: 'the join' });
  return client;
}
