// The one way in which plain HTTP goes to a bridge. In come requests, each for one address; out go the bridge's answers, status, headers
// and bytes as they are, or an error that says whether the bridge can have seen the request.
// Promises: connections are kept per address and end with it; a certificate is checked against the name that was given, whatever it
// resolves to.

import type { IncomingMessage } from 'node:http';
import { PassThrough, type Readable } from 'node:stream';
import { type Dispatcher, Pool } from 'undici';
import { hasBody } from '../request-body.ts';
import type { BridgeAddress, BridgeAddresses } from './addresses.ts';

export interface BridgeRequest {
  method: string;
  /** Path and query as on the wire. */
  url: string;
  /** Names and values in turn, without Host. */
  headers: string[];
  body: Buffer | Readable | AsyncIterable<Buffer> | null;
  /** Ends the request. */
  signal?: AbortSignal;
}

/** Asked for with `responseHeaders: 'raw'`; its body has not been read. See response.ts. */
export type BridgeResponse = Dispatcher.ResponseData;

export interface BridgeClientOptions {
  addresses: Pick<BridgeAddresses, 'all'>;
  /** To one address; without it as many as there are requests. */
  connections?: number;
  /** ms until the answer's headers, and between parts of its body; 0: as long as it takes. */
  timeoutMs: number;
}

const connectTimeoutMs = 5_000;
/** Tokens travel in headers; what is too long is the bridge's to refuse. */
export const maxHeaderBytes = 64 * 1024;

export class BridgeClient {
  readonly #options: BridgeClientOptions;
  readonly #pools = new Map<string, Pool>();

  constructor(options: BridgeClientOptions) {
    this.#options = options;
  }

  /** Rejects if there is no answer; neverSent() tells an error where the bridge cannot have seen the request. */
  request(address: BridgeAddress, { method, url, headers, body, signal }: BridgeRequest): Promise<BridgeResponse> {
    return this.#poolOf(address).request({
      method: method as Dispatcher.HttpMethod,
      path: address.basePath + url,
      headers: ['Host', address.host, ...headers],
      body: body as Dispatcher.RequestOptions['body'],
      ...(signal !== undefined && { signal }),
      responseHeaders: 'raw',
    });
  }

  /** What is under way breaks off. */
  async close(): Promise<void> {
    await Promise.all([...this.#pools.values()].map((pool) => pool.destroy()));
  }

  #poolOf(address: BridgeAddress): Pool {
    const known = this.#pools.get(address.key);
    if (known !== undefined) return known;
    this.#closePoolsOfGone();
    const { connections, timeoutMs } = this.#options;
    const pool = new Pool(address.origin, {
      ...(connections !== undefined && { connections }),
      pipelining: 1,
      allowH2: false,
      connect: {
        timeout: Math.min(timeoutMs || connectTimeoutMs, connectTimeoutMs),
        ...(address.servername !== undefined && { servername: address.servername }),
      },
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
      maxHeaderSize: maxHeaderBytes,
    });
    this.#pools.set(address.key, pool);
    return pool;
  }

  /** A name has other addresses with each rollout of the bridge; what is under way at an old one is brought to its end. */
  #closePoolsOfGone(): void {
    const known = new Set(this.#options.addresses.all.map(({ key }) => key));
    for (const [key, pool] of this.#pools) {
      if (known.has(key)) continue;
      this.#pools.delete(key);
      pool.close().catch(() => {});
    }
  }
}

/** Whether the bridge cannot have seen the request: no connection to it came about. */
export function neverSent(error: unknown): boolean {
  const codes = /^(ECONNREFUSED|EHOSTUNREACH|ENETUNREACH|ENETDOWN|ENOTFOUND|EAI_AGAIN|UND_ERR_CONNECT_TIMEOUT)$/;
  const { code, errors } = error as { code?: string; errors?: unknown[] };
  // A name with several addresses fails with the errors of all of them.
  return codes.test(code ?? '') || (errors !== undefined && errors.length > 0 && errors.every(neverSent));
}

/**
 * The body of a request, to be sent on; null for one without. Not the request itself: undici destroys what it could not
 * send, and a request that is destroyed can no longer be answered.
 */
export function bodyOf(request: IncomingMessage): Readable | null {
  if (!hasBody(request)) return null;
  const body = new PassThrough();
  body.on('error', () => {});
  request.once('close', () => {
    if (!request.readableEnded) body.destroy(new Error('the sender broke the connection off'));
  });
  return request.pipe(body);
}
