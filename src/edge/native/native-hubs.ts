// The native hubs: connections that end at crossfade. In come negotiations and WebSockets, out go hub messages.
// Promises: no hub without a valid token; every answer carries CORS; what goes wrong with a connection ends it alone.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { WebSocketServer } from 'ws';
import type { Contract, Hub } from '../../contract/contract.ts';
import type { Event } from '../../contract/event.ts';
import type { Roster } from '../../log/log.ts';
import { refusalOf, refuse, refuseFurther, sendRefusal } from '../../refusal.ts';
import { LogThrottle } from '../../telemetry/log-throttle.ts';
import type { Telemetry } from '../../telemetry/telemetry.ts';
import { ClientBudget, type ClientLimits, maxMessageBytes, type OverBudget, sayOverBudgetMs } from '../budget.ts';
import type { Groups } from '../groups.ts';
import { type HubPath, queryValue } from '../hub-path.ts';
import { type HubsSide, refuseLeaving } from '../hubs-side.ts';
import { defaultSlowLimits, tellSlow } from '../slow-client.ts';
import { Turns } from '../turns.ts';
import { Auth, type AuthOptions } from './auth.ts';
import { type ConnectionLimits, type Invocation, NativeConnection, type NativeOwner } from './connection.ts';
import { Cors } from './cors.ts';
import { Hubs } from './hub.ts';
import { type Negotiated, Negotiations } from './negotiate.ts';

export interface NativeHubsOptions extends Telemetry {
  contract: Contract;
  groups: Groups;
  auth: AuthOptions;
  allowedOrigins: Iterable<string>;
  roster: Roster;
  /** Keeps what a hub method sends to others; resolves when it is kept. */
  publish(event: Event): Promise<void>;
  limits?: Partial<ConnectionLimits>;
  budget?: Partial<ClientLimits>;
}

