// The client side of the toy bridge: negotiate and the three transports of `/hubs/*`.
// In come HTTP requests and upgrades with a JWT; hub connections are fed from them and answered through them.
// Promises: statuses, headers and bodies as ASP.NET Core has them (TransportProtocols.md).

import { randomBytes } from 'node:crypto';
import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { errors, jwtVerify } from 'jose';
import { type WebSocket, WebSocketServer } from 'ws';
import { ToyConnection, type ToyTransport } from './toy-bridge-connection.ts';
import type { ToyHub } from './toy-bridge-hubs.ts';

export interface HttpAnswer {
  status: number;
  headers?: Record<string, string>;
  body?: string;
}

/** What negotiate promised under a token, and what came of it. */
interface Ticket {
  hub: ToyHub;
  token: string;
  session: string | undefined;
  carrier?: { kind: 'ws' } | { kind: 'sse' } | ToyLongPolling;
  connection?: ToyConnection;
  /** What was posted before the transport was opened. */
  early: string;
}

interface HubRequest {
  hub: ToyHub;
  isNegotiate: boolean;
  query: URLSearchParams;
}

const unusedTicketMs = 15_000;
const pollMs = 90_000;
const clockSkewSeconds = 300;
const plain = { 'content-type': 'text/plain' };
const noSuchId: HttpAnswer = { status: 404, headers: plain, body: 'No Connection with that ID' };
const neverStored = {
  'cache-control': 'no-cache, no-store',
  expires: 'Thu, 01 Jan 1970 00:00:00 GMT',
  pragma: 'no-cache',
};
const availableTransports = [
  { transport: 'WebSockets', transferFormats: ['Text', 'Binary'] },
  { transport: 'ServerSentEvents', transferFormats: ['Text'] },
  { transport: 'LongPolling', transferFormats: ['Text', 'Binary'] },
];

export class HubEndpoints {
  readonly #hubs: Map<string, ToyHub>;
  readonly #secret: Uint8Array;
  readonly #allowedOrigins: string[];
  readonly #tickets = new Map<string, Ticket>();
  readonly #sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false });

  constructor(hubs: Map<string, ToyHub>, jwtSecret: string, allowedOrigins: string[]) {
    this.#hubs = hubs;
    this.#secret = new TextEncoder().encode(jwtSecret);
    this.#allowedOrigins = allowedOrigins;
  }

