// The proxied hubs: every request below /hubs/* goes to a bridge and is answered by it; what a connection carries passes
// a Tap on the way. In come requests and upgrades, out go the bridge's answers, with stream-lane events in between.
// Promises: nothing here judges a client (no 401, no CORS of our own); a hub that the contract does not know is
// forwarded as well, untapped; a connection stays with the bridge that gave out its token.

import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { BridgeAddress, BridgeAddresses } from '../../bridge/addresses.ts';
import { BridgeClient, type BridgeRequest, type BridgeResponse, bodyOf, neverSent } from '../../bridge/client.ts';
import { headerOf, readAnswerBody } from '../../bridge/response.ts';
import type { Contract } from '../../contract/contract.ts';
import type { SharedValues } from '../../log/log.ts';
import { refusalOf, sendRefusal } from '../../refusal.ts';
import { shortTag } from '../../short-key.ts';
import type { Clock } from '../../telemetry/clock.ts';
import type { Faults } from '../../telemetry/faults.ts';
import { LogThrottle } from '../../telemetry/log-throttle.ts';
import type { Logger } from '../../telemetry/logger.ts';
import { type HubPath, queryValue, withoutQueryValue } from '../hub-path.ts';
import { type Client, type HubsSide, refuseLeaving } from '../hubs-side.ts';
import { Admission } from './admission.ts';
import { Affinity } from './affinity.ts';
import type { ConnectionFacts } from './connection.ts';
import { EventStream } from './event-stream.ts';
import {
  answerUnreachable,
  forward,
  goneSignal,
  passAnswer,
  readableRequestOf,
  requestOf,
  writeHead,
} from './forwarding.ts';
import type { Carrier, Leg, Tap } from './leg.ts';
import { LongPolling } from './long-polling.ts';
import { maxNegotiationBytes, tokenIn, withTaggedToken } from './negotiation.ts';
import { Posts } from './posts.ts';
import { userOfRequest } from './user.ts';
import { WaitingClient } from './waiting-client.ts';
import { WebSocketUpgrades } from './web-socket-upgrade.ts';

export interface ProxiedHubsOptions extends SharedValues {
  addresses: BridgeAddresses;
  contract: Contract;
  /** Begins a connection; what comes and goes on it is shown to the Tap. */
  open(facts: ConnectionFacts, leg: Leg): Tap;
  /** @returns what stands in front of a token that this bridge gives out now; empty where it is shown to clients as it is */
  tagFor(bridge: string): string;
  clock: Clock;
  faults: Faults;
  logger: Logger;
}

const warnEveryMs = 10_000;

export class ProxiedHubs implements HubsSide {
  readonly #options: ProxiedHubsOptions;
  readonly #affinity: Affinity;
  readonly #http: BridgeClient;
  readonly #upgrades: WebSocketUpgrades;
  readonly clients = new Set<OpenClient>();
  /** Connections that come by many requests, by their token. */
  readonly #byRequests = new Map<string, EventStream | LongPolling>();
  readonly #unreachable: LogThrottle;
  #saidStateful = false;
  #refusesNew = false;

  constructor(options: ProxiedHubsOptions) {
    this.#options = options;
    this.#affinity = new Affinity(options);
    this.#http = new BridgeClient({ addresses: options.addresses, timeoutMs: 0 });
    this.#upgrades = new WebSocketUpgrades(options.clock, options.faults);
    this.#unreachable = new LogThrottle(options.clock, warnEveryMs);
  }

