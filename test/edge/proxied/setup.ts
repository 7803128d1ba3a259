// The proxied edge as its tests start it: in front of bridges of their choice, with a Tap that shows what passes and
// speaks through the Leg when the test says so. Closed when the test ends.

import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { BridgeAddresses } from '../../../src/bridge/addresses.ts';
import { loadContract } from '../../../src/contract/load.ts';
import { Door } from '../../../src/edge/door.ts';
import { Leaving } from '../../../src/edge/leaving.ts';
import { Prepared } from '../../../src/edge/prepared.ts';
import type { ConnectionFacts } from '../../../src/edge/proxied/connection.ts';
import type { Leg, Tap } from '../../../src/edge/proxied/leg.ts';
import { ProxiedHubs, type ProxiedHubsOptions } from '../../../src/edge/proxied/proxied-hubs.ts';
import { Relay, type RelayPeers } from '../../../src/edge/relay/relay.ts';
import { addressOf, listenOn } from '../../../src/listen.ts';
import { type Clock, systemClock } from '../../../src/telemetry/clock.ts';
import { Faults } from '../../../src/telemetry/faults.ts';
import { silentLogger } from '../../../src/telemetry/logger.ts';
import { createMetrics, type Metrics } from '../../../src/telemetry/metrics.ts';

const contractFile = new URL('../../../src/contract/support-center.yaml', import.meta.url);

/** A connection as its Tap sees it. */
export class TestTap implements Tap {
  readonly facts: ConnectionFacts;
  readonly leg: Leg;
  readonly sent: string[] = [];
  readonly received: string[] = [];
  ends = 0;
  lastUse = 0;
  user: string | undefined;
  company = '';
  /** What the client gets of the bridge's bytes; all of it unless a test says otherwise. */
  cutting: (data: Buffer) => Buffer | undefined = (data) => data;
  /** ... in several pieces, with what is injected between them. */
  splitting: Tap['fromBridge'] = (data, handOn) => {
    const shown = this.cutting(data);
    if (shown !== undefined) handOn(shown);
  };

  constructor(facts: ConnectionFacts, leg: Leg) {
    this.facts = facts;
    this.leg = leg;
  }

  /** Set while the replica has not read the log for a while. */
  ready: Promise<void> | undefined;

  untilReady(): Promise<void> | undefined {
    return this.ready;
  }

  fromClient(data: Buffer): void {
    this.sent.push(data.toString());
  }

  fromBridge(data: Buffer, handOn: (shown: Buffer) => void): void {
    this.received.push(data.toString());
    this.splitting(data, handOn);
  }

  /** How often the client has got all that waited for it. */
  caughtUps = 0;

  caughtUp(): void {
    this.caughtUps++;
  }

  /** Resolves when the bridge has answered, which it does at once unless a test says otherwise. */
  fenced: Promise<void> = Promise.resolve();

  fence(): Promise<void> {
    return this.fenced;
  }

  ended(): void {
    this.ends++;
  }

  /** A message of the stream lane. @returns the record as the client gets it */
  inject(payload: string, method = 'Injected'): string {
    this.leg.inject(new Prepared('r', [{ method, payload, eventId: '' }]), 'json');
    return `{"type":1,"target":"${method}","arguments":[${payload}]}`;
  }
}

export interface ProxiedEdge {
  /** `http://host:port` */
  url: string;
  hubs: ProxiedHubs;
  addresses: BridgeAddresses;
  /** Every connection that was opened, in order. */
  taps: TestTap[];
  door: Door;
  metrics: Metrics;
  /** A connection of another replica for requests of its clients. */
  takePeer(socket: Socket): void;
  relay: Relay;
  /** Tells every client to come back; resolves when all are gone. */
  closeClients(): Promise<void>;
}

export interface ProxiedEdgeOptions extends Partial<Pick<ProxiedHubsOptions, 'share' | 'shared' | 'logger'>> {
  clock?: Clock;
  stalledMs?: number;
  /** The other replicas; without them tokens have no tags. */
  others?: RelayPeers;
  maxRelayed?: number;
}

/** @param bridges base URLs */
export async function startProxiedEdge(
  t: TestContext,
  bridges: string[],
  options: ProxiedEdgeOptions = {},
): Promise<ProxiedEdge> {
  const { clock = systemClock, stalledMs, others, maxRelayed, ...rest } = options;
  const metrics = createMetrics();
  const faults = new Faults(silentLogger, metrics);
  const taps: TestTap[] = [];
  const addresses = await BridgeAddresses.open(bridges, { clock });
  const hubs = new ProxiedHubs({
    addresses,
    contract: loadContract(readFileSync(contractFile, 'utf8'), 'support-center.yaml'),
    open: (facts, leg) => {
      const tap = new TestTap(facts, leg);
      taps.push(tap);
      return tap;
    },
    tagFor: (bridge) => relay.tagFor(bridge),
    share: async () => {},
    shared: async () => undefined,
    clock,
    faults,
    logger: silentLogger,
    ...rest,
  });
  const relay: Relay = new Relay({ hubs, clock, faults, metrics, logger: silentLogger, maxRelayed });
  if (others !== undefined) relay.connect(others);
  const door = new Door(relay, { clock, faults, metrics, stalledMs });
  const { server } = door;
  await listenOn(server, { host: '127.0.0.1', port: 0 }, '--edge');
  t.after(async () => {
    for (const { leg } of taps) leg.cut();
    addresses.close();
    server.close();
    await hubs.close();
    await relay.close();
    server.closeAllConnections();
  });
  const leaving = new Leaving(hubs, { clock, faults, untilMayMove: async () => {} });
  const closeClients = () => leaving.closeAll('gap');
  const takePeer = (socket: Socket) => {
    relay.trust(socket);
    server.emit('connection', socket);
  };
  const url = `http://127.0.0.1:${addressOf(server).port}`;
  return { url, hubs, addresses, taps, door, metrics, takePeer, relay, closeClients };
}