const defaultLimits: ConnectionLimits = {
  ...defaultSlowLimits,
  maxRecordBytes: 1024 * 1024,
  handshakeTimeoutMs: 15_000,
  pingIntervalMs: 15_000,
  clientTimeoutMs: 30_000,
  closeTimeoutMs: 5_000,
};
const unusedTokenMs = 15_000;
export class NativeHubs implements HubsSide, NativeOwner {
  readonly limits: ConnectionLimits;
  readonly turns: Turns;
  readonly #options: NativeHubsOptions;
  readonly #webSockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    clientTracking: false,
    maxPayload: maxMessageBytes,
  });
  readonly #auth: Auth;
  readonly #cors: Cors;
  readonly #negotiations: Negotiations;
  readonly #hubs: Hubs;
  readonly clients = new Set<NativeConnection>();
  uses = 0;
  readonly #stopSweeping: () => void;
  readonly #saysOverBudget: LogThrottle;
  #refusesNew = false;

  constructor(options: NativeHubsOptions) {
    this.#options = options;
    this.limits = { ...defaultLimits, ...options.limits };
    this.turns = new Turns(() => this.now());
    this.#saysOverBudget = new LogThrottle(options.clock, sayOverBudgetMs);
    this.#auth = new Auth(options.auth);
    this.#cors = new Cors(options.allowedOrigins);
    this.#negotiations = new Negotiations(options.clock, unusedTokenMs);
    this.#hubs = new Hubs({ ...options, onOverBudget: (connection, error) => this.onOverBudget(connection, error) });
    this.#stopSweeping = options.clock.every(1_000, () => this.#sweep());
  }

  /** Everything that is not a WebSocket: preflights, negotiations, and what is told to other transports. */
  async answer(request: IncomingMessage, response: ServerResponse, path: HubPath): Promise<void> {
    if (this.#cors.answerPreflight(request, response)) return;
    this.#cors.apply(request, response);
    if (this.#refusesNew) return refuseLeaving(response);
    if (this.#hubOf(path) === undefined) return refuse(response, 404);
    if ((await this.#identify(request, response, path)) === undefined) return;
    if (path.negotiates) return this.#answerNegotiate(request, response, path);
    this.#answerOtherTransport(request, response, path);
  }

  async upgrade(request: IncomingMessage, socket: Socket, head: Buffer, path: HubPath): Promise<void> {
    const refusal = refusalOf(request);
    this.#cors.apply(request, refusal);
    const admitted = await this.#admit(request, refusal, path);
    if (admitted === undefined) sendRefusal(refusal, socket, this.#options.clock);
    else this.#open(request, socket, head, admitted);
  }

  refuseNew(): void {
    this.#refusesNew = true;
  }

  async close(): Promise<void> {
    this.#stopSweeping();
    await this.#hubs.drain();
  }

  // What a connection tells its owner.

  now(): number {
    return this.#options.clock.monotonic();
  }

  guard(connection: NativeConnection, run: () => unknown): void {
    this.#options.faults.guard('client', run, () => connection.terminate('fault'));
  }

  onConnected(connection: NativeConnection): void {
    this.#options.metrics.connections.inc({ hub: connection.hub.name });
    this.guard(connection, () => this.#hubs.connect(connection).catch((error) => connection.fail(error)));
  }

  onInvocation(connection: NativeConnection, invocation: Invocation): Promise<void> {
    return this.#hubs.invoke(connection, invocation);
  }

  onSlow(connection: NativeConnection): void {
    tellSlow(this.#options, connection.hub.name);
  }

  onOverBudget({ hub, user }: NativeConnection, { code, budget }: OverBudget): void {
    if (!this.#saysOverBudget.isDue()) return;
    this.#options.logger.warn({ code, hub: hub.name, user, budget }, 'a client exceeds its budget');
  }

  onEnd(connection: NativeConnection): void {
    const hub = connection.hub.name;
    this.clients.delete(connection);
    this.#negotiations.release(connection.token);
    if (connection.wasConnected) {
      this.guard(connection, () => this.#hubs.disconnect(connection));
      this.#options.metrics.connections.dec({ hub });
    }
    this.#options.metrics.connectionsClosed.inc({ hub, reason: connection.closeReason });
  }

  #sweep(): void {
    const now = this.now();
    for (const connection of [...this.clients]) this.guard(connection, () => connection.sweep(now));
  }

  #answerNegotiate(request: IncomingMessage, response: ServerResponse, { query }: HubPath): void {
    if (request.method !== 'POST') return refuse(response, 405, 'text/plain');
    const body = JSON.stringify(this.#negotiations.negotiate(query));
    response
      .writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) })
      .end(body);
  }

  /** Server-sent events and long polling are not offered by native hubs; texts as ASP.NET's for such an endpoint. */
  #answerOtherTransport(request: IncomingMessage, response: ServerResponse, { query }: HubPath): void {
    const id = queryValue(query, 'id');
    if (!['GET', 'POST', 'DELETE'].includes(request.method!)) return refuse(response, 405);
    if (id === undefined) return answerText(response, 400, 'Connection ID required');
    if (!this.#negotiations.knows(id)) return answerText(response, 404, 'No Connection with that ID');
    if (request.method === 'POST') {
      return answerText(response, 405, 'POST requests are not allowed for WebSocket connections.');
    }
    if (request.method === 'DELETE') {
      return answerText(response, 400, 'Cannot terminate this connection using the DELETE endpoint.');
    }
    const transport = request.headers.accept?.includes('text/event-stream') ? 'ServerSentEvents' : 'LongPolling';
    answerText(response, 404, `${transport} transport not supported by this end point type`);
  }

  /** @returns undefined where the refusal is filled */
  async #admit(request: IncomingMessage, refusal: ServerResponse, path: HubPath): Promise<Admitted | undefined> {
    if (this.#refusesNew) return refuseLeaving(refusal);
    const hub = this.#hubOf(path);
    if (hub === undefined || path.negotiates) return refuse(refusal, 404);
    const identity = await this.#identify(request, refusal, path);
    if (identity === undefined) return undefined;
    const negotiated = this.#negotiations.take(queryValue(path.query, 'id'));
    if (negotiated === 'taken') return refuse(refusal, 409);
    if (negotiated === 'unknown') {
      refusal.writeHead(404).end('No Connection with that ID');
      return undefined;
    }
    const session = queryValue(path.query, 'sessionId') || undefined;
    return { hub, user: identity.user, session, negotiated };
  }

  #open(request: IncomingMessage, socket: Socket, head: Buffer, { hub, user, session, negotiated }: Admitted): void {
    const { connectionId: id, token } = negotiated;
    const release = () => this.#negotiations.release(token);
    // Who was looked at while it began to refuse is none of those who are told to go.
    if (this.#refusesNew) socket.destroy();
    if (socket.destroyed) return release();
    socket.once('close', release);
    this.#webSockets.handleUpgrade(request, socket, head, (webSocket) => {
      socket.off('close', release);
      const budget = new ClientBudget({
        now: () => this.now(),
        metrics: this.#options.metrics,
        limits: this.#options.budget,
      });
      this.clients.add(new NativeConnection(this, webSocket, socket, { id, token, hub, user, session, budget }));
    });
  }

  /** @returns undefined when a 401 was answered */
  async #identify(
    request: IncomingMessage,
    response: ServerResponse,
    { query }: HubPath,
  ): Promise<{ user: string | undefined } | undefined> {
    const identity = await this.#auth.identify(request, query);
    if ('user' in identity) return identity;
    this.#options.logger.debug({ code: 'EDGE_TOKEN_INVALID' }, identity.challenge);
    response.setHeader('WWW-Authenticate', identity.challenge);
    refuse(response, 401);
    return undefined;
  }

  #hubOf({ hub }: HubPath): Hub | undefined {
    return this.#options.contract.hub(hub);
  }
}

/** A client that may have its WebSocket. */
interface Admitted {
  hub: Hub;
  user: string | undefined;
  /** The desktop session named in the URL's query. */
  session: string | undefined;
  negotiated: Negotiated;
}

function answerText(response: ServerResponse, status: number, text: string): void {
  refuseFurther(response);
  response.writeHead(status, { 'Content-Type': 'text/plain', 'Content-Length': Buffer.byteLength(text) }).end(text);
}
