// The ingress: the backend's HTTP calls come in, the answers that the bridge would give go out.
// The order of the checks is the bridge's: key, route, content type, body, repeat. What the contract does not know is
// forwarded to the bridge byte for byte; without a bridge it is answered here, in the bridge's shape.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type HostPort, nameOf } from '../config.ts';
import { BodyFault, type Call, type Contract } from '../contract/contract.ts';
import type { Cutover } from '../cutover/cutover.ts';
import { CrossfadeError } from '../errors.ts';
import type { BridgeLane, RawRequest } from '../lanes/bridge.ts';
import type { IncomingCall, Lanes, Outcome } from '../lanes/lanes.ts';
import { addressOf, listenOn } from '../listen.ts';
import type { AcceptedId, Log } from '../log/log.ts';
import type { Clock } from '../telemetry/clock.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { answer, answerError, answerJson, answerProblem, answerValidation } from './answers.ts';
import { decodeBody, isJson, readBody, TooLarge } from './body.ts';
import { Idempotency } from './idempotency.ts';
import { KeyCheck } from './key.ts';
import { answerRead } from './reads.ts';
import { traceIdOf } from './trace.ts';

export interface IngressOptions {
  listen: HostPort;
  /** undefined: every call is let in (development only). */
  apiKey: string | undefined;
  maxBodyBytes: number;
  contract: Contract;
  cutover: Pick<Cutover, 'carry' | 'remembersIds'>;
  lanes: Lanes;
  bridge: BridgeLane | undefined;
  log: Log;
  clock: Clock;
  logger: Logger;
  metrics: Metrics;
  /** Calls without an answer; more are 503 with Retry-After. */
  maxInFlight?: number;
}

/** Bytes of bodies held at once; more are 503. Room for a few calls of the largest size. */
const maxBytesInFlight = 256 * 1024 * 1024;
/** ms for which the rest of a body that is too large is read and dropped. */
const dropLimitMs = 5_000;
/** What one call without a declared length may take before the sum is known. */
const unknownBodyBytes = 64 * 1024;

export class Ingress {
  readonly #options: IngressOptions;
  readonly #server: Server;
  readonly #key: KeyCheck;
  readonly #idempotency: Idempotency;
  #inFlight = 0;
  #bytesInFlight = 0;

