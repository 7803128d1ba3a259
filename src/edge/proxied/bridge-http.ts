// Plain HTTP to the bridge's hubs: in come a client's requests, out go the bridge's answers, status, headers and bytes
// as they are. Promises: a client that leaves ends its request at the bridge, and the other way round; how long an answer
// takes is between those two (a poll takes 90 s, an event stream as long as it likes).

import type { IncomingMessage, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { Agent, type Dispatcher } from 'undici';
import type { BridgeAddress } from '../../bridge/addresses.ts';
import { type BridgeResponse, headersOf } from '../../bridge/response.ts';
import { refuse, refuseFurther } from '../../refusal.ts';
import { hasBody } from '../../request-body.ts';

export interface BridgeRequest {
  method: string;
  /** Path and query as on the wire. */
  url: string;
  /** Names and values in turn, without Host. */
  headers: string[];
  body: Buffer | AsyncIterable<Buffer> | null;
  /** Ends the request. */
  signal?: AbortSignal;
}

/** What crossfade itself reads into memory of one answer; a hub message may be as large as a call of 30 MB becomes. */
export const maxMessageBytes = 128 * 1024 * 1024;
const connectTimeoutMs = 5_000;
/** Tokens travel in headers; what is too long is the bridge's to refuse. */
export const maxHeaderBytes = 64 * 1024;

export class BridgeHttp {
  readonly #agent = new Agent({
    pipelining: 1,
    allowH2: false,
    connect: { timeout: connectTimeoutMs },
    headersTimeout: 0,
    bodyTimeout: 0,
    maxHeaderSize: maxHeaderBytes,
  });

  /** Rejects if there is no answer; with an error that neverSent() of response.ts knows where the bridge cannot have seen the request. */
  request({ origin, basePath, host }: BridgeAddress, request: BridgeRequest): Promise<BridgeResponse> {
    return this.#agent.request({
      origin,
      path: basePath + request.url,
      method: request.method as Dispatcher.HttpMethod,
      headers: ['Host', host, ...request.headers],
      body: request.body as Dispatcher.RequestOptions['body'],
      signal: request.signal,
      responseHeaders: 'raw',
    });
  }

  /** Streams the answer to a request through. Rejects, with the answer cut off, if either side breaks. */
  async forward(address: BridgeAddress, request: BridgeRequest, response: ServerResponse): Promise<void> {
    const answer = await this.request(address, { ...request, signal: goneSignal(response) });
    writeHead(response, answer);
    await pipeline(answer.body, response);
  }

  close(): Promise<void> {
    return this.#agent.destroy();
  }
}

/** @param headers in place of the answer's own */
export function writeHead(response: ServerResponse, answer: BridgeResponse, headers = headersOf(answer)): void {
  response.sendDate = false;
  if (answer.statusCode >= 400) refuseFurther(response);
  response.writeHead(answer.statusCode, answer.statusText, headers);
}

export function bodyToForward(request: IncomingMessage): IncomingMessage | null {
  return hasBody(request) ? request : null;
}

/** Aborted when the client is gone (or has its whole answer). */
export function goneSignal(response: ServerResponse): AbortSignal {
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  if (response.destroyed) gone.abort();
  return gone.signal;
}

/** Answers for a bridge that gave no answer; a client that has a part of one already is cut off. */
export function answerUnreachable(response: ServerResponse): void {
  if (response.headersSent) response.destroy();
  else refuse(response, 502);
}