  async answer(request: IncomingMessage, response: ServerResponse, path: HubPath): Promise<void> {
    if (this.#refusesNew && !this.#byRequests.has(queryValue(path.query, 'id') ?? '')) return refuseLeaving(response);
    try {
      await this.#answer(request, response, path);
    } catch (error) {
      // The client went first: nothing is amiss at the bridge.
      if (response.destroyed) return;
      this.#warnUnreachable(error);
      answerUnreachable(response);
    }
  }

  async upgrade(request: IncomingMessage, socket: Socket, head: Buffer, path: HubPath): Promise<void> {
    if (this.#refusesNew) {
      const refusal = refusalOf(request);
      refuseLeaving(refusal);
      return sendRefusal(refusal, socket, this.#options.clock);
    }
    const client = new WaitingClient(socket, head);
    const token = queryValue(path.query, 'id');
    const { addresses } = this.#options;
    if (token === undefined) return this.#dial(request, client, path, addresses.next(), addresses.all.length);
    const address = await this.#affinity.addressOf(token, path.origin?.bridge);
    if (!client.left) this.#dial(request, client, path, address, 1);
  }

  /** Whether there is a connection of this token here. */
  carries(token: string): boolean {
    return this.#affinity.isOpen(token);
  }

  refuseNew(): void {
    this.#refusesNew = true;
  }

  async close(): Promise<void> {
    await this.#http.close();
  }

  async #answer(request: IncomingMessage, response: ServerResponse, path: HubPath): Promise<void> {
    const { negotiates, query } = path;
    if (negotiates && request.method === 'POST') return this.#negotiate(request, response, query);
    const token = queryValue(query, 'id');
    if (token === undefined) return this.#forwardAnywhere(request, response);
    if (path.refreshes) return this.#refresh(request, response, path, token);
    const connection = this.#byRequests.get(token);
    if (connection !== undefined && request.method === 'POST') return connection.post(request, response, query);
    if (connection instanceof LongPolling && request.method === 'GET') return connection.poll(request, response, query);
    if (connection instanceof LongPolling && request.method === 'DELETE') return connection.remove(request, response);
    const address = await this.#affinity.addressOf(token, path.origin?.bridge);
    if (connection === undefined && request.method === 'GET') return this.#get(request, response, path, token, address);
    await forward(this.#http, address, { ...requestOf(request), body: bodyOf(request) }, response);
  }

  /** New credentials for a connection: the bridge judges them, aside from what the client says on it. */
  async #refresh(
    request: IncomingMessage,
    response: ServerResponse,
    { query, origin }: HubPath,
    token: string,
  ): Promise<void> {
    const address = await this.#affinity.addressOf(token, origin?.bridge);
    const outgoing = { ...requestOf(request), body: bodyOf(request), signal: goneSignal(response) };
    const answer = await this.#http.request(address, outgoing);
    if (request.method === 'POST' && answer.statusCode === 200) {
      this.#byRequests.get(token)?.noteRefresh(request, query);
    }
    await passAnswer(answer, response);
  }

  /** A GET that may open a connection: by its answer the bridge says which transport it is, if any. */
  async #get(
    request: IncomingMessage,
    response: ServerResponse,
    path: HubPath,
    token: string,
    address: BridgeAddress,
  ): Promise<void> {
    const { clock, faults } = this.#options;
    const answer = await this.#http.request(address, {
      ...readableRequestOf(request),
      body: null,
      signal: goneSignal(response),
    });
    const type = answer.statusCode === 200 ? headerOf(answer, 'content-type') : undefined;
    const admission = new Admission(this.#http, address, request, path.query);
    const posts = new Posts(this.#http, address, admission);
    if (type?.startsWith('text/event-stream')) {
      const events = new EventStream(answer, response, posts, faults);
      this.#byRequests.set(token, events);
      return events.start(this.#begin(request, path, address, events));
    }
    if (type?.startsWith('application/octet-stream')) {
      const polls: LongPolling = new LongPolling({
        http: this.#http,
        address,
        admission,
        posts,
        clock,
        faults,
        // Of two first polls at once the later one has the token.
        onForgotten: () => this.#byRequests.get(token) === polls && this.#byRequests.delete(token),
        onUnreachable: (error) => this.#warnUnreachable(error),
      });
      this.#byRequests.set(token, polls);
      return polls.start(this.#begin(request, path, address, polls), answer, response);
    }
    await passAnswer(answer, response);
  }

  /** The answer is read on its way to the client, which cannot use its token before it is known here. */
  async #negotiate(request: IncomingMessage, response: ServerResponse, query: URLSearchParams): Promise<void> {
    const stateful = 'usestatefulreconnect';
    const asksForStateful = queryValue(query, stateful) !== undefined;
    const url = asksForStateful ? withoutQueryValue(request.url!, stateful) : request.url!;
    if (asksForStateful) this.#sayStateful();
    const { address, answer } = await this.#ask(response, {
      ...readableRequestOf(request),
      url,
      body: bodyOf(request),
    });
    const body = await readAnswerBody(answer, maxNegotiationBytes);
    const tag = this.#options.tagFor(shortTag(address.key));
    const tagged = answer.statusCode === 200 && tag !== '' ? withTaggedToken(body, tag) : undefined;
    const token = answer.statusCode === 200 && tagged === undefined ? tokenIn(body) : undefined;
    if (token !== undefined) await this.#affinity.learn(token, address);
    writeHead(response, answer, tagged?.length);
    response.end(tagged ?? body);
  }

  async #forwardAnywhere(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { answer } = await this.#ask(response, { ...requestOf(request), body: bodyOf(request) });
    await passAnswer(answer, response);
  }

  /** Asks the address whose turn it is, and the next where that one cannot be reached and nothing is lost by it. */
  async #ask(
    response: ServerResponse,
    request: BridgeRequest,
  ): Promise<{ address: BridgeAddress; answer: BridgeResponse }> {
    const { addresses } = this.#options;
    const outgoing = { ...request, signal: goneSignal(response) };
    for (let left = addresses.all.length; ; left--) {
      const address = addresses.next();
      try {
        return { address, answer: await this.#http.request(address, outgoing) };
      } catch (error) {
        if (!neverSent(error)) throw error;
        addresses.refused(address);
        if (left <= 1 || outgoing.body !== null) throw error;
      }
    }
  }

  /** @param attempts how many addresses may be tried */
  #dial(
    request: IncomingMessage,
    client: WaitingClient,
    path: HubPath,
    address: BridgeAddress,
    attempts: number,
  ): void {
    const { addresses } = this.#options;
    this.#upgrades.upgrade({
      request,
      client,
      address,
      open: (leg) => this.#begin(request, path, address, leg),
      onUnreachable: (error) => {
        this.#warnUnreachable(error);
        if (!neverSent(error)) return false;
        addresses.refused(address);
        if (attempts <= 1) return false;
        this.#dial(request, client, path, addresses.next(), attempts - 1);
        return true;
      },
    });
  }

  /** A connection is open on both sides. */
  #begin(request: IncomingMessage, path: HubPath, address: BridgeAddress, carrier: Carrier): Tap {
    const { contract, faults } = this.#options;
    const hub = contract.hub(path.hub);
    const token = queryValue(path.query, 'id') ?? randomUUID();
    this.#affinity.hold(token, address);
    const open = (tap: Tap) => {
      // What goes wrong with the Tap's end must not keep the connection from being forgotten.
      const client = new OpenClient(hub?.name, tap, carrier, () => {
        faults.contain('client', () => tap.ended());
        this.#ended(client, carrier, token);
      });
      this.clients.add(client);
      // It was being dialled when that began.
      if (this.#refusesNew) queueMicrotask(faults.contained('client', () => carrier.cut()));
      return client;
    };
    if (hub === undefined) return open(untapped);
    const { user, contradictory } = userOfRequest(request, path.query);
    if (contradictory) {
      this.#options.logger.warn({ hub: hub.name }, 'a client brings tokens of two users: it is in no group of either');
    }
    const session = queryValue(path.query, 'sessionId') || undefined;
    return open(this.#options.open({ hub, token, user, session }, carrier));
  }

  #ended(client: OpenClient, carrier: Carrier, token: string): void {
    this.#affinity.release(token);
    if (carrier instanceof EventStream) this.#byRequests.delete(token);
    this.clients.delete(client);
  }

  #sayStateful(): void {
    if (this.#saidStateful) return;
    this.#saidStateful = true;
    this.#options.logger.info('stateful reconnect is not offered: clients that ask for it negotiate without');
  }

  #warnUnreachable(cause: unknown): void {
    if (!this.#unreachable.isDue()) return;
    this.#options.logger.warn({ code: 'BRIDGE_UNREACHABLE', err: cause }, 'a client got no answer of the bridge');
  }
}

