// Any request may come to any replica. In come those that the edge's door lets through, and those that other replicas have relayed; out
// they go to the hubs here, or, where another replica holds their connection, to that one, the holder, whose answer streams back.
// Promises: a request is relayed once at most, and to live replicas alone; a token whose replica is gone is unknown, so that its client
// comes back; who breaks off on one side breaks off the other; WebSockets are served where they come.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { type BridgeResponse, bodyOf } from '../../bridge/client.ts';
import { type EdgeRequest, forwardedHeaders } from '../../bridge/headers.ts';
import { headerOf } from '../../bridge/response.ts';
import { type Peer, PeerUnreachable } from '../../peers/peer-connection.ts';
import { type Peers, peerPaths } from '../../peers/peers.ts';
import { refuse } from '../../refusal.ts';
import { LogThrottle } from '../../telemetry/log-throttle.ts';
import type { Telemetry } from '../../telemetry/telemetry.ts';
import { type HubPath, readHubPath } from '../hub-path.ts';
import { type Client, type HubsSide, refuseLeaving } from '../hubs-side.ts';
import { answerUnreachable, goneSignal, passAnswer } from '../proxied/forwarding.ts';
import { Holders, type HoldersOptions } from './holders.ts';
import { readTagged, type TaggedToken, tagText, withoutTag } from './token-tag.ts';

/** What the edge learns of the other replicas once it is connected. */
export interface RelayPeers {
  peers: Pick<Peers, 'tag' | 'allRelay' | 'find' | 'refresh' | 'ask'>;
  signature: HoldersOptions['signature'];
}

export interface RelayOptions extends Telemetry {
  hubs: Pick<HubsSide, 'answer' | 'upgrade'>;
  /** Standard: 10,000. */
  maxRelayed?: number | undefined;
}

/** Of a connection that comes by requests; what else comes (preflights) any replica answers alike. */
const relayedMethods = new Set(['GET', 'POST', 'DELETE']);
/** Requests under way to holders. Each keeps up to 200 KB of what its client does not take, as no more is read of the holder. */
const standardMaxRelayed = 10_000;
const sayEveryMs = 10_000;
/** ms that another replica has to say whose a connection is. */
const askMs = 2_000;
/** A client asks for it once in the life of an access token. */
const maxQuestions = 100;

export class Relay implements Pick<HubsSide, 'answer' | 'upgrade' | 'clients' | 'refuseNew' | 'close'> {
  readonly #options: RelayOptions;
  readonly #says: LogThrottle;
  /** Connections of other replicas, whose requests are not relayed again. */
  readonly #fromPeers = new WeakSet<Socket>();
  #others: RelayPeers | undefined;
  #holders: Holders | undefined;
  #count = 0;
  #questions = 0;
  /** Event streams that go through here to their clients, whom this replica sends away when it ends. */
  readonly clients = new Set<RelayedStream>();
  #refusesNew = false;
  #isClosed = false;

  constructor(options: RelayOptions) {
    this.#options = options;
    this.#says = new LogThrottle(options.clock, sayEveryMs);
  }

  connect(others: RelayPeers): void {
    this.#others = others;
    this.#holders = new Holders({ ...this.#options, ...others });
  }

  /**
   * @param bridge the tag of the bridge that has given the token out; empty where hubs are native
   * @returns what stands in front of a token that is given out here; empty while a live replica would not know what it is
   */
  tagFor(bridge: string): string {
    const peers = this.#others?.peers;
    return peers?.allRelay ? tagText({ replica: peers.tag, bridge }) : '';
  }

  /** Another replica has made this connection for requests of its clients. */
  trust(socket: Socket): void {
    this.#fromPeers.add(socket);
  }

