// The bridge lane: requests go to a bridge as they came, byte for byte, and its answers come back the same way.
// Promises: bounded pools; bridges take turns, or all of them get a call where they share no backplane; a failure says
// whether the bridge was unreachable, too slow or its queue full.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { type Dispatcher, errors, Pool } from 'undici';
import type { BridgeAddress, BridgeAddresses } from '../bridge-addresses.ts';
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

export class BridgeLane {
  readonly #options: BridgeLaneOptions;
  readonly #pools = new Map<string, Pool>();
  readonly #maxInFlight: number;
  #inFlight = 0;

  constructor(options: BridgeLaneOptions) {
    this.#options = options;
    this.#maxInFlight = options.maxInFlight ?? 2_000;
  }

  /** Whether any bridge takes connections, as far as is known. */
  get reachable(): boolean {
    return this.#options.addresses.reachable;
  }

  /** Requests at the bridge or waiting for it. */
  get inFlight(): number {
    return this.#inFlight;
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
   * Streams a request through to a bridge and its answer back. Once the answer has begun, a failure cuts it off.
   * @param body what was already read of the request, instead of its stream
   * Errors, before the answer has begun: BRIDGE_UNREACHABLE, BRIDGE_TIMEOUT, BRIDGE_OVERLOADED.
   */
  forward(request: IncomingMessage, response: ServerResponse, body?: Buffer): Promise<void> {
    return this.#bounded(async () => {
      const hasBody =
        request.headers['content-length'] !== undefined || request.headers['transfer-encoding'] !== undefined;
      const answer = await this.#request(
        this.#options.addresses.next(),
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
        if (!wasNotTaken(error) || !others) throw error;
      }
    }
  }

  async #sendTo(address: BridgeAddress, { method, url, rawHeaders, body }: RawRequest): Promise<BridgeAnswer> {
    const answer = await this.#request(address, method, url, rawHeaders, method === 'GET' ? null : body);
    const answerBody = Buffer.from(await answer.body.arrayBuffer());
    return { status: answer.statusCode, rawHeaders: endToEnd(answer.headers as unknown as string[]), body: answerBody };
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
    body: Buffer | IncomingMessage | null,
  ): Promise<Dispatcher.ResponseData> {
    try {
      const answer = await this.#poolOf(address).request({
        method: method as Dispatcher.HttpMethod,
        path: address.basePath + url,
        headers: ['Host', address.host, ...endToEnd(rawHeaders)],
        body,
        responseHeaders: 'raw',
      });
      this.#options.addresses.answered(address);
      return answer;
    } catch (error) {
      if (wasNotTaken(error)) this.#options.addresses.refused(address);
      throw error;
    }
  }

  #poolOf(address: BridgeAddress): Pool {
    const known = this.#pools.get(address.key);
    if (known !== undefined) return known;
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
}

/** No connection came about, so the bridge has certainly not seen the request. */
function wasNotTaken(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code ?? '';
  return /^(ECONNREFUSED|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_AGAIN|UND_ERR_CONNECT_TIMEOUT)$/.test(code);
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
