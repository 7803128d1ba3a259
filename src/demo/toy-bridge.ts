// The toy bridge: what the recording shows of the legacy bridge (test/fixtures/bridge-recording.json), in memory and in one process.
// In come the backend's calls and hub clients; out go hub messages, over WebSockets, server-sent events and long polling.
// Promises every case of the recording. It shares no code with crossfade, so that neither can hide the other's mistakes.

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { CallRefusal, isCall, readCall, type ToyDelivery } from './toy-bridge-calls.ts';
import { createHubs, type HubHooks, type ToyHub } from './toy-bridge-hubs.ts';
import { type HttpAnswer, HubEndpoints, sendAnswer } from './toy-bridge-transports.ts';

export interface ToyBridgeOptions {
  host?: string;
  /** 0 (the default) takes a free one. */
  port?: number;
  /** Without one every call is let in, as on the bridge. */
  apiKey?: string;
  /** For HS256. */
  jwtSecret: string;
  allowedOrigins?: string[];
}

/** One HTTP request as it came in. */
export interface RecordedCall {
  method: string;
  /** Path and query. */
  url: string;
  /** Names and values in turn, as `IncomingMessage.rawHeaders`. */
  rawHeaders: string[];
  body: Buffer;
}

/** A failure in place of an answer: a status, no answer at all, or a broken connection. Nothing is delivered then. */
export type Fault = { status: number } | 'hang' | 'reset';

export interface ToyBridge extends HubHooks {
  /** `http://host:port` */
  readonly url: string;
  /** The last requests, oldest first; at most {@link maxRecordedCalls}. */
  readonly calls: RecordedCall[];
  /** How much later calls are answered, in ms; their frames are not delayed. */
  delayMs: number;
  /** Asked before each request is handled; undefined lets it through. */
  onCall: ((call: RecordedCall) => Fault | undefined | Promise<Fault | undefined>) | undefined;
  /** Asked what becomes of each hub message of a call; without it, it is delivered as it is. */
  onDeliver: ((delivery: ToyDelivery) => ToyDelivery[]) | undefined;
  /** Cuts all connections. */
  close(): Promise<void>;
}

const maxRecordedCalls = 10_000;
const maxBodyBytes = 30_000_000;
const idempotencyMs = 5 * 60_000;
const json = { 'content-type': 'application/json; charset=utf-8' };
const problem = { 'content-type': 'application/problem+json; charset=utf-8' };

/** Listens when the promise resolves. */
export async function startToyBridge(options: ToyBridgeOptions): Promise<ToyBridge> {
  const bridge = new Bridge(options);
  await bridge.listen(options.port ?? 0, options.host ?? '127.0.0.1');
  return bridge;
}

class Bridge implements ToyBridge {
  readonly calls: RecordedCall[] = [];
  delayMs = 0;
  onCall: ToyBridge['onCall'];
  onDeliver: ToyBridge['onDeliver'];
  onInvoke: ToyBridge['onInvoke'];
  onConnect: ToyBridge['onConnect'];
  onPresence: ToyBridge['onPresence'];
  readonly #server = createServer((req, res) => this.#onRequest(req, res));
  readonly #apiKey: string | undefined;
  readonly #hubs = createHubs(this);
  readonly #endpoints: HubEndpoints;
  /** Event id -> until when (ms) it is remembered, in the order of being forgotten. */
  readonly #known = new Map<string, number>();

