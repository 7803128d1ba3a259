// The bridge lane: requests go to a bridge as they came, byte for byte, and its answers come back the same way.
// Promises: bounded pools; bridges take turns, or all of them get a call where they share no backplane; a failure says
// whether the bridge was unreachable, too slow or its queue full; what breaks off before 64 KiB of it came is no answer.

import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { PassThrough, type Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type Dispatcher, errors, Pool } from 'undici';
import { CrossfadeError } from '../errors.ts';
import type { BridgeAddress, BridgeAddresses } from './addresses.ts';
import { endToEnd } from './headers.ts';
import { type BridgeResponse, headerOf, headersOf, neverSent, readAnswerBody } from './response.ts';

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
  addresses: BridgeAddresses;
  /** `all`: the bridges share no backplane, so that each must get every call to reach its own clients. */
  calls: 'one' | 'all';
  /** Connections to one bridge. */
  connections?: number;
  /** How many requests may be at the bridges or wait for them. */
  maxInFlight?: number;
  /** ms until the answer's headers, and between parts of its body; the backend itself gives up after 10 s. */
  timeoutMs?: number;
}

/** Goes with every request, so that one that comes back to this process is known (`--bridge` may lead to `--listen`). */
const hopHeader = 'X-Crossfade-Hop';
/** Bytes of a call's answer; the bridge's longest are lists of validation errors. */
const maxAnswerBytes = 1024 * 1024;
/** Bytes of a forwarded answer that are gathered before it begins: until then its failure can be told as a 502 or 504. */
const heldBytes = 64 * 1024;

export class BridgeLane {
  readonly #options: BridgeLaneOptions;
  readonly #hop = randomUUID();
  readonly #pools = new Map<string, Pool>();
  readonly #maxInFlight: number;
  #inFlight = 0;

  constructor(options: BridgeLaneOptions) {
    this.#options = options;
    this.#maxInFlight = options.maxInFlight ?? 2_000;
  }

  /** Requests at the bridge or waiting for it. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Whether this process has sent the request itself. */
  isOwn({ headers }: IncomingMessage): boolean {
    return String(headers[hopHeader.toLowerCase()] ?? '').includes(this.#hop);
  }

  /**
   * Sends one call and gathers the answer, whatever its status. Of several answers (`all`) the worst one counts: a
   * call that one bridge has not taken is lost for that bridge's clients.
   * Errors: BRIDGE_UNREACHABLE, BRIDGE_TIMEOUT, BRIDGE_OVERLOADED.
   */
  send(request: RawRequest): Promise<BridgeAnswer> {
    return this.#bounded(async () => {
      if (this.#options.calls === 'one') return this.#sendToOne(request);
      const answers = await Promise.all(this.#options.addresses.all.map((address) => this.#sendTo(address, request)));
      return answers.find(({ status }) => status !== 200) ?? answers[0]!;
    });
  }

  /**
   * The answer of every bridge to a GET, for what each can only say of itself.
   * Errors: BRIDGE_UNREACHABLE, BRIDGE_TIMEOUT.
   */
  askAll(url: string, rawHeaders: string[]): Promise<BridgeAnswer[]> {
    const request: RawRequest = { method: 'GET', url, rawHeaders, body: Buffer.alloc(0) };
    const ask = (address: BridgeAddress) =>
      this.#sendTo(address, request).catch((error) => {
        throw asBridgeError(error);
      });
    return Promise.all(this.#options.addresses.all.map(ask));
  }