  async answer(request: EdgeRequest, response: ServerResponse, path: HubPath): Promise<void> {
    const { hubs } = this.#options;
    const isRelayed = this.#fromPeers.has(request.socket);
    if (isRelayed) request.isRelayed = true;
    const tagged = path.negotiates ? undefined : readTagged(path.query);
    if (tagged === undefined) return hubs.answer(request, response, path);
    const isOurs = isRelayed || !this.#isElsewhere(tagged) || !relayedMethods.has(request.method!);
    const holder = isOurs ? undefined : await this.#others?.peers.find(tagged.replica);
    if (response.destroyed) return undefined;
    if (holder !== undefined) return this.#relay(holder, request, response);
    if (isOurs) return hubs.answer(request, response, this.#untagged(request, tagged));
    this.#options.metrics.relays.inc({ outcome: 'gone' });
    // With its tag nobody knows the token. New credentials may be for a WebSocket, which does not end with who gave its token out.
    return hubs.answer(request, response, path.refreshes ? this.#untagged(request, tagged) : path);
  }

  async upgrade(request: IncomingMessage, socket: Socket, head: Buffer, path: HubPath): Promise<void> {
    const tagged = readTagged(path.query);
    await this.#options.hubs.upgrade(request, socket, head, tagged ? this.#untagged(request, tagged) : path);
  }

  /** From now on no event stream begins here that another replica holds, and clients are asked to send further requests elsewhere. */
  refuseNew(): void {
    this.#refusesNew = true;
  }

  /** @returns whose native connection this is at another replica; undefined where no replica that answers has it */
  async askUser(connectionId: string): Promise<{ user: string | undefined } | undefined> {
    if (this.#others === undefined || this.#questions >= maxQuestions) return undefined;
    const { peers } = this.#others;
    this.#questions++;
    try {
      // It may be at one that has come a moment ago.
      await peers.refresh();
      const asked = await peers.ask(peerPaths.connection, { connectionId }, askMs);
      for (const answer of asked.answers) {
        const user = (answer as { user?: unknown } | undefined)?.user;
        if (typeof user === 'string' || user === null) return { user: user ?? undefined };
      }
      return undefined;
    } finally {
      this.#questions--;
    }
  }

  /** What is under way to holders breaks off. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#holders?.close();
  }

  #isElsewhere({ replica }: TaggedToken): boolean {
    return this.#others !== undefined && replica !== this.#others.peers.tag;
  }

  /** The request as if its token had never had a tag. */
  #untagged(request: IncomingMessage, tagged: TaggedToken): HubPath {
    request.url = withoutTag(request.url!, tagged);
    const origin = { bridge: tagged.bridge, isElsewhere: this.#isElsewhere(tagged) };
    return { ...readHubPath(request.url)!, origin };
  }

  async #relay(holder: Peer, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { metrics, maxRelayed = standardMaxRelayed } = this.#options;
    if (this.#count >= maxRelayed) {
      metrics.relays.inc({ outcome: 'refused' });
      return refuseLeaving(response);
    }
    if (this.#refusesNew) {
      if (request.headers.accept?.includes('text/event-stream')) return refuseLeaving(response);
      response.shouldKeepAlive = false;
    }
    metrics.relayed.set(++this.#count);
    try {
      await this.#exchange(holder, request, response);
    } catch (error) {
      this.#fail(holder, response, error);
    } finally {
      metrics.relayed.set(--this.#count);
    }
  }

  async #exchange(holder: Peer, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const answer = await this.#holders!.ask(holder, {
      method: request.method!,
      url: request.url!,
      headers: forwardedHeaders(request),
      body: bodyOf(request),
      signal: goneSignal(response),
    });
    this.#options.metrics.relays.inc({ outcome: 'answered' });
    if (!isStream(answer)) return passAnswer(answer, response);
    const stream = new RelayedStream(response);
    this.clients.add(stream);
    await passAnswer(answer, response).finally(() => {
      this.clients.delete(stream);
      stream.onGone();
    });
  }

  #fail(holder: Peer, response: ServerResponse, error: unknown): void {
    // The client went first, which ends the request at the holder: nothing is amiss there.
    if (hasClientLeft(error)) return;
    if (this.#isClosed) return answerUnreachable(response);
    const wasSent = !(error instanceof PeerUnreachable);
    this.#options.metrics.relays.inc({ outcome: wasSent ? 'broken' : 'unreachable' });
    if (this.#says.isDue()) {
      const { message: reason } = error as Error;
      const code = 'EDGE_HOLDER_UNREACHABLE';
      this.#options.logger.warn({ code, holder: holder.instance, reason }, 'a request could not be relayed');
    }
    if (wasSent || response.headersSent) answerUnreachable(response);
    else refuse(response, 404);
  }
}

/** As the end of this replica sees it. */
class RelayedStream implements Client {
  readonly hubName = undefined;
  readonly isNative = false;
  readonly user = undefined;
  readonly company = '';
  readonly lastUse = 0;
  readonly #response: ServerResponse;
  readonly #gone = Promise.withResolvers<void>();

  constructor(response: ServerResponse) {
    this.#response = response;
  }

  get gone(): Promise<void> {
    return this.#gone.promise;
  }

  onGone(): void {
    this.#gone.resolve();
  }

  /** Its holder alone could say a last word; the client takes the end of a stream for a lost connection, and comes back. */
  closeForReconnect(): void {
    this.#response.destroy();
  }

  terminate(): void {
    this.#response.destroy();
  }
}

function isStream(answer: BridgeResponse): boolean {
  return headerOf(answer, 'content-type')?.startsWith('text/event-stream') ?? false;
}

function hasClientLeft(error: unknown): boolean {
  const { name, code } = error as { name?: string; code?: string };
  return name === 'AbortError' || code === 'ERR_STREAM_PREMATURE_CLOSE';
}