  constructor({ apiKey, jwtSecret, allowedOrigins = [] }: ToyBridgeOptions) {
    this.#apiKey = apiKey;
    this.#endpoints = new HubEndpoints(this.#hubs, jwtSecret, allowedOrigins);
    this.#server.on('upgrade', (req, socket, head) => {
      this.#endpoints.upgrade(req, socket, head).catch(() => socket.destroy());
    });
  }

  get url(): string {
    const { address, port } = this.#server.address() as AddressInfo;
    return `http://${address}:${port}`;
  }

  listen(port: number, host: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject).listen(port, host, resolve);
    });
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#endpoints.close();
    this.#server.closeAllConnections();
    await closed;
  }

  async #onRequest(req: IncomingMessage, res: ServerResponse): Promise<void> {
    try {
      const body = await readWhole(req);
      const call = this.#record(req, body);
      const fault = await this.onCall?.(call);
      if (fault === 'hang') return;
      if (fault === 'reset') return void req.socket.resetAndDestroy();
      const reply = fault ?? (await this.#route(req, res, body));
      if (reply !== undefined) sendAnswer(res, reply);
    } catch {
      req.socket.destroy();
    }
  }

  #record({ method = '', url = '', rawHeaders }: IncomingMessage, body: Buffer): RecordedCall {
    const call = { method, url, rawHeaders, body };
    this.calls.push(call);
    if (this.calls.length > maxRecordedCalls) this.calls.shift();
    return call;
  }

  async #route(req: IncomingMessage, res: ServerResponse, body: Buffer): Promise<HttpAnswer | undefined> {
    const path = req.url!.split('?')[0]!;
    if (/^\/hubs\//i.test(path)) return this.#endpoints.handle(req, res, body);
    if (/^\/health\/?$/i.test(path)) {
      return ok({ status: 'healthy', timestamp: new Date().toISOString() });
    }
    const [, internal] = /^\/internal(?:\/(.*?)\/?)?$/i.exec(path) ?? [];
    if (internal === undefined) return { status: 404 };
    const reply = this.#refuseKey(req) ?? this.#internal(req, internal, body);
    if (this.delayMs > 0) await sleep(this.delayMs, undefined, { ref: false });
    return reply;
  }

  /** The key comes before the route: an unknown path without one is 401. */
  #refuseKey(req: IncomingMessage): HttpAnswer | undefined {
    const key = req.headers['x-internal-api-key'];
    if (!this.#apiKey || key === this.#apiKey) return undefined;
    if (!key) return { status: 401, headers: json, body: '{"error":"API key required"}' };
    return { status: 403, headers: json, body: '{"error":"Invalid API key"}' };
  }

  #internal(req: IncomingMessage, path: string, body: Buffer): HttpAnswer {
    const [, user] = /^users\/([^/]+)\/online$/i.exec(path) ?? [];
    if (user !== undefined) return only('GET', req) ?? this.#online(decodeURIComponent(user));
    const name = path.toLowerCase();
    if (name === 'stats') return only('GET', req) ?? this.#stats();
    if (isCall(name)) return only('POST', req) ?? this.#broadcast(req, name, body);
    return { status: 404 };
  }

  #broadcast(req: IncomingMessage, name: string, body: Buffer): HttpAnswer {
    if (!isJsonType(req.headers['content-type'])) return unsupportedMediaType();
    if (body.length > maxBodyBytes) return { status: 413, headers: { connection: 'close' } };
    try {
      const { eventId, deliveries } = readCall(name, body);
      if (this.#isRepeat(eventId)) return ok({ duplicate: true });
      const delivered = this.onDeliver === undefined ? deliveries : deliveries.flatMap(this.onDeliver);
      for (const delivery of delivered) this.#hubs.get(delivery.hub)!.deliver(delivery);
      return ok({ broadcast: true });
    } catch (error) {
      if (error instanceof CallRefusal) return badRequest(error);
      throw error;
    }
  }

  #isRepeat(eventId: string): boolean {
    this.#forget();
    if (this.#known.has(eventId)) return true;
    if (eventId !== '') this.#known.set(eventId, Date.now() + idempotencyMs);
    return false;
  }

  #forget(): void {
    for (const [eventId, until] of this.#known) {
      if (until > Date.now()) return;
      this.#known.delete(eventId);
    }
  }

  #stats(): HttpAnswer {
    this.#forget();
    const users = this.#users();
    const rooms = Array.from(this.#hubs.values(), (hub: ToyHub) => hub.roomCount).reduce(
      (sum, count) => sum + count,
      0,
    );
    return ok({
      connections: users.length,
      users: new Set(users).size,
      rooms,
      idempotencyEntries: this.#known.size,
    });
  }

  #online(userId: string): HttpAnswer {
    const connectionCount = this.#users().filter((user) => user === userId).length;
    return ok({ userId, isOnline: connectionCount > 0, connectionCount });
  }

  /** The user of every connection. */
  #users(): string[] {
    return [...this.#hubs.values()].flatMap((hub) => hub.members.map((member) => member.user));
  }
}

/** Reads to the end whatever the size, so that the answer finds a client that listens; keeps little more than the limit. */
async function readWhole(req: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of req) {
    if (size <= maxBodyBytes) chunks.push(chunk);
    size += chunk.length;
  }
  return Buffer.concat(chunks);
}

function only(method: string, req: IncomingMessage): HttpAnswer | undefined {
  return req.method === method ? undefined : { status: 405, headers: { allow: method } };
}

function isJsonType(contentType = ''): boolean {
  return /^(application\/json|text\/json|application\/[^;]+\+json)\s*(;|$)/i.test(contentType.trim());
}

function ok(body: object): HttpAnswer {
  return { status: 200, headers: json, body: JSON.stringify(body) };
}

function badRequest({ message, errors }: CallRefusal): HttpAnswer {
  const type = 'https://tools.ietf.org/html/rfc9110#section-15.5.1';
  return {
    status: 400,
    headers: problem,
    body: JSON.stringify({ type, title: message, status: 400, errors, traceId }),
  };
}

function unsupportedMediaType(): HttpAnswer {
  const type = 'https://tools.ietf.org/html/rfc9110#section-15.5.16';
  const body = JSON.stringify({ type, title: 'Unsupported Media Type', status: 415, traceId });
  return { status: 415, headers: problem, body };
}

/** The toy traces nothing. */
const traceId = '00-00000000000000000000000000000000-0000000000000000-00';
