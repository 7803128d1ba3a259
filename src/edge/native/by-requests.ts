// Native connections that come by many requests: in come GETs, POSTs and DELETEs of clients with a valid token, out go what a connection
// has for its client, and ASP.NET's answers. Promises: a connection's own token opens it to nobody but its user; what a client sends
// before its connection is open is kept for it, up to a bound.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { refuse, refuseFurther } from '../../refusal.ts';
import { type HubPath, queryValue } from '../hub-path.ts';
import { NativeEventStream } from './event-stream.ts';
import { NativeLongPolling, type PollLimits, pollHeaders } from './long-polling.ts';
import type { Negotiated, Negotiations } from './negotiate.ts';
import { PostedBytes } from './posted-bytes.ts';
import type { NativeTransport } from './transport.ts';

/** A request whose user is known; undefined: its token names nobody. */
export interface ClientRequest {
  request: IncomingMessage;
  response: ServerResponse;
  path: HubPath;
  user: string | undefined;
}

export interface ByRequestsOptions {
  negotiations: Negotiations;
  limits: PollLimits;
  /** ms, monotonic */
  now(): number;
  /** Begins a connection. */
  open(client: ClientRequest, negotiated: Negotiated, transport: NativeTransport): void;
}

interface Carried {
  user: string | undefined;
  transport: NativeEventStream | NativeLongPolling;
}

const unknownId = 'No Connection with that ID';
export const otherTransport = 'Cannot change transports mid-connection';

export class ByRequests {
  readonly #options: ByRequestsOptions;
  readonly #carried = new Map<string, Carried>();

  constructor(options: ByRequestsOptions) {
    this.#options = options;
  }

  has(token: string | undefined): boolean {
    return token !== undefined && this.#carried.has(token);
  }

  /** The connection is over. */
  forget(token: string): void {
    this.#carried.delete(token);
  }

  async answer(client: ClientRequest): Promise<void> {
    const { request, response, path } = client;
    if (!['GET', 'POST', 'DELETE'].includes(request.method!)) return refuse(response, 405, 'text/plain');
    const streams = request.headers.accept?.includes('text/event-stream') ?? false;
    if (request.method === 'GET' && !streams) response.setHeaders(new Map(Object.entries(pollHeaders)));
    const id = queryValue(path.query, 'id');
    if (id === undefined) return answerText(response, 400, 'Connection ID required');
    const carried = this.#carried.get(id);
    if (carried !== undefined && carried.user !== client.user) return answerText(response, 404, unknownId);
    if (request.method === 'POST') return this.#post(client, id, carried);
    if (request.method === 'DELETE') return this.#remove(response, id, carried);
    if (carried === undefined) return this.#open(client, id, streams);
    if (carried.transport instanceof NativeLongPolling) return poll(response, carried.transport, streams);
    return streams ? refuse(response, 409, 'text/plain') : answerText(response, 400, otherTransport);
  }

  #open(client: ClientRequest, id: string, streams: boolean): void {
    const { response, user } = client;
    const { negotiations, limits, now, open } = this.#options;
    const negotiated = negotiations.take(id);
    if (negotiated === 'unknown') return answerText(response, 404, unknownId);
    if (negotiated === 'taken') return answerText(response, 400, otherTransport);
    const posted = negotiated.early ?? new PostedBytes();
    negotiated.early = undefined;
    const transport = streams ? new NativeEventStream(response, posted) : new NativeLongPolling(now, limits, posted);
    this.#carried.set(id, { user, transport });
    if (transport instanceof NativeLongPolling) transport.open(response);
    open(client, negotiated, transport);
  }

  async #post({ request, response, user }: ClientRequest, id: string, carried: Carried | undefined): Promise<void> {
    const { negotiations } = this.#options;
    if (carried === undefined && negotiations.live(id) !== undefined) {
      return answerText(response, 405, 'POST requests are not allowed for WebSocket connections.');
    }
    const posted = carried?.transport.posted ?? earlyOf(negotiations.given(id, user));
    if (posted === undefined) return answerText(response, 404, unknownId);
    const taken = await posted.take(request).catch(() => undefined);
    // The client has broken off.
    if (taken === undefined) return refuse(response, 400, 'text/plain');
    if (taken) return answerText(response, 200, '');
    negotiations.forget(id);
    answerText(response, 404, '');
  }

  #remove(response: ServerResponse, id: string, carried: Carried | undefined): void {
    if (carried?.transport instanceof NativeLongPolling) {
      carried.transport.remove();
      return answerText(response, 202, '');
    }
    if (!this.#options.negotiations.knows(id)) return answerText(response, 404, unknownId);
    answerText(response, 400, 'Cannot terminate this connection using the DELETE endpoint.');
  }
}

function earlyOf(given: Negotiated | undefined): PostedBytes | undefined {
  if (given !== undefined) given.early ??= new PostedBytes();
  return given?.early;
}

function poll(response: ServerResponse, transport: NativeLongPolling, streams: boolean): void {
  if (streams) return answerText(response, 400, otherTransport);
  if (!transport.poll(response)) answerText(response, 404, unknownId);
}

export function answerText(response: ServerResponse, status: number, text: string): void {
  if (status >= 400) refuseFurther(response);
  response.writeHead(status, { 'Content-Type': 'text/plain', 'Content-Length': Buffer.byteLength(text) }).end(text);
}