  private constructor(options: IngressOptions) {
    this.#options = options;
    this.#key = new KeyCheck(options.apiKey);
    this.#idempotency = new Idempotency(options.clock, options.log.roster);
    this.#server = createServer(
      // The backend's pool keeps connections for a while: closing them first would cost it a failed call.
      { keepAliveTimeout: 75_000, headersTimeout: 10_000, requestTimeout: 60_000, connectionsCheckingInterval: 5_000 },
      (request, response) => void this.#handle(request, response),
    );
  }

  static async listen(options: IngressOptions): Promise<Ingress> {
    const ingress = new Ingress(options);
    await listenOn(ingress.#server, options.listen, nameOf('listen'));
    return ingress;
  }

  get address(): HostPort {
    return addressOf(this.#server);
  }

  /** The event ids that this replica has accepted in the last `withinMs` (5 minutes at most), each with the rest of its time. */
  recentIds(withinMs: number): AcceptedId[] {
    return this.#idempotency.recent(withinMs);
  }

  /** Takes no new calls and waits for the answers of those under way, at most `limitMs`. */
  async drain(limitMs: number): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    const cancel = this.#options.clock.after(limitMs, () => this.#server.closeAllConnections());
    // A connection that was busy when the server closed goes idle later, and would hold the drain up.
    const stopClosing = this.#options.clock.every(50, () => this.#server.closeIdleConnections());
    await closed;
    stopClosing();
    cancel();
    this.#idempotency.close();
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { metrics } = this.#options;
    metrics.callsInFlight.inc();
    response.once('close', () => {
      metrics.callsInFlight.dec();
      metrics.answers.inc({ status: response.statusCode });
    });
    if (!this.#server.listening) response.setHeader('Connection', 'close');
    try {
      await this.#route(request, response);
    } catch (error) {
      this.#fail(request, response, error);
    }
  }

  async #route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url!.split('?', 1)[0]!.toLowerCase();
    const internal = path === '/internal' || path.startsWith('/internal/');
    if (internal) {
      const refusal = this.#key.refuse(request);
      if (refusal !== undefined) return answerJson(response, refusal.status, refusal.body);
    }
    const call = internal ? this.#options.contract.call(path.slice('/internal/'.length)) : undefined;
    if (call === undefined) return this.#answerUnknown(request, response);
    if (request.method !== 'POST') return this.#refuseMethod(request, response);
    await this.#admit(request, response, (body) => this.#accept(call, request, response, body));
  }

  /** Reads and whatever else the contract does not know: the bridge's business where there is one. */
  async #answerUnknown(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (this.#options.bridge !== undefined) return this.#options.bridge.forward(request, response);
    await answerRead(request, response, {
      roster: this.#options.log.roster,
      clock: this.#options.clock,
      idempotency: this.#idempotency,
    });
  }

  async #refuseMethod(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (this.#options.bridge !== undefined) return this.#options.bridge.forward(request, response);
    answer(response, 405, ['Allow', 'POST']);
  }

  /** Holds calls and their bodies within bounds; what is over them is told to come again. */
  async #admit(
    request: IncomingMessage,
    response: ServerResponse,
    accept: (body: Buffer) => Promise<void>,
  ): Promise<void> {
    const bytes = Number(request.headers['content-length'] ?? unknownBodyBytes);
    if (bytes > this.#options.maxBodyBytes) return this.#refuseSize(request, response);
    const calls = this.#inFlight;
    if (calls >= (this.#options.maxInFlight ?? 10_000) || this.#bytesInFlight + bytes > maxBytesInFlight) {
      throw new CrossfadeError('INGRESS_OVERLOADED', `${calls} calls with ${this.#bytesInFlight} bytes are under way`);
    }
    this.#inFlight++;
    this.#bytesInFlight += bytes;
    try {
      await accept(await readBody(request, this.#options.maxBodyBytes));
    } catch (error) {
      if (!(error instanceof TooLarge)) throw error;
      this.#refuseSize(request, response);
    } finally {
      this.#inFlight--;
      this.#bytesInFlight -= bytes;
    }
  }

  async #accept(call: Call, request: IncomingMessage, response: ServerResponse, body: Buffer): Promise<void> {
    if (!isJson(request.headers['content-type'])) {
      return this.#refuse(request, response, body, () => answerProblem(response, 415));
    }
    let values: ReturnType<Call['read']>;
    try {
      values = call.read(decodeBody(body));
    } catch (error) {
      if (!(error instanceof BodyFault)) throw error;
      return this.#refuse(request, response, body, () => answerValidation(response, error));
    }
    const outcome = await this.#carry(call.toEvent(values), toRawRequest(request, body), traceIdOf(request));
    writeOutcome(response, outcome);
  }

  /** One call to its lane; a repeat waits here for the call of its id that is under way on this replica. */
  #carry(event: ReturnType<Call['toEvent']>, request: RawRequest, traceId: string | undefined): Promise<Outcome> {
    const { cutover, lanes } = this.#options;
    const [eventId] = event.eventIds;
    const call: IncomingCall = { event, request, ...(traceId !== undefined && { traceId }) };
    const carry = () => cutover.carry(event.room, (decision) => lanes.carry(call, decision));
    if (eventId === undefined) return carry();
    return cutover.remembersIds ? this.#idempotency.once(eventId, carry) : this.#idempotency.note(eventId, carry);
  }

  /** A bad call is the bridge's to refuse where there is one: it says exactly what it would have said. */
  async #refuse(request: IncomingMessage, response: ServerResponse, body: Buffer, refuse: () => void): Promise<void> {
    if (this.#options.bridge !== undefined) return this.#options.bridge.forward(request, response, body);
    refuse();
  }

  /** Answering at once would close the connection under a client that is still sending, which would then see a reset. */
  #refuseSize(request: IncomingMessage, response: ServerResponse): void {
    const refuse = () => {
      cancel();
      if (!response.headersSent) answer(response, 413, ['Connection', 'close']);
    };
    const cancel = this.#options.clock.after(dropLimitMs, refuse);
    if (request.readableEnded) refuse();
    else request.resume().once('end', refuse).once('close', cancel);
  }

  #fail(request: IncomingMessage, response: ServerResponse, error: unknown): void {
    // The backend has hung up: there is nobody to answer.
    if (request.socket.destroyed) return;
    const path = request.url?.split('?', 1)[0];
    if (error instanceof CrossfadeError)
      this.#options.logger.warn({ code: error.code, reason: error.reason, path }, error.message);
    else this.#options.logger.error({ path, err: error }, 'a call failed unexpectedly');
    if (response.headersSent) response.destroy();
    else answerError(response, error);
  }
}

function toRawRequest(request: IncomingMessage, body: Buffer): RawRequest {
  return { method: request.method!, url: request.url!, rawHeaders: request.rawHeaders, body };
}

function writeOutcome(response: ServerResponse, outcome: Outcome): void {
  if (outcome.kind === 'bridge') {
    response.sendDate = false;
    response.writeHead(outcome.answer.status, outcome.answer.rawHeaders).end(outcome.answer.body);
  } else {
    answerJson(response, 200, outcome.kind === 'broadcast' ? { broadcast: true } : { duplicate: true });
  }
}
