// The edge: the clients' side. In come requests and WebSockets for /hubs/*, out go hub messages.
// Promises: nothing but /hubs/* is served here; whether hubs are native or proxied, members get their messages in order.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { HostPort } from '../config.ts';
import { addressOf, listenOn } from '../listen.ts';
import type { Audience, OutgoingMessage } from './audience.ts';
import { Fanout } from './fanout.ts';
import { Groups } from './groups.ts';
import { readHubPath } from './hub-path.ts';
import type { HubsSide } from './hubs-side.ts';
import { NativeHubs, type NativeHubsOptions } from './native/native-hubs.ts';
import { ProxiedHubs, type ProxiedHubsOptions } from './proxied/proxied-hubs.ts';

interface NativeParts extends Omit<NativeHubsOptions, 'groups'> {
  hubs: 'native';
}

interface ProxyParts extends ProxiedHubsOptions {
  hubs: 'proxy';
}

export type EdgeOptions = { listen: HostPort } & (NativeParts | ProxyParts);

/** Kestrel's: a proxy in front keeps idle connections for as long as it could with the bridge itself. */
const keepAliveMs = 130_000;
/** Of a request line and headers; tokens travel in both, and what is too long the bridge may refuse. */
const maxHeaderBytes = 64 * 1024;

export class Edge implements Audience {
  readonly #server: Server;
  readonly #groups = new Groups();
  readonly #fanout: Fanout;
  readonly #hubs: HubsSide;

  private constructor(options: EdgeOptions) {
    this.#fanout = new Fanout(this.#groups, options.metrics);
    this.#hubs =
      options.hubs === 'native' ? new NativeHubs({ ...options, groups: this.#groups }) : new ProxiedHubs(options);
    this.#server = createServer(
      {
        keepAliveTimeout: keepAliveMs,
        maxHeaderSize: maxHeaderBytes,
        shouldUpgradeCallback: asksForWebSocket,
      },
      (request, response) => this.#answer(request, response),
    );
    this.#server.on('upgrade', (request, socket, head) => this.#upgrade(request, socket as Socket, head));
  }

  static async listen(options: EdgeOptions): Promise<Edge> {
    const edge = new Edge(options);
    await listenOn(edge.#server, options.listen);
    return edge;
  }

  get address(): HostPort {
    return addressOf(this.#server);
  }

  get listening(): boolean {
    return this.#server.listening;
  }

  deliver(messages: OutgoingMessage[]): Promise<void> {
    return this.#fanout.deliver(messages);
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
    this.#server.closeAllConnections();
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    if (readHubPath(request.url!) !== undefined) this.#hubs.answer(request, response);
    else response.writeHead(404, { 'Content-Length': 0 }).end();
  }

  #upgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    socket.on('error', () => socket.destroy());
    if (readHubPath(request.url!) !== undefined) this.#hubs.upgrade(request, socket, head);
    else socket.end('HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
  }
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
