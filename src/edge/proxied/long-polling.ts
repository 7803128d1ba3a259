// A connection over long polling: one poll of the client is one poll at the bridge, and the bridge answers it. Only a message of the log
// answers a client's poll from here: the poll at the bridge then stays (with it the message that the bridge was about to write would be
// lost), and the client's next poll waits for its answer.
// Promises: bytes reach the client in order, whether they come from the bridge or the log, and only a client whose credentials the bridge
// has accepted; crossfade makes no poll at the bridge that the client did not make; a client that stays away looks to the bridge as if it
// did; one that is asked to come back elsewhere first gets what waits for its poll.
// Source: TransportProtocols.md ("Long Polling", "HTTP Post").

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { BridgeAddress } from '../../bridge/addresses.ts';
import type { BridgeClient, BridgeResponse } from '../../bridge/client.ts';
import { withoutHeaders } from '../../bridge/headers.ts';
import { headersOf, readAnswerBody } from '../../bridge/response.ts';
import type { Clock } from '../../telemetry/clock.ts';
import type { Faults } from '../../telemetry/faults.ts';
import type { HubProtocolName } from '../hub-protocol/protocol.ts';
import type { Prepared } from '../prepared.ts';
import type { Admission } from './admission.ts';
import { answerUnreachable, forward, maxMessageBytes, readableRequestOf, requestOf } from './forwarding.ts';
import type { Carrier, Tap } from './leg.ts';
import type { Posts } from './posts.ts';

/** One poll that is outstanding at the bridge. */
interface BridgePoll {
  /** The client's poll that waits for its answer; undefined after a message of the log has answered that one. */
  client: ServerResponse | undefined;
  abort: AbortController;
}

/** An answer in hand. */
interface PollAnswer {
  status: number;
  statusText: string;
  headers: string[];
  body: Buffer;
}

export interface LongPollingOptions {
  http: BridgeClient;
  address: BridgeAddress;
  admission: Admission;
  posts: Posts;
  clock: Clock;
  faults: Faults;
  /** The client's requests are not this connection's any more. */
  onForgotten(): void;
  onUnreachable(error: unknown): void;
}

/** ASP.NET ends a connection that has had no poll for 15 s: so long after its client's last poll the bridge must see none. */
const awayMs = 15_000;
/**
 * ASP.NET looks once a second which connections to end. A connection that crossfade still counted after the bridge had ended it would hide
 * from the guard one that has gone past crossfade.
 */
const bridgeLooksMs = 3_000;
/** Bytes that may wait for the client's next poll, beyond one answer of the bridge. */
const maxWaitingBytes = 16 * 1024 * 1024;

export class LongPolling implements Carrier {
  readonly #options: LongPollingOptions;
  /** Oldest first; more than one only while a client has more than one poll out. */
  readonly #polls: BridgePoll[] = [];
  #newest: BridgePoll | undefined;
  #tap: Tap | undefined;
  /** Bytes for the client's next poll. */
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  /** An answer of the bridge is being put together with what is injected, for a client that waits for it. */
  #isAnswering = false;
  /** The answer that ended the connection while no poll of the client was there to get it. */
  #last: PollAnswer | undefined;
  /** What an answer of this connection looks like: that of the bridge's latest 200. */
  #shape: Pick<PollAnswer, 'statusText' | 'headers'> = { statusText: 'OK', headers: [] };
  /** Its client is to come back elsewhere: what the bridge had for it is on its way here, or has come. */
  #leaves: 'soon' | 'now' | undefined;
  #cancelAway = () => {};

  constructor(options: LongPollingOptions) {
    this.#options = options;
  }

  /** @param first the bridge's answer to the poll that made the connection */
  async start(tap: Tap, first: BridgeResponse, response: ServerResponse): Promise<void> {
    this.#tap = tap;
    try {
      await this.#finish(this.#register(response), first);
    } catch (error) {
      this.#forget();
      throw error;
    }
  }