  /** @returns undefined where the request is answered by a transport, sooner or later */
  async handle(req: IncomingMessage, res: ServerResponse, body: Buffer): Promise<HttpAnswer | undefined> {
    for (const [name, value] of Object.entries(this.#cors(req))) res.setHeader(name, value);
    if (req.method === 'OPTIONS' && req.headers['access-control-request-method']) return this.#preflight(req);
    const route = this.#route(req);
    if (route === undefined) return { status: 404 };
    const user = await this.#authenticate(req, route.query);
    if (typeof user === 'object') return user;
    if (route.isNegotiate) return this.#negotiate(req, route);
    return this.#transport(req, res, route, user, body.toString());
  }

  async upgrade(req: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    socket.on('error', () => socket.destroy());
    const route = this.#route(req);
    if (route === undefined || route.isNegotiate) return refuseUpgrade(socket, { status: 404 });
    const user = await this.#authenticate(req, route.query);
    if (typeof user === 'object') return refuseUpgrade(socket, user);
    const id = route.query.get('id');
    const ticket = id === null ? this.#issue(route) : this.#tickets.get(id);
    if (ticket?.hub !== route.hub) return refuseUpgrade(socket, { status: 404, body: noSuchId.body! });
    if (ticket.carrier !== undefined) return refuseUpgrade(socket, { status: 409 });
    ticket.carrier = { kind: 'ws' };
    this.#sockets.handleUpgrade(req, socket, head, (ws) => this.#carryByWebSocket(ws, ticket, user));
  }

  close(): void {
    for (const ws of this.#sockets.clients) ws.terminate();
    for (const ticket of this.#tickets.values()) ticket.connection?.lost();
    this.#sockets.close();
  }

  #route(req: IncomingMessage): HubRequest | undefined {
    const url = new URL(req.url!, 'http://bridge');
    const [, name = '', action] = /^\/hubs\/([^/]+)(\/negotiate)?\/?$/i.exec(url.pathname) ?? [];
    const hub = this.#hubs.get(name.toLowerCase());
    const query = new URLSearchParams([...url.searchParams].map(([key, value]) => [key.toLowerCase(), value]));
    return hub && { hub, isNegotiate: action !== undefined, query };
  }

  #cors(req: IncomingMessage): Record<string, string> {
    const { origin } = req.headers;
    if (origin === undefined || !this.#allowedOrigins.includes(origin)) return {};
    return { 'access-control-allow-origin': origin, 'access-control-allow-credentials': 'true', vary: 'Origin' };
  }

  #preflight(req: IncomingMessage): HttpAnswer {
    if (Object.keys(this.#cors(req)).length === 0) return { status: 204 };
    const headers = {
      'access-control-allow-headers': String(req.headers['access-control-request-headers'] ?? ''),
      'access-control-allow-methods': String(req.headers['access-control-request-method']),
    };
    return { status: 204, headers };
  }

  /** @returns the user, undefined where the token names none, or the refusal */
  async #authenticate(req: IncomingMessage, query: URLSearchParams): Promise<string | undefined | HttpAnswer> {
    const bearer = /^bearer (.+)$/i.exec(req.headers.authorization ?? '')?.[1];
    const token = bearer ?? query.get('access_token');
    if (!token) return { status: 401, headers: { 'www-authenticate': 'Bearer' } };
    try {
      const rules = { algorithms: ['HS256'], clockTolerance: clockSkewSeconds, requiredClaims: ['exp'] };
      const { payload } = await jwtVerify(token, this.#secret, rules);
      const user = payload.sub ?? payload.nameid ?? payload[nameIdentifier];
      return user === undefined || user === '' ? undefined : String(user);
    } catch (error) {
      return { status: 401, headers: { 'www-authenticate': `Bearer error="invalid_token"${reasonOf(error)}` } };
    }
  }

  #negotiate(req: IncomingMessage, { hub, query }: HubRequest): HttpAnswer {
    if (req.method !== 'POST') return { status: 405, headers: plain };
    const asked = query.get('negotiateversion') ?? '0';
    const headers = { 'content-type': 'application/json' };
    if (!/^\d+$/.test(asked)) {
      const error = 'The client requested a non-integer protocol version.';
      return { status: 200, headers, body: JSON.stringify({ error }) };
    }
    const { token } = this.#issue({ hub, query });
    const ids = asked === '0' ? { connectionId: token } : { connectionId: randomId(), connectionToken: token };
    const answer = { negotiateVersion: asked === '0' ? 0 : 1, ...ids, availableTransports };
    return { status: 200, headers, body: JSON.stringify(answer) };
  }

  #issue({ hub, query }: Pick<HubRequest, 'hub' | 'query'>): Ticket {
    const session = query.get('sessionid') || undefined;
    const ticket: Ticket = { hub, token: randomId(), session, early: '' };
    this.#tickets.set(ticket.token, ticket);
    setTimeout(() => ticket.carrier ?? this.#tickets.delete(ticket.token), unusedTicketMs).unref();
    return ticket;
  }

  #transport(
    req: IncomingMessage,
    res: ServerResponse,
    { hub, query }: HubRequest,
    user: string | undefined,
    body: string,
  ): HttpAnswer | undefined {
    if (!['GET', 'POST', 'DELETE'].includes(req.method!)) return { status: 405, headers: plain };
    const id = query.get('id');
    if (id === null) return { status: 400, headers: plain, body: 'Connection ID required' };
    const ticket = this.#tickets.get(id);
    if (ticket?.hub !== hub) return noSuchId;
    if (req.method === 'POST') return post(ticket, body);
    if (req.method === 'DELETE') return this.#delete(ticket);
    if (req.headers.accept?.includes('text/event-stream')) return this.#carryByEvents(res, ticket, user);
    return this.#carryByPolls(res, ticket, user);
  }

  #carryByWebSocket(ws: WebSocket, ticket: Ticket, user: string | undefined): void {
    const connection = this.#open(ticket, user, { write: (text) => ws.send(text), close: () => ws.close(1000) });
    ws.on('message', (data) => connection.receive(data.toString()));
    ws.on('error', () => ws.terminate());
    ws.on('close', () => this.#end(ticket));
  }

  #carryByEvents(res: ServerResponse, ticket: Ticket, user: string | undefined): HttpAnswer | undefined {
    if (ticket.carrier !== undefined) return wrongCarrier(ticket.carrier.kind === 'sse');
    ticket.carrier = { kind: 'sse' };
    res.writeHead(200, {
      'content-type': 'text/event-stream',
      'cache-control': 'no-cache,no-store',
      'content-encoding': 'identity',
      pragma: 'no-cache',
    });
    res.write(':\r\n');
    res.on('close', () => this.#end(ticket));
    this.#open(ticket, user, { write: (text) => res.write(`data: ${text}\r\n\r\n`), close: () => res.end() });
    return undefined;
  }

  #carryByPolls(res: ServerResponse, ticket: Ticket, user: string | undefined): HttpAnswer | undefined {
    if (ticket.carrier === undefined) {
      ticket.carrier = new ToyLongPolling(() => this.#end(ticket));
      this.#open(ticket, user, ticket.carrier);
      return { status: 200, headers: { 'content-type': 'application/octet-stream', ...neverStored }, body: '' };
    }
    if (!(ticket.carrier instanceof ToyLongPolling)) return wrongCarrier(false);
    ticket.carrier.poll(res);
    return undefined;
  }

  #delete(ticket: Ticket): HttpAnswer {
    if (!(ticket.carrier instanceof ToyLongPolling)) {
      return { status: 400, headers: plain, body: 'Cannot terminate this connection using the DELETE endpoint.' };
    }
    ticket.carrier.close();
    this.#end(ticket);
    return { status: 202, headers: plain };
  }

  #open(ticket: Ticket, user: string | undefined, transport: ToyTransport): ToyConnection {
    ticket.connection = new ToyConnection(ticket.hub, user, ticket.session, transport);
    ticket.connection.receive(ticket.early);
    return ticket.connection;
  }

