// The bridge lane: requests go to a bridge as they came, byte for byte, and its answers come back the same way.
// Promises: bounded pools; bridges take turns, or all of them get a call where they share no backplane; a failure says
// whether the bridge was unreachable, too slow or its queue full; what breaks off before 64 KiB of it came is no answer.

import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { errors } from 'undici';
import { CrossfadeError, hasCode } from '../errors.ts';
import type { BridgeAddress, BridgeAddresses } from './addresses.ts';
import { BridgeClient, type BridgeRequest, type BridgeResponse, bodyOf, neverSent } from './client.ts';
import { endToEnd } from './headers.ts';
import { OnlyThere } from './only-there.ts';
import { headerOf, headersOf, readAnswerBody } from './response.ts';

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
  /** What callers have asked for that crossfade could not answer. */
  readonly onlyThere = new OnlyThere();
  readonly #hop = randomUUID();
  readonly #client: BridgeClient;
  readonly #maxInFlight: number;
  /** Called when the bridge has not refused a POST that went through: it may be a call that the contract does not know. */
  onForwarded: () => void = () => {};
  #inFlight = 0;

  constructor(options: BridgeLaneOptions) {
    const { addresses, connections = 128, timeoutMs = 10_000, maxInFlight = 2_000 } = options;
    this.#options = options;
    this.#client = new BridgeClient({ addresses, connections, timeoutMs });
    this.#maxInFlight = maxInFlight;
  }

  /** Requests at the bridge or waiting for it. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Whether several bridges share a backplane, so that a 200 of one says little of what the others have shown. */
  get hasBackplane(): boolean {
    const { calls, addresses } = this.#options;
    return calls === 'one' && addresses.all.length > 1;
  }

  /** Whether this process has sent the request itself. */
  isOwn({ headers }: IncomingMessage): boolean {
    return String(headers[hopHeader.toLowerCase()] ?? '').includes(this.#hop);
  }

  /**
   * Sends one call and gathers the answer, whatever its status. Of several answers (`all`) the worst one counts: a
   * call that one bridge has not taken is lost for that bridge's clients. It is under way until all have answered.
   * Errors: BRIDGE_UNREACHABLE (see {@link certainlyNotSent}), BRIDGE_TIMEOUT, BRIDGE_OVERLOADED.
   */
  send(request: RawRequest): Promise<BridgeAnswer> {
    return this.#bounded(async () => {
      if (this.#options.calls === 'one') return this.#sendToOne(request);
      const sent = await Promise.allSettled(
        this.#options.addresses.all.map((address) => this.#sendTo(address, request)),
      );
      const failures = sent.flatMap((each) => (each.status === 'rejected' ? [each.reason] : []));
      if (failures.length > 0) throw failureOf(failures, sent.length);
      const answers = sent.map((each) => (each as PromiseFulfilledResult<BridgeAnswer>).value);
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
      const address = this.#options.addresses.next();
      const left = new AbortController();
      response.once('close', () => {
        if (!response.writableFinished) left.abort();
      });
      const outgoing = { method: request.method!, url, body: body ?? bodyOf(request), signal: left.signal };
      const answer = await this.#request(address, outgoing, request.rawHeaders);
      if (request.method === 'POST' && (answer.statusCode < 400 || answer.statusCode >= 500)) this.onForwarded();
      try {
        await passOn(answer, response);
      } finally {
        // Where it could not be passed on, the bridge may still be sending it.
        answer.body.destroy();
      }
    });
  }

  async close(): Promise<void> {
    await this.#client.close();
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
    const request = { method, url, body: method === 'GET' ? null : body };
    const answer = await this.#request(address, request, rawHeaders);
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
    request: Omit<BridgeRequest, 'headers'>,
    rawHeaders: string[],
  ): Promise<BridgeResponse> {
    const headers = [...endToEnd(rawHeaders), hopHeader, this.#hop];
    try {
      const answer = await this.#client.request(address, { ...request, headers });
      this.#options.addresses.answered(address);
      // Its reader is told of a failure; without this the process would be, too.
      answer.body.on('error', () => {});
      return answer;
    } catch (error) {
      if (neverSent(error)) this.#options.addresses.refused(address);
      throw error;
    }
  }
}

/** Whether no bridge can have got the call: where one may have shown it, it must not go by stream as well. */
export function certainlyNotSent(error: unknown): boolean {
  return hasCode(error, 'BRIDGE_UNREACHABLE') && neverSent(error.cause);
}

/** Of several bridges the one counts that may have got the call; where only some failed, the others have. */
function failureOf(failures: unknown[], asked: number): unknown {
  const sent = failures.find((failure) => !neverSent(failure));
  if (sent !== undefined || failures.length === asked) return sent ?? failures[0];
  return new Error(`one of ${asked} bridges: ${(failures[0] as Error).message}`);
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
