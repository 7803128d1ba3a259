// A native connection over long polling: what waits for the client answers its next poll; the client's own come by POSTs (posted-bytes.ts).
// Promises: one poll at a time, an earlier one ends with 204; one answer at a time, and an answer that breaks off ends the connection, as
// nobody knows how much of it the client has; a client that stays away is gone after 15 s.
// Source: TransportProtocols.md ("Long Polling", "HTTP Post").

import type { ServerResponse } from 'node:http';
import type { HubProtocolName } from '../hub-protocol/protocol.ts';
import type { Prepared } from '../prepared.ts';
import type { PostedBytes } from './posted-bytes.ts';
import type { NativeTransport, TransportListener } from './transport.ts';

export interface PollLimits {
  /** ms after which a poll without a message is answered by an empty one. */
  pollMs: number;
  /** ms for which a client may stay away between two polls. */
  awayMs: number;
}

/** Of every answer to a poll, refusals too. */
export const pollHeaders = {
  'Cache-Control': 'no-cache, no-store',
  Pragma: 'no-cache',
  Expires: 'Thu, 01 Jan 1970 00:00:00 GMT',
};

export class NativeLongPolling implements NativeTransport {
  readonly takesBinary = true;
  readonly needsPings = false;
  readonly posted: PostedBytes;
  readonly #now: () => number;
  readonly #limits: PollLimits;
  #listener: TransportListener | undefined;
  /** The client's poll that has no answer yet. */
  #poll: ServerResponse | undefined;
  /** An answer with records that is on its way. */
  #answer: ServerResponse | undefined;
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #isClosing = false;
  /** ms, monotonic: when the poll is to be answered, or the client is gone. */
  #deadline: number;

  /** @param now ms, monotonic */
  constructor(now: () => number, limits: PollLimits, posted: PostedBytes) {
    this.posted = posted;
    this.#now = now;
    this.#limits = limits;
    this.#deadline = now() + limits.awayMs;
  }

  start(listener: TransportListener): void {
    this.#listener = listener;
    this.posted.start((bytes) => listener.receive(bytes));
  }

  /** The poll that makes the connection is answered at once, and tells the client that it is there. */
  open(response: ServerResponse): void {
    writePoll(response, 200, 'application/octet-stream');
  }

  /** @returns false where the connection is over */
  poll(response: ServerResponse): boolean {
    if (this.#listener === undefined) return false;
    this.#endPoll(204);
    this.#poll = response;
    this.#deadline = this.#now() + this.#limits.pollMs;
    response.once('close', () => this.#listener?.contain(() => this.#onPollClosed(response)));
    this.#settle();
    return true;
  }

  /** The client's own end. */
  remove(): void {
    this.#endPoll(204);
    this.#end();
  }

  get waitingBytes(): number {
    return this.#waitingBytes + (this.#answer?.writableLength ?? 0);
  }

  send(records: Buffer): void {
    if (this.#listener === undefined || records.length === 0) return;
    // What else is sent in this turn goes with the same answer.
    if (this.#waiting.length === 0) queueMicrotask(() => this.#listener?.contain(() => this.#settle()));
    this.#waiting.push(records);
    this.#waitingBytes += records.length;
  }

  write(prepared: Prepared, protocol: HubProtocolName): void {
    this.send(protocol === 'json' ? prepared.json : prepared.messagePack);
  }

  pause(): void {
    this.posted.pause();
  }

  resume(): void {
    this.posted.resume();
  }

  /** What waits is the client's next answer, and the one behind it says that nothing more comes. */
  close(): void {
    this.#isClosing = true;
    this.#settle();
  }

  terminate(): void {
    this.#endPoll(204);
    this.#answer?.destroy();
    this.#end();
  }

  sweep(now: number): void {
    if (now <= this.#deadline) return;
    if (this.#poll === undefined) return this.#end('timeout');
    this.#endPoll(200);
  }

  /** While an answer is on its way the next poll waits, and with it what is sent meanwhile. */
  #settle(): void {
    if (this.#poll === undefined || this.#answer !== undefined) return;
    if (this.#waiting.length > 0) return this.#answerWith(this.#poll);
    if (!this.#isClosing) return;
    this.#endPoll(204);
    this.#end();
  }

  #answerWith(poll: ServerResponse): void {
    const body = Buffer.concat(this.#waiting);
    this.#poll = undefined;
    this.#answer = poll;
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.#deadline = Number.POSITIVE_INFINITY;
    poll.once('close', () => this.#listener?.contain(() => this.#onAnswerClosed(poll)));
    writePoll(poll, 200, 'application/octet-stream', body);
  }

  #onAnswerClosed(answer: ServerResponse): void {
    if (!answer.writableFinished) return this.terminate();
    this.#answer = undefined;
    this.#listener?.caughtUp();
    this.#deadline = this.#now() + (this.#poll === undefined ? this.#limits.awayMs : this.#limits.pollMs);
    this.#settle();
  }

  /** The client has left its poll; it may come back with another one. */
  #onPollClosed(poll: ServerResponse): void {
    if (poll !== this.#poll) return;
    this.#poll = undefined;
    if (this.#answer === undefined) this.#deadline = this.#now() + this.#limits.awayMs;
  }

  #endPoll(status: 200 | 204): void {
    const poll = this.#poll;
    if (poll === undefined) return;
    this.#poll = undefined;
    this.#deadline = this.#now() + this.#limits.awayMs;
    writePoll(poll, status, 'text/plain');
  }

  /** Told in a turn of its own: whoever has sent something is not told of the end in between. */
  #end(reason?: 'timeout'): void {
    const listener = this.#listener;
    if (listener === undefined) return;
    this.#listener = undefined;
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.posted.end();
    queueMicrotask(() => listener.ended(reason));
  }
}

function writePoll(response: ServerResponse, status: 200 | 204, type = 'text/plain', body = Buffer.alloc(0)): void {
  const length = status === 204 ? {} : { 'Content-Length': body.length };
  response.writeHead(status, { ...pollHeaders, 'Content-Type': type, ...length }).end(body);
}
