// Proxied connections with a hand-made transport: a test speaks for the client and for the bridge, and reads what
// reaches the client, in its order, from both lanes.

import { readFileSync } from 'node:fs';
import type { Delivery, Event } from '../../../src/contract/event.ts';
import { loadContract } from '../../../src/contract/load.ts';
import type { OutgoingMessage } from '../../../src/edge/audience.ts';
import { Fanout } from '../../../src/edge/fanout.ts';
import { Groups } from '../../../src/edge/groups.ts';
import type { TappedRecord } from '../../../src/edge/hub-protocol/json.ts';
import { messagePack } from '../../../src/edge/hub-protocol/messagepack.ts';
import type { HubProtocolName } from '../../../src/edge/hub-protocol/protocol.ts';
import type { Prepared } from '../../../src/edge/prepared.ts';
import { codecs, cutRecords } from '../../../src/edge/proxied/codec.ts';
import type { HubTyping } from '../../../src/edge/proxied/hub-typing.ts';
import type { Leg, Tap } from '../../../src/edge/proxied/leg.ts';
import { ProxiedConnections } from '../../../src/edge/proxied/proxied-connections.ts';
import type { SlowClientLimits } from '../../../src/edge/slow-client.ts';
import { Faults } from '../../../src/telemetry/faults.ts';
import { silentLogger } from '../../../src/telemetry/logger.ts';
import { createMetrics } from '../../../src/telemetry/metrics.ts';
import { TestClock } from '../../support/clock.ts';

const contractFile = new URL('../../../src/contract/support-center.yaml', import.meta.url);
const contract = loadContract(readFileSync(contractFile, 'utf8'), 'support-center.yaml');

export type Told = Record<string, unknown>;

/** The transport, the client and the bridge of one connection. */
export class FakeConnection implements Leg {
  readonly protocol: HubProtocolName;
  tap!: Tap;
  backlogBytes = 0;
  readsBridge = true;
  wasCut = false;
  /** What the client got: of the bridge (`bridge …`) and of the log (`log …`), by the first argument of each record. */
  readonly got: string[] = [];
  /** Invocation ids of what crossfade itself has sent to the bridge. */
  readonly fences: string[] = [];

  constructor(protocol: HubProtocolName) {
    this.protocol = protocol;
  }