  #end(ticket: Ticket): void {
    this.#tickets.delete(ticket.token);
    ticket.connection?.lost();
  }
}

/** A connection carried by polls: what is written waits for the next one. */
class ToyLongPolling implements ToyTransport {
  readonly kind = 'polling';
  readonly #onGone: () => void;
  #waiting = '';
  #poll: ServerResponse | undefined;
  #closed = false;
  #timer: NodeJS.Timeout;

  constructor(onGone: () => void) {
    this.#onGone = onGone;
    this.#timer = this.#expectPoll();
  }

  /** A newer poll ends the older one. */
  poll(res: ServerResponse): void {
    this.#answer(204, 'text/plain');
    this.#poll = res;
    res.on('close', () => this.#abandon(res));
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#answer(200, 'text/plain'), pollMs).unref();
    this.#settle();
  }

  write(text: string): void {
    this.#waiting += text;
    this.#settle();
  }

  close(): void {
    this.#closed = true;
    this.#settle();
  }

  #settle(): void {
    if (this.#poll === undefined) return;
    if (this.#waiting !== '') this.#answer(200, 'application/octet-stream');
    else if (this.#closed) {
      this.#answer(204, 'text/plain');
      this.#onGone();
    }
  }

  #answer(status: number, type: string): void {
    if (this.#poll === undefined) return;
    sendAnswer(this.#poll, { status, headers: { 'content-type': type, ...neverStored }, body: this.#waiting });
    this.#waiting = '';
    this.#poll = undefined;
    clearTimeout(this.#timer);
    this.#timer = this.#expectPoll();
  }

  /** The client went away from its poll: what comes waits for the next one. */
  #abandon(res: ServerResponse): void {
    if (this.#poll !== res) return;
    this.#poll = undefined;
    clearTimeout(this.#timer);
    this.#timer = this.#expectPoll();
  }

  #expectPoll(): NodeJS.Timeout {
    return setTimeout(this.#onGone, unusedTicketMs).unref();
  }
}

export function sendAnswer(res: ServerResponse, { status, headers = {}, body = '' }: HttpAnswer): void {
  const length = status === 204 ? {} : { 'content-length': Buffer.byteLength(body) };
  res.writeHead(status, { ...headers, ...length }).end(body);
}

function refuseUpgrade(socket: Duplex, { status, headers = {}, body = '' }: HttpAnswer): void {
  const lines = Object.entries({ ...headers, 'content-length': Buffer.byteLength(body), connection: 'close' });
  const head = lines.map(([name, value]) => `${name}: ${value}\r\n`).join('');
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${head}\r\n${body}`);
}

function post(ticket: Ticket, body: string): HttpAnswer {
  if (ticket.carrier?.kind === 'ws') {
    return { status: 405, headers: plain, body: 'POST requests are not allowed for WebSocket connections.' };
  }
  if (ticket.connection === undefined) ticket.early += body;
  else ticket.connection.receive(body);
  return { status: 200, headers: plain };
}

function wrongCarrier(isSecond: boolean): HttpAnswer {
  if (isSecond) return { status: 409, headers: plain };
  return { status: 400, headers: plain, body: 'Cannot change transports mid-connection' };
}

const nameIdentifier = 'http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier';

function reasonOf(error: unknown): string {
  const description = explain(error);
  return description && `, error_description="${description}"`;
}

function explain(error: unknown): string {
  if (error instanceof errors.JWTExpired) return `The token expired at '${usTime(error.payload.exp!)}'`;
  if (error instanceof errors.JWSSignatureVerificationFailed) return 'The signature key was not found';
  if (!(error instanceof errors.JWTClaimValidationFailed)) return '';
  if (error.claim === 'exp') return 'The token has no expiration';
  return error.claim === 'nbf' ? `The token is not valid before '${usTime(error.payload.nbf!)}'` : '';
}

/** `MM/dd/yyyy HH:mm:ss`, as .NET's invariant culture writes a time. */
function usTime(seconds: number): string {
  const [, year, month, day, time] = /^(\d+)-(\d+)-(\d+)T([\d:]+)/.exec(new Date(seconds * 1000).toISOString())!;
  return `${month}/${day}/${year} ${time}`;
}

function randomId(): string {
  return randomBytes(16).toString('base64url');
}
