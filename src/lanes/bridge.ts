// The bridge lane: requests go to the bridge as they came, byte for byte, and its answers come back the same way.
// Promises: one bounded pool; a failure says whether the bridge was unreachable, too slow or its queue full.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { type Dispatcher, errors, Pool } from 'undici';
import { CrossfadeError } from '../errors.ts';
import { endToEnd } from '../http-headers.ts';

/** A request as the backend sent it. */
export interface RawRequest {
  method: string;
  /** Path and query as on the wire. */
  url: string;
  /** Names and values in turn, as on the wire. */
  rawHeaders: string[];
  body: Buffer;
}

export interface BridgeAnswer {
  status: number;
  /** Names and values in turn, hop-by-hop ones left out. */
  rawHeaders: string[];
  body: Buffer;
}

export interface BridgeLaneOptions {
  /** Base URL. */
  url: string;
  /** Connections to the bridge. */
  connections?: number;
  /** How many requests may be at the bridge or wait for it. */
  maxInFlight?: number;
  /** ms until the answer's headers, and between parts of its body; the backend itself gives up after 10 s. */
  timeoutMs?: number;
}

export class BridgeLane {
  readonly #pool: Pool;
  readonly #basePath: string;
  readonly #maxInFlight: number;
  #inFlight = 0;

  constructor(options: BridgeLaneOptions) {
    const url = new URL(options.url);
    const timeoutMs = options.timeoutMs ?? 10_000;
    this.#basePath = url.pathname.replace(/\/$/, '');
    this.#maxInFlight = options.maxInFlight ?? 2_000;
    this.#pool = new Pool(url.origin, {
      connections: options.connections ?? 128,
      pipelining: 1,
      allowH2: false,
      connect: { timeout: Math.min(timeoutMs, 5_000) },
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
    });
  }

  /** Requests at the bridge or waiting for it. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /**
   * Sends one call and gathers the answer, whatever its status.
   * Errors: BRIDGE_UNREACHABLE, BRIDGE_TIMEOUT, BRIDGE_OVERLOADED.
   */
  send(request: RawRequest): Promise<BridgeAnswer> {
    return this.#bounded(async () => {
      const answer = await this.#request(request.method, request.url, request.rawHeaders, request.body);
      const body = Buffer.from(await answer.body.arrayBuffer());
      return { status: answer.statusCode, rawHeaders: endToEnd(answer.headers as unknown as string[]), body };
    });
  }

  /**
   * Streams a request through to the bridge and its answer back. Once the answer has begun, a failure cuts it off.
   * @param body what was already read of the request, instead of its stream
   * Errors, before the answer has begun: BRIDGE_UNREACHABLE, BRIDGE_TIMEOUT, BRIDGE_OVERLOADED.
   */
  forward(request: IncomingMessage, response: ServerResponse, body?: Buffer): Promise<void> {
    return this.#bounded(async () => {
      const hasBody =
        request.headers['content-length'] !== undefined || request.headers['transfer-encoding'] !== undefined;
      const answer = await this.#request(
        request.method!,
        request.url!,
        request.rawHeaders,
        body ?? (hasBody ? request : null),
      );
      response.sendDate = false;
      response.writeHead(answer.statusCode, endToEnd(answer.headers as unknown as string[]));
      await pipeline(answer.body, response);
    });
  }

  close(): Promise<void> {
    return this.#pool.destroy();
  }

  async #bounded<Result>(run: () => Promise<Result>): Promise<Result> {
    if (this.#inFlight >= this.#maxInFlight) {
      throw new CrossfadeError('BRIDGE_OVERLOADED', `${this.#inFlight} requests are already at the bridge`);
    }
    this.#inFlight++;
    try {
      return await run();
    } catch (error) {
      throw asBridgeError(error);
    } finally {
      this.#inFlight--;
    }
  }

  #request(
    method: string,
    url: string,
    rawHeaders: string[],
    body: Buffer | IncomingMessage | null,
  ): Promise<Dispatcher.ResponseData> {
    return this.#pool.request({
      method: method as Dispatcher.HttpMethod,
      path: this.#basePath + url,
      headers: endToEnd(rawHeaders),
      body,
      responseHeaders: 'raw',
    });
  }
}

function asBridgeError(cause: unknown): CrossfadeError {
  if (cause instanceof CrossfadeError) return cause;
  const timedOut = cause instanceof errors.HeadersTimeoutError || cause instanceof errors.BodyTimeoutError;
  const code = timedOut ? 'BRIDGE_TIMEOUT' : 'BRIDGE_UNREACHABLE';
  const detail = cause instanceof Error ? cause.message : String(cause);
  return new CrossfadeError(
    code,
    `the bridge ${timedOut ? 'did not answer in time' : 'could not be reached'}: ${detail}`,
    {
      cause,
    },
  );
}
