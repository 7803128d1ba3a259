// The native hubs: connections that end at crossfade. In come negotiations, WebSockets and the requests of the other transports, out go
// hub messages.
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
import {
  ClientBudget,
  type ClientBudgetParts,
  type ClientLimits,
  defaultClientLimits,
  maxMessageBytes,
  type OverBudget,
  sayOverBudgetMs,
} from '../budget.ts';
import type { Groups } from '../groups.ts';
import { type HubPath, queryValue } from '../hub-path.ts';
import { type HubsSide, refuseLeaving } from '../hubs-side.ts';
import type { Relay } from '../relay/relay.ts';
import { defaultSlowLimits, tellSlow } from '../slow-client.ts';
import { Turns } from '../turns.ts';
import { Auth, type AuthOptions, type Identified } from './auth.ts';
import { answerText, ByRequests, otherTransport } from './by-requests.ts';
import { type ConnectionLimits, type Invocation, NativeConnection, type NativeOwner } from './connection.ts';
import { Cors } from './cors.ts';
import { Hubs, type HubsOptions } from './hub.ts';
import type { PollLimits } from './long-polling.ts';
import { connectionIdOf, type Lifetime, type Negotiated, Negotiations } from './negotiate.ts';
import type { NativeTransport } from './transport.ts';
import { NativeWebSocket } from './web-socket.ts';

export interface NativeHubsOptions extends Telemetry {
  contract: Contract;
  groups: Groups;
  auth: AuthOptions;
  allowedOrigins: Iterable<string>;
  roster: Pick<Roster, 'set'>;
  online: HubsOptions['online'];
  /** Whether connections of this hub end because it has moved. */
  isMoving(hub: string): boolean;
  /** Keeps what a hub method sends to others; resolves when it is kept. */
  publish(event: Event): Promise<void>;
  /** What stands in front of a token, and whose connection is at another replica. */
  relay: Pick<Relay, 'tagFor' | 'askUser'>;
  limits?: Partial<ConnectionLimits & PollLimits>;
  budget?: Partial<ClientLimits>;
}

const defaultLimits: ConnectionLimits & PollLimits = {
  ...defaultSlowLimits,
  maxRecordBytes: 1024 * 1024,
  handshakeTimeoutMs: 15_000,
  pingIntervalMs: 15_000,
  clientTimeoutMs: 30_000,
  closeTimeoutMs: 5_000,
  pollMs: 90_000,
  awayMs: 15_000,
};
const unusedTokenMs = 15_000;
/** s: the largest that .NET reads. */
const maxLifetime = 2 ** 31 - 1;

export class NativeHubs implements HubsSide, NativeOwner {
  readonly limits: ConnectionLimits & PollLimits;
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
  readonly #byRequests: ByRequests;
  readonly #hubs: Hubs;
  readonly clients = new Set<NativeConnection>();
  uses = 0;
  readonly #stopSweeping: () => void;
  readonly #budgets: ClientBudgetParts;
  readonly #saysOverBudget: LogThrottle;
  #refusesNew = false;