  /**
   * Streams a request through to a bridge and its answer back. Once the answer has begun, a failure cuts it off; where the
   * backend leaves, the bridge need not go on.
   * @param url path and query for the bridge
   * @param body what was already read of the request, instead of its stream
   * Errors, before the answer has begun: BRIDGE_UNREACHABLE, BRIDGE_TIMEOUT, BRIDGE_OVERLOADED.
   */
  forward(request: IncomingMessage, response: ServerResponse, url: string, body?: Buffer): Promise<void> {
    return this.#bounded(async () => {
      const { method, rawHeaders } = request;
      const address = this.#options.addresses.next();
      const left = new AbortController();
      response.once('close', () => {
        if (!response.writableFinished) left.abort();
      });
      const answer = await this.#request(address, method!, url, rawHeaders, body ?? bodyOf(request), left.signal);
      try {
        await passOn(answer, response);
      } finally {
        // Where it could not be passed on, the bridge may still be sending it.
        answer.body.destroy();
      }
    });
  }

  async close(): Promise<void> {
    await Promise.all([...this.#pools.values()].map((pool) => pool.destroy()));
  }

  /** A bridge that certainly did not get the call is passed over for another one. */
  async #sendToOne(request: RawRequest): Promise<BridgeAnswer> {
    const tried = new Set<BridgeAddress>();
    for (;;) {
      const address = this.#options.addresses.next();
      try {
        return await this.#sendTo(address, request);
      } catch (error) {
        tried.add(address);
        const others = this.#options.addresses.all.some((each) => !tried.has(each));
        if (!neverSent(error) || !others) throw error;
      }
    }
  }

  async #sendTo(address: BridgeAddress, { method, url, rawHeaders, body }: RawRequest): Promise<BridgeAnswer> {
    const answer = await this.#request(address, method, url, rawHeaders, method === 'GET' ? null : body);
    const bytes = await readAnswerBody(answer, maxAnswerBytes);
    return { status: answer.statusCode, rawHeaders: headersOf(answer), body: bytes };
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

  async #request(
    address: BridgeAddress,
    method: string,
    url: string,
    rawHeaders: string[],
    body: Buffer | Readable | null,
    signal?: AbortSignal,
  ): Promise<BridgeResponse> {
    try {
      const answer = await this.#poolOf(address).request({
        method: method as Dispatcher.HttpMethod,
        path: address.basePath + url,
        headers: ['Host', address.host, ...endToEnd(rawHeaders), hopHeader, this.#hop],
        body,
        ...(signal !== undefined && { signal }),
        responseHeaders: 'raw',
      });
      this.#options.addresses.answered(address);
      // Its reader is told of a failure; without this the process would be, too.
      answer.body.on('error', () => {});
      return answer;
    } catch (error) {
      if (neverSent(error)) this.#options.addresses.refused(address);
      throw error;
    }
  }

  #poolOf(address: BridgeAddress): Pool {
    const known = this.#pools.get(address.key);
    if (known !== undefined) return known;
    this.#closePoolsOfGone();
    const { connections = 128, timeoutMs = 10_000 } = this.#options;
    const pool = new Pool(address.origin, {
      connections,
      pipelining: 1,
      allowH2: false,
      connect: {
        timeout: Math.min(timeoutMs, 5_000),
        ...(address.servername !== undefined && { servername: address.servername }),
      },
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
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

/**
 * The body of a request, to be sent on; null for one without. Not the request itself: undici destroys what it could not
 * send, and a request that is destroyed can no longer be answered.
 */
function bodyOf(request: IncomingMessage): Readable | null {
  const { headers } = request;
  if (headers['content-length'] === undefined && headers['transfer-encoding'] === undefined) return null;
  const body = new PassThrough();
  body.on('error', () => {});
  request.once('close', () => {
    if (!request.readableEnded) body.destroy(new Error('the backend broke the connection off'));
  });
  return request.pipe(body);
}

async function passOn(answer: BridgeResponse, response: ServerResponse): Promise<void> {
  const chunks: AsyncIterator<Buffer> = answer.body[Symbol.asyncIterator]();
  const begun = await readUpTo(chunks, isEventStream(answer) ? 0 : heldBytes);
  response.sendDate = false;
  response.writeHead(answer.statusCode, headersOf(answer));
  if (begun.isAll) response.end(begun.bytes);
  else await pipeline(withRest(begun.bytes, chunks), response);
}

/** What is to be passed on as it comes, however little it is. */
function isEventStream(answer: BridgeResponse): boolean {
  return headerOf(answer, 'content-type')?.toLowerCase().startsWith('text/event-stream') === true;
}

/** Reads until there are more than `limit` bytes, or to the end. */
async function readUpTo(chunks: AsyncIterator<Buffer>, limit: number): Promise<{ bytes: Buffer; isAll: boolean }> {
  const gathered: Buffer[] = [];
  let length = 0;
  while (length <= limit) {
    const next = await chunks.next();
    if (next.done) return { bytes: Buffer.concat(gathered), isAll: true };
    gathered.push(next.value);
    length += next.value.length;
  }
  return { bytes: Buffer.concat(gathered), isAll: false };
}

async function* withRest(begun: Buffer, chunks: AsyncIterator<Buffer>): AsyncGenerator<Buffer> {
  yield begun;
  for (let next = await chunks.next(); !next.done; next = await chunks.next()) yield next.value;
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
