// The ingress: the backend's HTTP calls come in, the answers that the bridge would give go out.
// The order of the checks is the bridge's: key, route, content type, body, repeat. What the contract does not know is
// forwarded to the bridge byte for byte; without a bridge it is answered here, in the bridge's shape.
// Promises: whatever a call is or meets, it ends alone and within a bound; the bytes that calls hold are bounded.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { BridgeLane, RawRequest } from '../bridge/lane.ts';
import { type HostPort, nameOf } from '../config.ts';
import { BodyFault, type Call, type Contract } from '../contract/contract.ts';
import type { Event } from '../contract/event.ts';
import { CrossfadeError } from '../errors.ts';
import type { IncomingCall, Lane, Outcome } from '../lanes/call.ts';
import type { Lanes } from '../lanes/lanes.ts';
import { addressOf, listenOn } from '../listen.ts';
import type { Log } from '../log/log.ts';
import { dropRestWithinBound, whenRestIsDropped } from '../refusal.ts';
import type { RoomLanes } from '../rooms/room-lanes.ts';
import { LogThrottle } from '../telemetry/log-throttle.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import { answer, answerError, answerJson, answerProblem, answerValidation } from './answers.ts';
import { decodeBody, isJson, readRequestBody, TooLarge } from './body.ts';
import type { Idempotency } from './idempotency.ts';
import { KeyCheck } from './key.ts';
import { answerRead, countsClients, isRead } from './reads.ts';
import { pathBelowInternal, type RequestPath, readRequestPath } from './request-path.ts';
import { traceIdOf } from './trace.ts';

export interface IngressOptions extends Telemetry {
  listen: HostPort;
  /** undefined: every call is let in (development only). */
  apiKey: string | undefined;
  maxBodyBytes: number;
  contract: Contract;
  roomLanes: Pick<RoomLanes, 'carry' | 'remembersIds' | 'standalone' | 'hasNativeHubs'>;
  lanes: Lanes;
  /** Not used any more once it was left for good. */
  bridge: BridgeLane | undefined;
  log: Pick<Log, 'roster'>;
  idempotency: Idempotency;
  /** Calls without an answer; more are 503 with Retry-After. */
  maxInFlight?: number;
  /** Bytes of bodies held at once; more are 503 with Retry-After. Room for a few calls of the largest size. */
  maxBytesInFlight?: number;
}

/** ms without a byte in either direction; longer than any call takes, and than the backend's pool keeps a connection. */
const idleLimitMs = 120_000;
/** How often a refused key is logged. */
const refusalsEveryMs = 10_000;

export class Ingress {
  readonly #options: IngressOptions;
  readonly #server: Server;
  readonly #key: KeyCheck;
  readonly #idempotency: Idempotency;
  readonly #refusals: LogThrottle;
  #inFlight = 0;
  #bytesInFlight = 0;