  async poll(request: IncomingMessage, response: ServerResponse, query: URLSearchParams): Promise<void> {
    if (!(await this.#options.admission.admits(request, response, query)) || response.destroyed) return undefined;
    this.#cancelAway();
    if (this.#leaves === 'now' && this.#tap !== undefined) {
      this.#register(response);
      return this.#close();
    }
    if (this.#waiting.length > 0) return this.#answerWaiting(response);
    if (this.#last !== undefined) return this.#tellEnd(response, this.#last);
    const free = this.#polls.find(({ client }) => client === undefined);
    if (free === undefined) return this.#ask(request, this.#register(response));
    this.#attach(free, response);
    return undefined;
  }

  post(request: IncomingMessage, response: ServerResponse, query: URLSearchParams): Promise<void> {
    return this.#options.posts.forward(request, response, query, (bytes) => this.#tap?.fromClient(bytes));
  }

  noteRefresh(request: IncomingMessage, query: URLSearchParams): void {
    this.#options.posts.noteRefresh(request, query);
  }

  /** The client's DELETE; polls go on until the bridge ends them. */
  async remove(request: IncomingMessage, response: ServerResponse): Promise<void> {
    await forward(this.#options.http, this.#options.address, { ...requestOf(request), body: null }, response);
    if (response.statusCode < 300) this.#end();
  }

  // The Leg.

  inject(prepared: Prepared, protocol: HubProtocolName): void {
    const bytes = protocol === 'json' ? prepared.json : prepared.messagePack;
    // What else is injected in this turn goes with the same answer.
    if (this.#waiting.length === 0) queueMicrotask(this.#contained(() => this.#answerNewest()));
    this.#wait(bytes);
  }

  sendToBridge(record: Buffer, protocol: HubProtocolName): void {
    this.#options.posts.send(record, protocol);
  }

  get backlogBytes(): number {
    return this.#isAnswering ? 0 : this.#waitingBytes;
  }

  /**
   * Also between two polls: a message that the bridge writes then comes with the next poll, and a fence, which goes by a request of its
   * own, may reach the bridge behind it.
   */
  readonly readsBridge = true;

  /** A 204 tells the client's polls that the connection is over; a client that reconnects at all does it then. */
  cut(): void {
    if (this.#tap === undefined) return;
    this.#last = { status: 204, statusText: 'No Content', headers: this.#shape.headers, body: Buffer.alloc(0) };
    // Who is to leave, and asks too late for that, still gets it.
    if (this.#leaves === undefined) this.#dropWaiting();
    this.#options.posts.remove();
    this.#end();
    for (const { client, abort } of this.#polls.splice(0)) {
      abort.abort();
      if (client !== undefined) this.#tellEnd(client, this.#last);
    }
    this.#expectPoll();
  }

  /** Between two polls messages wait for the client, here and at the bridge: it gets them first. Who does not ask again in time is cut. */
  closeForReconnect(): void {
    if (this.#tap === undefined) return;
    this.#leaves = 'soon';
    const settled = this.#tap.fence().then(() => {
      this.#leaves = 'now';
      if (this.#polls.some(({ client }) => client !== undefined)) this.#close();
    });
    this.#options.faults.contain(
      'client',
      () => settled,
      () => this.cut(),
    );
  }

  /** One poll of the client gets what waits, and the one behind it that there is nothing more; without anything, the first one does. */
  #close(): void {
    this.#answerNewest();
    this.cut();
  }

  // The bridge's answers.

  async #ask(request: IncomingMessage, poll: BridgePoll): Promise<void> {
    const { http, address, onUnreachable } = this.#options;
    try {
      const answer = await http.request(address, {
        ...readableRequestOf(request),
        body: null,
        signal: poll.abort.signal,
      });
      this.#options.admission.noteStatus(answer.statusCode);
      await this.#finish(poll, answer);
    } catch (error) {
      const { client } = poll;
      this.#drop(poll);
      if (poll.abort.signal.aborted) return;
      onUnreachable(error);
      // With no poll of the client to answer the connection stays: the client's next poll finds out itself whether the bridge is back.
      // Behind a 502 no client polls again, so the connection ends here.
      if (client === undefined) return;
      this.#end();
      if (this.#waiting.length > 0 && !client.destroyed) return this.#answerWaiting(client);
      if (!client.destroyed) answerUnreachable(client);
      this.#forget();
    }
  }

  async #finish(poll: BridgePoll, answer: BridgeResponse): Promise<void> {
    const body = await readAnswerBody(answer, maxMessageBytes);
    await this.#tap?.untilReady();
    if (!this.#polls.includes(poll)) return;
    this.#drop(poll);
    const { statusCode: status, statusText } = answer;
    const whole = { status, statusText, headers: headersOf(answer), body };
    if (status === 200) this.#pass(poll, whole);
    else this.#passEnd(poll, whole);
  }

  #pass({ client }: BridgePoll, answer: PollAnswer): void {
    this.#learnShape(answer);
    const { body } = answer;
    const before = this.#last;
    let asItCame = false;
    // A client that is about to get it all is not behind.
    this.#isAnswering = client !== undefined;
    const handOn = (shown: Buffer) => {
      asItCame = shown === body && this.#waiting.length === 0 && client !== undefined;
      if (!asItCame && shown.length > 0) this.#wait(shown);
    };
    if (this.#tap === undefined || body.length === 0) handOn(body);
    else this.#tap.fromBridge(body, handOn);
    this.#isAnswering = false;
    if (client !== undefined && asItCame) return this.#answer(client, answer);
    // It was cut off just now, and what stood before in this answer is gone: nothing newer may follow.
    if (client !== undefined && this.#last !== undefined && this.#last !== before)
      return this.#tellEnd(client, this.#last);
    // Also where no bytes are left for it: an empty answer, as after the poll's timeout, makes the client poll again.
    if (client !== undefined) this.#answerWaiting(client);
    else this.#answerNewest();
  }

  /** 204 and 404 end the connection, unless a newer poll has only displaced this one. */
  #passEnd(poll: BridgePoll, answer: PollAnswer): void {
    const { client } = poll;
    const isOver = poll === this.#newest && [204, 404].includes(answer.status);
    if (!isOver) {
      if (client !== undefined) this.#answer(client, answer);
      return;
    }
    this.#end();
    if (client !== undefined && this.#waiting.length === 0) return this.#tellEnd(client, answer);
    this.#last = answer;
    if (client !== undefined) this.#answerWaiting(client);
  }

  // Polls and their clients.

  #register(response: ServerResponse): BridgePoll {
    const poll: BridgePoll = { client: undefined, abort: new AbortController() };
    this.#polls.push(poll);
    this.#newest = poll;
    this.#attach(poll, response);
    return poll;
  }

  #attach(poll: BridgePoll, response: ServerResponse): void {
    poll.client = response;
    response.once(
      'close',
      this.#contained(() => this.#onClientGone(response)),
    );
  }

  /** The client has aborted its poll (or has its answer: then no poll of ours belongs to it any more). */
  #onClientGone(response: ServerResponse): void {
    const poll = this.#polls.find(({ client }) => client === response);
    if (poll === undefined) return;
    this.#drop(poll);
    poll.abort.abort();
    this.#expectPoll();
  }

  #contained(run: () => void): () => void {
    return this.#options.faults.contained('client', run, () => this.cut());
  }

  #drop(poll: BridgePoll): void {
    const at = this.#polls.indexOf(poll);
    if (at !== -1) this.#polls.splice(at, 1);
  }

  #expectPoll(): void {
    this.#cancelAway();
    if (this.#polls.some(({ client }) => client !== undefined)) return;
    this.#cancelAway = this.#options.clock.after(awayMs, () => {
      // A poll that is aborted only now makes the bridge wait as long again, from its end on.
      const stillMs = this.#polls.length === 0 ? 0 : awayMs;
      for (const { abort } of this.#polls.splice(0)) abort.abort();
      this.#cancelAway = this.#options.clock.after(stillMs + bridgeLooksMs, () => this.#forget());
    });
  }

  // Answers to the client.

  #wait(bytes: Buffer): void {
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    if (this.#waitingBytes > maxWaitingBytes) this.cut();
  }

  /** The bytes that wait answer the client's newest poll; its poll at the bridge stays for the client's next one. */
  #answerNewest(): void {
    const poll = this.#polls.findLast(({ client }) => client !== undefined);
    if (poll?.client === undefined || this.#waiting.length === 0) return;
    const { client } = poll;
    poll.client = undefined;
    this.#answerWaiting(client);
  }

  #answerWaiting(client: ServerResponse): void {
    const body = Buffer.concat(this.#waiting);
    this.#dropWaiting();
    const headers = [...this.#shape.headers, 'Content-Length', String(body.length)];
    this.#answer(client, { ...this.#shape, status: 200, headers, body });
    this.#tap?.caughtUp();
  }

  #answer(client: ServerResponse, { status, statusText, headers, body }: PollAnswer): void {
    client.writeHead(status, statusText, headers);
    client.end(body);
    this.#expectPoll();
  }

  #dropWaiting(): void {
    this.#waiting = [];
    this.#waitingBytes = 0;
  }

  #tellEnd(client: ServerResponse, answer: PollAnswer): void {
    this.#answer(client, answer);
    this.#forget();
  }

  /** The bridge's empty answer after a poll's timeout has another type, and is no pattern. */
  #learnShape({ statusText, headers }: PollAnswer): void {
    if (!headers.some((value) => /^application\/octet-stream/i.test(value))) return;
    this.#shape = { statusText, headers: withoutHeaders(headers, (name) => /^(content-length|date)$/.test(name)) };
  }

  #end(): void {
    const tap = this.#tap;
    this.#tap = undefined;
    tap?.ended();
  }

  #forget(): void {
    this.#end();
    this.#cancelAway();
    this.#options.onForgotten();
  }
}