  constructor(options: NativeHubsOptions) {
    this.#options = options;
    this.limits = { ...defaultLimits, ...options.limits };
    this.turns = new Turns(() => this.now());
    const limits = { ...defaultClientLimits, ...options.budget };
    this.#budgets = { now: () => this.now(), metrics: options.metrics, limits };
    this.#saysOverBudget = new LogThrottle(options.clock, sayOverBudgetMs);
    this.#auth = new Auth(options.auth);
    this.#cors = new Cors(options.allowedOrigins);
    this.#negotiations = new Negotiations(options.clock, unusedTokenMs, () => options.relay.tagFor(''));
    this.#byRequests = new ByRequests({
      negotiations: this.#negotiations,
      limits: this.limits,
      now: () => this.now(),
      open: ({ path, user }, negotiated, transport) => {
        this.#begin(transport, { hub: this.#hubOf(path)!, user, session: sessionOf(path), negotiated });
      },
    });
    this.#hubs = new Hubs({
      ...options,
      isMoving: ({ hub }) => options.isMoving(hub.name),
      onOverBudget: (connection, error) => this.onOverBudget(connection, error),
    });
    this.#stopSweeping = options.clock.every(1_000, () => this.#sweep());
  }

  /** Everything that is not a WebSocket. */
  async answer(request: IncomingMessage, response: ServerResponse, path: HubPath): Promise<void> {
    if (this.#cors.answerPreflight(request, response)) return;
    this.#cors.apply(request, response);
    if (this.#refuses(path)) return refuseLeaving(response);
    if (this.#hubOf(path) === undefined) return refuse(response, 404);
    const identity = await this.#identify(request, response, path);
    if (identity === undefined || response.destroyed) return;
    if (this.#refuses(path)) return refuseLeaving(response);
    if (path.negotiates) return this.#answerNegotiate(request, response, path, identity);
    if (path.refreshes) return this.#answerRefresh(request, response, path, identity);
    const { user } = identity;
    await this.#byRequests.answer({ request, response, path, user });
  }

  async upgrade(request: IncomingMessage, socket: Socket, head: Buffer, path: HubPath): Promise<void> {
    const refusal = refusalOf(request);
    this.#cors.apply(request, refusal);
    const admitted = await this.#admit(request, refusal, path);
    if (admitted === undefined) sendRefusal(refusal, socket, this.#options.clock);
    else this.#open(request, socket, head, admitted);
  }

  /** Whether there is a connection of this token here. */
  carries(token: string): boolean {
    return this.#negotiations.live(token) !== undefined;
  }

  refuseNew(): void {
    this.#refusesNew = true;
  }

  /** One that is live here. */
  find(connectionId: string): Pick<Negotiated, 'user'> | undefined {
    return this.#negotiations.find(connectionId);
  }

  async close(): Promise<void> {
    this.#stopSweeping();
    await this.#hubs.drain();
  }

  // What a connection tells its owner.

  now(): number {
    return this.#options.clock.monotonic();
  }

  contain(connection: NativeConnection, run: () => unknown): void {
    this.#options.faults.contain('client', run, () => connection.terminate('fault'));
  }

  onConnected(connection: NativeConnection): void {
    this.#options.metrics.connections.inc({ hub: connection.hub.name });
    this.contain(connection, () => this.#hubs.connect(connection).catch((error) => connection.fail(error)));
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
    this.#byRequests.forget(connection.token);
    if (connection.wasConnected) {
      this.contain(connection, () => this.#hubs.disconnect(connection));
      this.#options.metrics.connections.dec({ hub });
    }
    this.#options.metrics.connectionsClosed.inc({ hub, reason: connection.closeReason });
  }

  #sweep(): void {
    const now = this.now();
    for (const connection of [...this.clients]) this.contain(connection, () => connection.sweep(now));
    this.#negotiations.sweep();
  }

  #answerNegotiate(request: IncomingMessage, response: ServerResponse, path: HubPath, identity: Identified): void {
    if (request.method !== 'POST') return refuse(response, 405, 'text/plain');
    answerObject(response, 200, this.#negotiations.negotiate(path.query, identity.user, this.#lifetimeOf(identity)));
  }

  /**
   * A connection does not end with its access token, and each request brings its own: a new one is looked at, and no more. What is told
   * is .NET 11's.
   */
  async #answerRefresh(
    request: IncomingMessage,
    response: ServerResponse,
    path: HubPath,
    identity: Identified,
  ): Promise<void> {
    if (request.method !== 'POST') return refuse(response, 405, 'text/plain');
    const id = queryValue(path.query, 'id');
    if (id === undefined) return answerObject(response, 400, { error: 'missing_connection_token' });
    const connectionId = connectionIdOf(id);
    // A WebSocket is where it came, not where its token was given out.
    const connection =
      this.#negotiations.find(connectionId) ?? (path.origin && (await this.#options.relay.askUser(connectionId)));
    if (connection === undefined) return answerObject(response, 404, { error: 'connection_not_found' });
    if (connection.user !== identity.user) return answerObject(response, 403, { error: 'user_changed' });
    const refreshedAt = new Date(this.#options.clock.now()).toISOString();
    answerObject(response, 200, { connectionId, refreshedAt, ...this.#lifetimeOf(identity) });
  }

  #lifetimeOf({ expiresAt }: Identified): Lifetime {
    const tokenLifetimeSeconds = Math.min(maxLifetime, Math.floor(expiresAt - this.#options.clock.now() / 1000));
    return tokenLifetimeSeconds > 0 ? { tokenLifetimeSeconds } : {};
  }

  /** @returns undefined where the refusal is filled */
  async #admit(request: IncomingMessage, refusal: ServerResponse, path: HubPath): Promise<Admitted | undefined> {
    if (this.#refusesNew) return refuseLeaving(refusal);
    const hub = this.#hubOf(path);
    if (hub === undefined || path.negotiates || path.refreshes) return refuse(refusal, 404);
    const identity = await this.#identify(request, refusal, path);
    if (identity === undefined) return undefined;
    const token = queryValue(path.query, 'id');
    if (this.#byRequests.has(token)) return void answerText(refusal, 400, otherTransport);
    const negotiated = this.#negotiations.take(token, isFromElsewhere(path) ? identity : undefined);
    if (negotiated === 'taken') return refuse(refusal, 409);
    if (negotiated === 'unknown') {
      refusal.writeHead(404).end('No Connection with that ID');
      return undefined;
    }
    return { hub, user: identity.user, session: sessionOf(path), negotiated };
  }

  #open(request: IncomingMessage, socket: Socket, head: Buffer, admitted: Admitted): void {
    const release = () => this.#negotiations.release(admitted.negotiated.token);
    // Who was looked at while it began to refuse is none of those who are told to go.
    if (this.#refusesNew) socket.destroy();
    if (socket.destroyed) return release();
    socket.once('close', release);
    this.#webSockets.handleUpgrade(request, socket, head, (webSocket) => {
      socket.off('close', release);
      this.#begin(new NativeWebSocket(webSocket, socket), admitted);
    });
  }

  #begin(transport: NativeTransport, { hub, user, session, negotiated }: Admitted): void {
    const { connectionId: id, token } = negotiated;
    // Who posts first and takes a WebSocket then has posted for nothing.
    negotiated.early?.end();
    const budget = new ClientBudget(this.#budgets);
    this.clients.add(new NativeConnection(this, transport, { id, token, hub, user, session, budget }));
  }

  /** Who has a connection already comes with further requests of it. */
  #refuses({ negotiates, refreshes, query }: HubPath): boolean {
    if (!this.#refusesNew || refreshes) return false;
    return negotiates || !this.#byRequests.has(queryValue(query, 'id'));
  }

  /** @returns undefined when a 401 was answered */
  async #identify(
    request: IncomingMessage,
    response: ServerResponse,
    { query }: HubPath,
  ): Promise<Identified | undefined> {
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

/** A client that may have its connection. */
interface Admitted {
  hub: Hub;
  user: string | undefined;
  /** The desktop session named in the URL's query. */
  session: string | undefined;
  negotiated: Negotiated;
}

/** Whether native hubs of another replica have given the token out. */
function isFromElsewhere({ origin }: HubPath): boolean {
  return origin?.isElsewhere === true && origin.bridge === '';
}

function sessionOf({ query }: HubPath): string | undefined {
  return queryValue(query, 'sessionId') || undefined;
}

function answerObject(response: ServerResponse, status: number, value: object): void {
  const body = JSON.stringify(value);
  if (status >= 400) refuseFurther(response);
  response
    .writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) })
    .end(body);
}