  private constructor(options: IngressOptions) {
    this.#options = options;
    this.#key = new KeyCheck(options.apiKey);
    this.#idempotency = options.idempotency;
    this.#refusals = new LogThrottle(options.clock, refusalsEveryMs);
    this.#server = createServer(
      // The backend's pool keeps connections for a while: closing them first would cost it a failed call.
      { keepAliveTimeout: 75_000, headersTimeout: 10_000, requestTimeout: 60_000, connectionsCheckingInterval: 5_000 },
      (request, response) =>
        options.faults.contain(
          'ingress',
          () => this.#handle(request, response),
          () => response.destroy(),
        ),
    );
    // For answers that nobody reads; the other bounds end with the request.
    this.#server.timeout = idleLimitMs;
  }

  static async listen(options: IngressOptions): Promise<Ingress> {
    const ingress = new Ingress(options);
    await listenOn(ingress.#server, options.listen, nameOf('listen'));
    return ingress;
  }

  get address(): HostPort {
    return addressOf(this.#server);
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

  get #bridge(): BridgeLane | undefined {
    return this.#options.roomLanes.standalone ? undefined : this.#options.bridge;
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { metrics, clock } = this.#options;
    metrics.callsInFlight.inc();
    response.once('finish', () => dropRestWithinBound(request, clock));
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
    if (this.#options.bridge?.isOwn(request)) {
      throw new CrossfadeError('BRIDGE_LOOP', 'a request that was sent to the bridge came back: --bridge leads here');
    }
    const target = readRequestPath(request.url!);
    if (target === undefined) return this.#refuseAndClose(request, response, 400);
    const below = pathBelowInternal(target.path);
    if (below !== undefined && this.#refuseKey(request, response, target.path)) return;
    const call = below === undefined ? undefined : this.#options.contract.call(below);
    if (call === undefined) return this.#answerUnknown(request, response, target);
    if (request.method !== 'POST') return this.#refuseMethod(request, response, target);
    await this.#admit(request, response, (body) => this.#accept(call, request, response, { ...target, body }));
  }

  /** @returns whether the request has got its refusal */
  #refuseKey(request: IncomingMessage, response: ServerResponse, path: string): boolean {
    const refusal = this.#key.refuse(request);
    if (refusal === undefined) return false;
    if (this.#refusals.isDue()) {
      const from = request.socket.remoteAddress;
      const line = { status: refusal.status, path: path.slice(0, 200), from };
      this.#options.logger.warn(line, `${refusal.body.error}: the call was refused`);
    }
    answerJson(response, refusal.status, refusal.body);
    return true;
  }

  /** Reads and whatever else the contract does not know: the bridge's business where there is one. */
  async #answerUnknown(request: IncomingMessage, response: ServerResponse, target: RequestPath): Promise<void> {
    const { roomLanes, log, clock } = this.#options;
    const bridge = this.#bridge;
    // `OPTIONS *` asks this server, not one behind it; Kestrel knows nothing there.
    if (target.path === '') return answer(response, 404);
    // Of native clients a bridge knows nothing.
    const isOurs = roomLanes.hasNativeHubs && countsClients(target.path);
    if (bridge !== undefined && !isOurs) {
      await bridge.forward(request, response, target.url);
      const wasAnswered = response.statusCode < 400;
      if (wasAnswered && !isRead(target.path)) bridge.onlyThere.note(request.method!, target.path, clock.now());
      return;
    }
    await answerRead(request, response, target.path, { roster: log.roster, clock, idempotency: this.#idempotency });
  }

  async #refuseMethod(request: IncomingMessage, response: ServerResponse, { url }: RequestPath): Promise<void> {
    if (this.#bridge !== undefined) return this.#bridge.forward(request, response, url);
    answer(response, 405, ['Allow', 'POST']);
  }

  /** Holds calls and their bodies within bounds; what is over them is told to come again. */
  async #admit(
    request: IncomingMessage,
    response: ServerResponse,
    accept: (body: Buffer) => Promise<void>,
  ): Promise<void> {
    const { maxBodyBytes, maxInFlight = 10_000, maxBytesInFlight = 256 * 1024 * 1024 } = this.#options;
    if (Number(request.headers['content-length'] ?? 0) > maxBodyBytes)
      return this.#refuseAndClose(request, response, 413);
    if (this.#inFlight >= maxInFlight) throw this.#overloaded();
    this.#inFlight++;
    let bytes = 0;
    // As they come: a declared length is only a claim, and a chunked body declares none.
    const take = (more: number) => {
      if (this.#bytesInFlight + more > maxBytesInFlight) {
        this.#options.metrics.overBudget.inc({ budget: 'call_bytes' });
        throw this.#overloaded();
      }
      bytes += more;
      this.#bytesInFlight += more;
    };
    try {
      await accept(await readRequestBody(request, maxBodyBytes, take));
    } catch (error) {
      if (!(error instanceof TooLarge)) throw error;
      this.#refuseAndClose(request, response, 413);
    } finally {
      this.#inFlight--;
      this.#bytesInFlight -= bytes;
    }
  }

  #overloaded(): CrossfadeError {
    const detail = `${this.#inFlight} calls with ${this.#bytesInFlight} bytes are under way`;
    return new CrossfadeError('INGRESS_OVERLOADED', detail);
  }

  async #accept(
    call: Call,
    request: IncomingMessage,
    response: ServerResponse,
    { url, body }: Pick<RawRequest, 'url' | 'body'>,
  ): Promise<void> {
    // A bad call is the bridge's to refuse where there is one: it says exactly what it would have said.
    const refuse = async (refuseHere: () => void) => {
      if (this.#bridge !== undefined) return this.#bridge.forward(request, response, url, body);
      refuseHere();
    };
    if (!isJson(request.headers['content-type'])) return refuse(() => answerProblem(response, 415));
    let values: ReturnType<Call['read']>;
    try {
      values = call.read(decodeBody(body));
    } catch (error) {
      if (!(error instanceof BodyFault)) throw error;
      // Which field it is stands in the answer alone: names in a body are payload.
      this.#options.logger.debug({ code: 'INGRESS_BODY_INVALID', path: call.path }, 'the body of a call was refused');
      return refuse(() => answerValidation(response, error));
    }
    const { method, rawHeaders } = request;
    const raw = { method: method!, url, rawHeaders, body };
    writeOutcome(response, await this.#carry(call.toEvent(values), raw, traceIdOf(request)));
  }

  /** One call to its lane; a repeat waits here for the call of its id that is under way on this replica. */
  async #carry(event: Event, request: RawRequest, traceId: string | undefined): Promise<Outcome> {
    const { roomLanes, lanes } = this.#options;
    const [eventId] = event.eventIds;
    const call: IncomingCall = { event, request, ...(traceId !== undefined && { traceId }) };
    let lane: Lane | undefined;
    const carry = () =>
      roomLanes.carry(event.room, (decision) => {
        lane = decision.lane;
        return lanes.carry(call, decision);
      });
    const once = roomLanes.remembersIds ? this.#idempotency.once : this.#idempotency.note;
    let outcome = 'failed';
    try {
      const result = await (eventId === undefined ? carry() : once.call(this.#idempotency, eventId, carry));
      outcome = result.kind === 'bridge' ? `bridge ${result.answer.status}` : result.kind;
      return result;
    } finally {
      const { room, eventType } = event;
      this.#options.logger.debug({ eventId, eventType, room, lane, outcome, traceId }, 'a call was carried');
    }
  }

  /** Answering at once would close the connection under a client that is still sending, which would then see a reset. */
  #refuseAndClose(request: IncomingMessage, response: ServerResponse, status: 400 | 413): void {
    whenRestIsDropped(request, this.#options.clock, () => answer(response, status, ['Connection', 'close']));
  }

  #fail(request: IncomingMessage, response: ServerResponse, error: unknown): void {
    // The backend has hung up: there is nobody to answer.
    if (response.destroyed) return;
    const path = request.url?.split('?', 1)[0];
    if (error instanceof CrossfadeError)
      this.#options.logger.warn({ code: error.code, reason: error.reason, path }, error.message);
    else this.#options.faults.report('ingress', error);
    if (response.headersSent) response.destroy();
    else answerError(response, error);
  }
}

function writeOutcome(response: ServerResponse, outcome: Outcome): void {
  if (outcome.kind === 'bridge') {
    response.sendDate = false;
    response.writeHead(outcome.answer.status, outcome.answer.rawHeaders).end(outcome.answer.body);
  } else {
    answerJson(response, 200, outcome.kind === 'broadcast' ? { broadcast: true } : { duplicate: true });
  }
}