  inject(prepared: Prepared, protocol: HubProtocolName): void {
    const bytes = protocol === 'json' ? prepared.json : prepared.messagePack;
    for (const record of this.#read(bytes)) this.got.push(`log ${named(record)}`);
  }

  sendToBridge(record: Buffer): void {
    const [read] = this.#read(record);
    this.fences.push(read!.invocationId!);
  }

  cut(): void {
    this.wasCut = true;
    this.tap.ended();
  }

  /** Both sides shake hands. */
  shakeHands(): void {
    this.tap.fromClient(Buffer.from(`{"protocol":"${this.protocol}","version":1}\x1e`));
    this.passes(Buffer.from('{}\x1e'));
  }

  invoke(target: string, args: unknown[], invocationId?: string): void {
    this.tap.fromClient(this.invocation(target, args, invocationId));
  }

  /** The bridge sends one message. @returns what the client gets of it: the message itself where nothing was cut out */
  bridgeSends(...records: Buffer[]): Buffer | undefined {
    return this.passes(records.length === 1 ? records[0]! : Buffer.concat(records), (shown) => {
      for (const record of this.#read(shown)) this.got.push(`bridge ${named(record)}`);
    });
  }

  /** The same for any bytes of the bridge. */
  passes(bytes: Buffer, onShown: (shown: Buffer) => void = () => {}): Buffer | undefined {
    const all: Buffer[] = [];
    this.tap.fromBridge(bytes, (shown) => {
      all.push(shown);
      onShown(shown);
    });
    if (all.length === 0) return undefined;
    return all.length === 1 ? all[0]! : Buffer.concat(all);
  }

  invocation(target: string, args: unknown[], invocationId?: string): Buffer {
    if (this.protocol === 'messagepack') {
      return messagePack.invocation(
        target,
        args.map((arg) => JSON.stringify(arg)),
        invocationId,
      );
    }
    return record({ type: 1, invocationId, target, arguments: args });
  }

  completion(invocationId: string, error?: string): Buffer {
    if (this.protocol === 'json') return record({ type: 3, invocationId, ...(error ? { error } : { result: null }) });
    // [3, {}, id, kind, nil or error]; short ids and errors only.
    const text = (value: string) => [0xa0 | value.length, ...Buffer.from(value)];
    const body = [0x95, 3, 0x80, ...text(invocationId), error ? 1 : 3, ...(error ? text(error) : [0xc0])];
    return Buffer.from([body.length, ...body]);
  }

  /** The bridge answers the oldest fence that is out, in a message of its own or behind other records. */
  fenceComesBack(...before: Buffer[]): Buffer | undefined {
    return this.bridgeSends(...before, this.fenceAnswer());
  }

  fenceAnswer(): Buffer {
    return this.completion(this.fences.shift()!, 'no such method');
  }

  #read(bytes: Buffer): TappedRecord[] {
    const codec = codecs[this.protocol];
    return cutRecords(codec, bytes)!.map((one) => codec.readRecord(one)!);
  }
}

export function setUp(limits: Partial<SlowClientLimits> = {}) {
  const groups = new Groups();
  const clock = new TestClock();
  const metrics = createMetrics();
  const counters = new Map<string, number>();
  /** Who typed through the bridge's hub, as the connections told. */
  const typings: HubTyping[] = [];
  /** Whether the hubs have native members, and what these were to be shown. */
  const crossing: { isOn: boolean; events: Event[] } = { isOn: false, events: [] };
  const faults = new Faults(silentLogger, metrics);
  const toMembers = new Fanout(groups, metrics, faults);
  const proxied = new ProxiedConnections({
    untilLogIsRead: () => undefined,
    overheard: {
      onTyping: (typing) => typings.push(typing),
      crosses: () => crossing.isOn,
      onCrossing: (event) => crossing.events.push(event),
    },
    online: { connected() {}, holds() {}, standIn: async () => {}, ended() {} },
    isMoving: () => false,
    groups,
    roster: { set: (counter, value) => counters.set(counter, value) },
    clock,
    faults,
    logger: silentLogger,
    metrics,
    limits,
  });
  const fanout = {
    async deliver(messages: OutgoingMessage[]) {
      proxied.willWrite(messages);
      await toMembers.deliver(messages);
      proxied.didWrite(messages);
    },
  };
  let tokens = 0;

  /** A connection before its handshake. */
  const open = (
    hub: string,
    { user = 'u1', protocol = 'json' }: { user?: string | null; protocol?: HubProtocolName } = {},
  ) => {
    const connection = new FakeConnection(protocol);
    const facts = { hub: contract.hub(hub)!, token: `token ${++tokens}`, user: user ?? undefined };
    connection.tap = proxied.open(facts, connection);
    return connection;
  };
  const connect = (...args: Parameters<typeof open>) => {
    const connection = open(...args);
    connection.shakeHands();
    return connection;
  };
  /** A client of the chat hub that is in this room. */
  const joined = (room: string, options: Parameters<typeof open>[1] = {}) => {
    const connection = connect('chat', options);
    connection.invoke('JoinRoom', [room], 'join');
    connection.bridgeSends(connection.invocation('RoomJoined', [room]), connection.completion('join'));
    connection.got.length = 0;
    return connection;
  };
  const members = (hub: string, group: string) => groups.members(hub, group)?.size ?? 0;
  /** An event of the log, for the room's group of the chat hub. */
  const deliver = (room: string, payload: unknown, { eventId = '', method = 'M' } = {}) => {
    const deliveries: Delivery[] = [{ hub: 'chat', group: `request:${room}`, method }];
    return fanout.deliver([{ room, payload: JSON.stringify(payload), deliveries, eventId }]);
  };
  const metric = async (name: string) => (await metrics.registry.getSingleMetric(name)!.get()).values;
  return {
    proxied,
    groups,
    fanout,
    clock,
    counters,
    typings,
    crossing,
    open,
    connect,
    joined,
    members,
    deliver,
    metric,
  };
}

/** What was queued behind the message that has just passed. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

export function record(message: Told): Buffer {
  return Buffer.from(`${JSON.stringify(message)}\x1e`);
}

function named(read: TappedRecord): string {
  if (read.target === undefined) return `type ${read.type}`;
  const [argument] = read.args;
  return typeof argument === 'string' ? argument : JSON.stringify(argument);
}