/** A connection that is open on both sides, between its transport and what looks at its bytes. */
class OpenClient implements Tap, Client {
  readonly hubName: string | undefined;
  readonly #tap: Tap;
  readonly #carrier: Carrier;
  readonly #onEnded: () => void;
  readonly #gone = Promise.withResolvers<void>();

  constructor(hubName: string | undefined, tap: Tap, carrier: Carrier, onEnded: () => void) {
    this.hubName = hubName;
    this.#tap = tap;
    this.#carrier = carrier;
    this.#onEnded = onEnded;
  }

  get isNative(): boolean {
    return false;
  }

  get user(): string | undefined {
    return this.#tap.user;
  }

  get company(): string {
    return this.#tap.company;
  }

  get lastUse(): number {
    return this.#tap.lastUse;
  }

  get gone(): Promise<void> {
    return this.#gone.promise;
  }

  closeForReconnect(): void {
    this.#carrier.closeForReconnect();
  }

  terminate(): void {
    this.#carrier.cut();
  }

  untilReady(): Promise<void> | undefined {
    return this.#tap.untilReady();
  }

  fromClient(data: Buffer): void {
    this.#tap.fromClient(data);
  }

  fromBridge(data: Buffer, handOn: (shown: Buffer) => void): void {
    this.#tap.fromBridge(data, handOn);
  }

  caughtUp(): void {
    this.#tap.caughtUp();
  }

  fence(): Promise<void> {
    return this.#tap.fence();
  }

  ended(): void {
    this.#onEnded();
    this.#gone.resolve();
  }
}

const untapped: Tap = {
  user: undefined,
  company: '',
  lastUse: 0,
  untilReady: () => undefined,
  fromClient() {},
  fromBridge: (data, handOn) => handOn(data),
  caughtUp() {},
  fence: () => Promise.resolve(),
  ended() {},
};
