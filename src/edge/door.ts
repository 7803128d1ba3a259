// The edge's door: all that a client gets to do before a hub knows it. In come its connections, out go requests and upgrades
// for /hubs/*, each with its path read once; everything else is refused here.
// Promises: what goes wrong with a connection ends that connection alone; who is refused is gone within seconds, whatever it
// does; a client has one request at the hubs at a time, and no answer that nobody takes is kept.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { endWithinBound, refusalOf, refuse, sendRefusal } from '../refusal.ts';
import { hasBody } from '../request-body.ts';
import type { Clock } from '../telemetry/clock.ts';
import type { Faults } from '../telemetry/faults.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { type HubPath, readHubPath, tooLong } from './hub-path.ts';
import type { HubsSide } from './hubs-side.ts';

export interface DoorOptions {
  clock: Clock;
  faults: Faults;
  metrics: Pick<Metrics, 'overBudget' | 'slowClients'>;
  /** ms for which a client may take nothing of an answer that it has asked for. */
  stalledMs?: number;
}

/** Kestrel's: a proxy in front keeps idle connections for as long as it could with the bridge itself. */
const keepAliveMs = 130_000;
/** Kestrel's. */
const headersMs = 30_000;
const checkMs = 5_000;
/** Of a request line and headers; tokens travel in both, and what is too long the bridge may refuse. */
const maxHeaderBytes = 64 * 1024;
/** Requests of one connection that wait for the answers before theirs. No client of SignalR sends ahead. */
const maxWaiting = 16;
const standardStalledMs = 30_000;

interface Exchange {
  request: IncomingMessage;
  response: ServerResponse;
}

export class Door {
  readonly server: Server;
  readonly #hubs: Pick<HubsSide, 'answer' | 'upgrade'>;
  readonly #clock: Clock;
  readonly #faults: Faults;
  readonly #metrics: DoorOptions['metrics'];
  readonly #stalledMs: number;
  /** What each connection has asked and not been answered, the oldest at the hubs, the others waiting. */
  readonly #exchanges = new Map<Socket, Exchange[]>();

  constructor(
    hubs: Pick<HubsSide, 'answer' | 'upgrade'>,
    { clock, faults, metrics, stalledMs = standardStalledMs }: DoorOptions,
  ) {
    this.#hubs = hubs;
    this.#clock = clock;
    this.#faults = faults;
    this.#metrics = metrics;
    this.#stalledMs = stalledMs;
    this.server = createServer({
      keepAliveTimeout: keepAliveMs,
      headersTimeout: headersMs,
      connectionsCheckingInterval: checkMs,
      maxHeaderSize: maxHeaderBytes,
      shouldUpgradeCallback: asksForWebSocket,
      // Node would answer by itself, out of turn: see #read.
      requireHostHeader: false,
    });
    this.server.on('connection', (socket) => this.#onConnection(socket));
    this.server.on('request', (request, response) =>
      this.#contain(request.socket, () => this.#onRequest(request, response)),
    );
    // As above; Kestrel, which knows `100-continue` alone, takes it for any request.
    this.server.on('checkExpectation', (request, response) =>
      this.#contain(request.socket, () => this.#onRequest(request, response)),
    );
    this.server.on('upgrade', (request, stream, head) => {
      const { socket } = request;
      socket.on('error', destroyIt);
      // Around a socket whose request has a body Node puts a stream of its own, which tells of the socket's errors again.
      if (stream !== socket) stream.on('error', destroyerOf(socket));
      this.#contain(socket, () => this.#onUpgrade(request, head));
    });
    this.server.on('timeout', (socket) => this.#onTimeout(socket));
    // Such as a lack of descriptors for a new connection.
    this.server.on('error', (error) => faults.report('edge', error));
  }

  /** Ends connections that take nothing of their answer; called about once a second. */
  sweep(): void {
    for (const [socket, [current]] of this.#exchanges) {
      if (current === undefined) continue;
      const owes = current.response.writableLength > 0;
      // Node's own timeout sees how far a large write has come.
      if (owes !== (socket.timeout === this.#stalledMs)) socket.setTimeout(owes ? this.#stalledMs : 0);
    }
  }

  #contain(socket: Socket, run: () => unknown): void {
    this.#faults.contain('edge', run, () => socket.destroy());
  }

  #onConnection(socket: Socket): void {
    this.#exchanges.set(socket, []);
    socket.once('close', () => this.#exchanges.delete(socket));
  }

  /** It was idle for too long, or has taken nothing of its answer. */
  #onTimeout(socket: Socket): void {
    if (this.#exchanges.get(socket)?.length !== 0) this.#metrics.slowClients.inc();
    socket.destroy();
  }

  /** Answers come one after the other, as with Kestrel: what is asked meanwhile waits for its turn. */
  #onRequest(request: IncomingMessage, response: ServerResponse): unknown {
    const { socket } = request;
    const exchanges = this.#exchanges.get(socket);
    if (exchanges === undefined || socket.destroyed) return socket.destroy();
    if (exchanges.length > maxWaiting) {
      this.#metrics.overBudget.inc({ budget: 'pipelined_requests' });
      return socket.destroy();
    }
    response.once('finish', () => request.complete || endWithinBound(socket, this.#clock));
    response.once('close', () => {
      exchanges.shift();
      const next = exchanges[0];
      if (next !== undefined && socket.writable) this.#contain(socket, () => this.#answer(next));
    });
    exchanges.push({ request, response });
    return exchanges.length === 1 ? this.#answer({ request, response }) : undefined;
  }

  #answer({ request, response }: Exchange): unknown {
    const path = this.#read(request);
    return typeof path === 'number' ? refuse(response, path) : this.#hubs.answer(request, response, path);
  }

  #onUpgrade(request: IncomingMessage, head: Buffer): unknown {
    const { socket } = request;
    // Behind a request without its whole answer: that one would be written to this socket as well.
    if (this.#exchanges.get(socket)?.length !== 0) return socket.destroy();
    this.#exchanges.delete(socket);
    // As with Kestrel.
    const path = hasBody(request) ? 400 : this.#read(request);
    if (typeof path !== 'number') return this.#hubs.upgrade(request, socket, head, path);
    const refusal = refusalOf(request);
    refuse(refusal, path);
    return sendRefusal(refusal, socket, this.#clock);
  }

  /** @returns the path of a hub, or the status of its refusal */
  #read({ url, headers, httpVersion }: IncomingMessage): HubPath | number {
    // As with Kestrel.
    if (headers.host === undefined && httpVersion === '1.1') return 400;
    const refusal = tooLong(url!);
    if (refusal === undefined) return readHubPath(url!) ?? 404;
    this.#metrics.overBudget.inc({ budget: 'request_line' });
    return refusal;
  }
}

/** A listener that closes over a request keeps it, with all its headers, for as long as the WebSocket lives: a kB each. */
function destroyIt(this: Socket): void {
  this.destroy();
}

function destroyerOf(socket: Socket): () => void {
  return () => socket.destroy();
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
