// The ledger's clients: 200 people in 50 rooms, each with a chat connection to a few rooms, some with a ticket or a
// notification connection too. Who uses which transport and protocol follows from the number alone, so that every
// run has the same mix. In go addresses, out come connected readers that end with the test.

import type { TestContext } from 'node:test';
import { HttpTransportType } from '@microsoft/signalr';
import { makeToken } from '../signalr.ts';
import { type Listener, type Place, type ProtocolName, RawLink, RealLink } from './link.ts';
import type { Rooms } from './plan.ts';
import { Reader, type ReaderSpec, readerMethods } from './reader.ts';
import { methods } from './seen.ts';

export interface ClientOptions {
  /** Clients spread over them. */
  edges: string[];
  /** What stands in front of the edges and knows no affinity, where clients with WebSockets come through that. */
  front?: string;
  jwtSecret: string;
  clientCount: number;
  rooms: Rooms;
  /** Whether the bridge speaks MessagePack; every second client then does. */
  messagePack: boolean;
  /** Event streams and long polling alone, all of them through the front. */
  byRequests?: boolean;
  /** Bare WebSockets alone: the real client throws out of reach where its server dies while it connects. */
  bareOnly?: boolean;
}

type Kind = 'real' | 'raw' | 'events' | 'polling';

interface Plan extends ReaderSpec {
  edge: string;
  kind: Kind;
  protocol: ProtocolName;
}

const roomsPerClient = 3;
/** Those who stop reading are in many rooms, so that they fall behind by more than the kernel's buffers hold. */
const roomsPerStalled = 20;
const startedAtOnce = 10;
const maxStarts = 3;
const transports = {
  real: HttpTransportType.WebSockets,
  events: HttpTransportType.ServerSentEvents,
  polling: HttpTransportType.LongPolling,
};

/** @returns the readers, stalled ones included, all of them joined */
export async function connectReaders(t: TestContext, options: ClientOptions): Promise<Reader[]> {
  const plans = Array.from({ length: options.clientCount }, (_, i) => planClient(i, options)).flat();
  const readers: Reader[] = [];
  t.after(() => Promise.all(readers.map((reader) => reader.stop().catch(() => {}))));
  for (let from = 0; from < plans.length; from += startedAtOnce) {
    const together = plans.slice(from, from + startedAtOnce);
    readers.push(...(await Promise.all(together.map((plan) => startReader(t, plan, options.jwtSecret)))));
  }
  return readers;
}

/** Where a first connection fails, an application tries again; that is told. */
async function startReader(t: TestContext, plan: Plan, jwtSecret: string): Promise<Reader> {
  for (let left = maxStarts; ; left--) {
    const reader = await makeReader(plan, jwtSecret);
    try {
      await reader.start();
      return reader;
    } catch (error) {
      await reader.stop().catch(() => {});
      if (left <= 1) throw error;
      t.diagnostic(`${plan.name} (${plan.hub}) connects again: ${(error as Error).message}`);
    }
  }
}

/** @returns such as `60 by WebSocket with the real client in json` */
export function describeMix(options: ClientOptions): string {
  const plans = Array.from({ length: options.clientCount }, (_, i) => planClient(i, options)).flat();
  const names = {
    real: 'real client',
    raw: 'bare WebSocket',
    events: 'real client, SSE',
    polling: 'real client, polls',
  };
  const kinds = plans.map((plan) => `${names[plan.kind]}, ${plan.protocol}${plan.isStalled ? ', stalled' : ''}`);
  const counts = Object.entries(Object.groupBy(kinds, (kind) => kind)).map(([kind, all]) => `${all!.length} ${kind}`);
  return `${plans.length} connections: ${counts.sort().join('; ')}`;
}

/** One person's connections. */
function planClient(
  i: number,
  { edges, front, rooms: { requests, users }, messagePack, byRequests, bareOnly }: ClientOptions,
): Plan[] {
  const kind = byRequests ? (i % 2 === 0 ? 'events' : 'polling') : bareOnly ? 'raw' : kindOf(i);
  const isStalled = i % 20 === 19 && !byRequests;
  const user = users[i] ?? `user-${i}`;
  const count = isStalled ? roomsPerStalled : roomsPerClient;
  const rooms = Array.from({ length: count }, (_, k) => requests[(i + k * 17) % requests.length]!);
  const speaks = (i >> 1) % 2 === 1 && messagePack && kind !== 'events';
  const protocol: ProtocolName = speaks ? 'messagepack' : 'json';
  const own = edges[i % edges.length]!;
  const edge = kind === 'real' || kind === 'raw' || byRequests ? (front ?? own) : own;
  const chat: Plan = {
    name: `client-${i}`,
    user,
    hub: 'chat',
    rooms: [...new Set(rooms)],
    isStalled,
    edge,
    kind,
    protocol,
  };
  const more: Plan[] = [];
  if (i % 8 === 3) more.push({ ...chat, hub: 'ticket' });
  if (i < users.length) more.push({ ...chat, hub: 'notification', rooms: [] });
  return isStalled ? [chat] : [chat, ...more];
}

/** Of 20 people one uses server-sent events, one polls, 5 have the real client on a WebSocket, the rest a bare one. */
function kindOf(i: number): Kind {
  if (i % 20 === 0) return 'events';
  if (i % 20 === 10) return 'polling';
  return i % 4 === 1 ? 'real' : 'raw';
}

async function makeReader({ edge, kind, protocol, ...spec }: Plan, jwtSecret: string): Promise<Reader> {
  const token = await makeToken({ sub: spec.user }, jwtSecret);
  const place: Place = { hubUrl: `${edge}/hubs/${spec.hub}`, token, protocol };
  const heard = [...methods, ...readerMethods];
  const makeLink = (listener: Listener) =>
    kind === 'raw' ? new RawLink(place, listener) : new RealLink(place, transports[kind], heard, listener);
  return new Reader(spec, makeLink);
}
