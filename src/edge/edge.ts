// The edge: the clients' side. In come requests and WebSockets for /hubs/*, out go hub messages.
// Promises: nothing but /hubs/* is served here; whether hubs are native or proxied, members get their messages in order.

import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { Socket } from 'node:net';
import { type HostPort, nameOf } from '../config.ts';
import type { Delivery } from '../contract/event.ts';
import { addressOf, listenOn } from '../listen.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Audience, Member, OutgoingMessage } from './audience.ts';
import { Fanout } from './fanout.ts';
import { Groups } from './groups.ts';
import { readHubPath } from './hub-path.ts';
import type { HubsSide } from './hubs-side.ts';
import { NativeHubs, type NativeHubsOptions } from './native/native-hubs.ts';
import { ProxiedConnections, type ProxiedConnectionsOptions } from './proxied/proxied-connections.ts';
import { ProxiedHubs, type ProxiedHubsOptions } from './proxied/proxied-hubs.ts';
import type { Twin } from './proxied/twins.ts';
import type { UnshownEvent } from './proxied/unshown.ts';

interface NativeParts extends Omit<NativeHubsOptions, 'groups'> {
  hubs: 'native';
}

interface ProxyParts extends Omit<ProxiedHubsOptions, 'open'>, Omit<ProxiedConnectionsOptions, 'groups' | 'isWaiting'> {
  hubs: 'proxy';
  metrics: Metrics;
}

export type EdgeOptions = { listen: HostPort } & (NativeParts | ProxyParts);

/** Kestrel's: a proxy in front keeps idle connections for as long as it could with the bridge itself. */
const keepAliveMs = 130_000;
/** Of a request line and headers; tokens travel in both, and what is too long the bridge may refuse. */
const maxHeaderBytes = 64 * 1024;
const sweepMs = 1_000;

export class Edge implements Audience {
  readonly #server: Server;
  readonly #groups = new Groups();
  readonly #fanout: Fanout;
  readonly #hubs: HubsSide;
  /** Those that end at a bridge; undefined where hubs are native. */
  readonly #proxied: ProxiedConnections | undefined;
  readonly #stopSweeping: () => void;

  private constructor(options: EdgeOptions) {
    const { clock, metrics } = options;
    this.#fanout = new Fanout(this.#groups, metrics);
    if (options.hubs === 'native') {
      this.#hubs = new NativeHubs({ ...options, groups: this.#groups });
    } else {
      const isWaiting = (eventId: string, member: Member) => this.#fanout.isWaiting(eventId, member);
      const proxied = new ProxiedConnections({ ...options, groups: this.#groups, isWaiting });
      this.#proxied = proxied;
      this.#hubs = new ProxiedHubs({ ...options, open: (facts, leg) => proxied.open(facts, leg) });
    }
    this.#stopSweeping = clock.every(sweepMs, () => this.#proxied?.sweep(clock.monotonic()));
    this.#server = serverOf(this.#hubs);
  }

  static async listen(options: EdgeOptions): Promise<Edge> {
    const edge = new Edge(options);
    await listenOn(edge.#server, options.listen, nameOf('edge'));
    return edge;
  }

  get address(): HostPort {
    return addressOf(this.#server);
  }

  get listening(): boolean {
    return this.#server.listening;
  }

  async deliver(messages: OutgoingMessage[]): Promise<void> {
    this.#proxied?.noteDelivered(messages);
    await this.#fanout.deliver(messages);
    this.#proxied?.noteWritten(messages);
  }

  countMembers(deliveries: Delivery[]): number {
    return this.#fanout.countMembers(deliveries);
  }

  /** The log's events of these rooms that the bridge may overtake: being written, or behind a fence. */
  unshown(covers: (room: string) => boolean): UnshownEvent[] {
    return this.#proxied?.unshown(covers) ?? [];
  }

  /** Resolves when what is unshown of these rooms now is shown, or after `limitMs`. */
  async untilShown(covers: (room: string) => boolean, limitMs: number): Promise<void> {
    await this.#proxied?.untilShown(covers, limitMs);
  }

  /**
   * From now on the stream lane's events of these rooms wait at every proxied connection that exists, or is born before
   * fence() with this id.
   */
  hold(id: string, covers: (room: string) => boolean): void {
    this.#proxied?.hold(id, covers);
  }

  /** Fences every proxied connection; each goes on with what has waited when its fence is back. Never rejects. */
  async fence(id: string): Promise<void> {
    await this.#proxied?.fence(id);
  }

  /** Fences the members of these groups alone, before what is delivered next for the room is shown to them. */
  fenceMembers(room: string, deliveries: Delivery[]): void {
    this.#proxied?.fenceMembers(room, deliveries);
  }

  /** An event that may come by both lanes. */
  expectTwin(twin: Twin): void {
    this.#proxied?.expectTwin(twin);
  }

  /** The bridge's copy is shown wherever it will be; the log's may still come. */
  twinShown(eventId: string): void {
    this.#proxied?.twinShown(eventId);
  }

  /** Whether new proxied connections prove at once that their hub's connect has ended: only while the stream lane is used. */
  proveConnects(proves: boolean): void {
    if (this.#proxied !== undefined) this.#proxied.provesConnects = proves;
  }

  /** Closes every client so that it reconnects (and fetches history); resolves when all are gone, cut off if need be. */
  closeClients(reason: 'gap' | 'shutdown'): Promise<void> {
    return this.#hubs.closeClients(reason);
  }

  /** Takes no new clients, closes those there are, and waits for what their ends have published. */
  async close(): Promise<void> {
    this.#server.close();
    this.#server.closeIdleConnections();
    await this.#hubs.close();
    this.#stopSweeping();
    this.#server.closeAllConnections();
  }
}

/** The server that shows `/hubs/*` to these hubs and answers 404 to everything else. */
export function serverOf(hubs: HubsSide): Server {
  const options = {
    keepAliveTimeout: keepAliveMs,
    maxHeaderSize: maxHeaderBytes,
    shouldUpgradeCallback: asksForWebSocket,
  };
  const server = createServer(options, (request, response) => {
    if (readHubPath(request.url!) !== undefined) hubs.answer(request, response);
    else response.writeHead(404, { 'Content-Length': 0 }).end();
  });
  server.on('upgrade', (request, socket, head) => {
    socket.on('error', () => socket.destroy());
    if (readHubPath(request.url!) !== undefined) hubs.upgrade(request, socket as Socket, head);
    else socket.end('HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
  });
  return server;
}

/** ASP.NET's own check; whatever else asks for an upgrade is an ordinary request there, and so it is here. */
function asksForWebSocket({ method, headers }: IncomingMessage): boolean {
  return (
    method === 'GET' &&
    headers.upgrade?.toLowerCase() === 'websocket' &&
    headers['sec-websocket-version'] === '13' &&
    /^[A-Za-z0-9+/]{22}==$/.test(headers['sec-websocket-key'] ?? '')
  );
}
