// One native hub connection: in come the client's records, out go answers and prepared frames.
// Promises: records are handled one after the other; what one frame of the client causes at once goes back as one
// frame; a client that reads too slowly is cut before it costs others anything, and one that sends more than its budget is
// closed; between two records everything else has its turn.

import type { Socket } from 'node:net';
import { WebSocket } from 'ws';
import type { Hub } from '../../contract/contract.ts';
import type { Member } from '../audience.ts';
import { type ClientBudget, OverBudget } from '../budget.ts';
import { textFrame } from '../frame.ts';
import * as protocol from '../hub-protocol/json.ts';
import type { Client, CloseReason } from '../hubs-side.ts';
import type { Prepared } from '../prepared.ts';
import { SlowClient, type SlowClientLimits } from '../slow-client.ts';
import type { Turns } from '../turns.ts';

export interface ConnectionLimits extends SlowClientLimits {
  /** Bytes of one record, with its separator. */
  maxRecordBytes: number;
  handshakeTimeoutMs: number;
  pingIntervalMs: number;
  /** ms without a sign of a client that has pinged before. */
  clientTimeoutMs: number;
  /** ms for which the client's own close frame is awaited. */
  closeTimeoutMs: number;
}

/** What a connection asks of all of them together. */
export interface NativeOwner extends NativeListener {
  limits: ConnectionLimits;
  turns: Turns;
  /** Counts the uses of all connections: a number costs less than the time, for each message of each of them. */
  uses: number;
  /** ms, monotonic */
  now(): number;
  /** Runs what its client, or time, has caused: what goes wrong ends the connection alone. */
  guard(connection: NativeConnection, run: () => unknown): void;
}

/** What a connection tells the edge, which runs the hub. */
export interface NativeListener {
  onConnected(connection: NativeConnection): void;
  onInvocation(connection: NativeConnection, invocation: Invocation): Promise<void>;
  onSlow(connection: NativeConnection): void;
  /** It did more than its budget allows, and is closed for it or has been told. */
  onOverBudget(connection: NativeConnection, error: OverBudget): void;
  onEnd(connection: NativeConnection): void;
}

export type Invocation = Extract<protocol.ClientMessage, { kind: 'invocation' }>;

/** Records waiting for their turn before the socket is no longer read. */
const maxQueuedRecords = 256;
const pingFrame = textFrame(protocol.ping);
const unexpectedEnd = { error: 'Connection closed with an error.', allowReconnect: true };

export class NativeConnection implements Member, Client {
  readonly id: string;
  readonly token: string;
  readonly hub: Hub;
  /** undefined: a token without a user; the connection ends with its handshake. */
  readonly user: string | undefined;
  /** The desktop session named in the URL's query. */
  readonly session: string | undefined;
  readonly budget: ClientBudget;
  /** The groups it is in, each with what the others get when the connection ends. */
  readonly groups = new Map<string, (() => void) | undefined>();
  /** How many of these have something to get. */
  farewells = 0;
  /** The groups that count as rooms in `/internal/stats`. */
  readonly countedRooms = new Set<string>();
  lastUse: number;
  readonly #owner: NativeOwner;
  readonly #webSocket: WebSocket;
  readonly #socket: Socket;
  readonly #splitter: protocol.RecordSplitter;
  readonly #openedAt: number;
  #queued: string[] = [];
  #handling = false;
  #answers = '';
  /** `greeting`: the client's handshake has not come. `closing`: nothing is read or written any more, its end is awaited. */
  #state: 'greeting' | 'open' | 'closing' | 'ended' = 'greeting';
  #wasConnected = false;
  #closingSince = 0;
  #closeReason = 'client';
  #lastHeardAt = 0;
  #hasPinged = false;
  #nextPingAt = 0;
  readonly #slowness: SlowClient;
  /** Made where somebody waits for the end. */
  #over: PromiseWithResolvers<void> | undefined;

  constructor(
    owner: NativeOwner,
    webSocket: WebSocket,
    socket: Socket,
    facts: Pick<NativeConnection, 'id' | 'token' | 'hub' | 'user' | 'session' | 'budget'>,
  ) {
    this.#owner = owner;
    this.#webSocket = webSocket;
    this.#socket = socket;
    this.id = facts.id;
    this.token = facts.token;
    this.hub = facts.hub;
    this.user = facts.user;
    this.session = facts.session;
    this.budget = facts.budget;
    this.#splitter = new protocol.RecordSplitter(owner.limits.maxRecordBytes);
    this.#openedAt = owner.now();
    this.lastUse = ++owner.uses;
    this.#slowness = new SlowClient(owner.limits, this.#openedAt);
    webSocket.on('message', (data) => owner.guard(this, () => this.#receive(data as Buffer)));
    webSocket.on('error', (error) => owner.guard(this, () => this.#broken(error)));
    webSocket.once('close', () => owner.guard(this, () => this.#ended()));
  }

  /** Whether the hub's connect has run, so that its disconnect must. */
  get wasConnected(): boolean {
    return this.#wasConnected;
  }

  /** Why the connection ended, for the metric: client, error, timeout, slow, budget, gap, shutdown or fault. */
  get closeReason(): string {
    return this.#closeReason;
  }

  get gone(): Promise<void> {
    this.#over ??= Promise.withResolvers();
    if (this.#state === 'ended') this.#over.resolve();
    return this.#over.promise;
  }

  write(prepared: Prepared): void {
    this.lastUse = ++this.#owner.uses;
    this.#write(prepared.textFrame);
  }

  /** A record for this client alone, in order with everything else it gets. */
  send(record: string): void {
    this.#answers += record;
    if (!this.#handling) this.#flush();
  }

  /** Hands over what was sent so far, before something is waited for. */
  flush(): void {
    this.#flush();
  }

  /** Ends the connection by the protocol: a Close record, then WebSocket close 1000. */
  close(reason: string, message: { error?: string; allowReconnect?: boolean } = {}): void {
    if (this.#isLeaving) return;
    if (this.#state === 'open') this.#answers += protocol.close(message);
    this.#end(reason);
  }

  closeForReconnect(reason: CloseReason): void {
    this.close(reason, { allowReconnect: true });
  }

  /** Cuts the connection off without a word; the client sees 1006 and comes back if it reconnects at all. */
  terminate(reason: string): void {
    this.#leave(reason);
    this.#webSocket.terminate();
  }

  /** Pings, timeouts and the slow-client clock; called about once a second. */
  sweep(now: number): void {
    const { limits } = this.#owner;
    if (this.#isLeaving) {
      if (now - this.#closingSince > limits.closeTimeoutMs) this.#webSocket.terminate();
      return;
    }
    if (this.#slowness.isBehind(this.#socket.writableLength, now)) return this.#cutSlow();
    if (this.#state === 'greeting') {
      if (now - this.#openedAt > limits.handshakeTimeoutMs) this.#refuseHandshake('Handshake was canceled.');
      return;
    }
    if (this.#hasPinged && !this.#handling && now - this.#lastHeardAt > limits.clientTimeoutMs) {
      return this.close('timeout', unexpectedEnd);
    }
    if (now >= this.#nextPingAt) {
      this.#nextPingAt = now + limits.pingIntervalMs;
      this.#write(pingFrame);
    }
  }

  get #isLeaving(): boolean {
    return this.#state === 'closing' || this.#state === 'ended';
  }

  #write(frame: Buffer): void {
    if (this.#state !== 'open') return;
    this.#flush();
    this.#put(frame);
  }

  #receive(data: Buffer): void {
    if (this.#isLeaving) return;
    this.#lastHeardAt = this.#owner.now();
    try {
      this.budget.takeMessage(data.length, protocol.countRecords(data, this.budget.limits.recordsPerMessage));
      for (const record of this.#splitter.push(data)) this.#queued.push(record);
    } catch (error) {
      return this.fail(error);
    }
    if (this.#queued.length > maxQueuedRecords) this.#webSocket.pause();
    if (!this.#handling) this.#owner.guard(this, () => this.#handleQueued());
  }

  /** `ws` has closed with a code that says why. */
  #broken(error: Error): void {
    if ((error as { code?: string }).code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH') this.budget.noteTooLarge();
    this.#webSocket.terminate();
  }

  async #handleQueued(): Promise<void> {
    this.#handling = true;
    try {
      while (this.#queued.length > 0 && !this.#isLeaving) await this.#handleAll(this.#queued.splice(0));
    } catch (error) {
      this.fail(error);
    } finally {
      this.#handling = false;
      this.#flush();
      if (this.#webSocket.isPaused) this.#webSocket.resume();
    }
  }

  /** A fault in one record discards all that came with it, as ASP.NET does. */
  async #handleAll(records: string[]): Promise<void> {
    if (this.#state === 'greeting') {
      this.#shakeHands(records.shift()!);
      if (this.#isLeaving) return;
    }
    const messages: protocol.ClientMessage[] = [];
    for (const record of records) {
      await this.#turn();
      messages.push(protocol.readMessage(record));
    }
    for (const message of messages) {
      await this.#turn();
      if (this.#isLeaving) return;
      if (message.kind === 'invocation') {
        this.lastUse = ++this.#owner.uses;
        await this.#owner.onInvocation(this, message);
      }
      if (message.kind === 'ping') this.#hasPinged = true;
      else if (message.kind === 'close') this.close('client');
    }
  }

  /** Resolves at once while the clients' records have not taken their share of this turn. */
  #turn(): Promise<void> | undefined {
    return this.#owner.turns.spent();
  }

  #shakeHands(record: string): void {
    const refusal = protocol.readHandshake(record);
    if (refusal !== undefined) return this.#refuseHandshake(refusal);
    this.#state = 'open';
    this.#wasConnected = this.user !== undefined;
    this.#nextPingAt = this.#owner.now() + this.#owner.limits.pingIntervalMs;
    this.#answers += protocol.handshakeAccepted;
    if (this.user === undefined) return this.close('no user');
    // The answer goes out by itself: what the connect causes follows in a frame of its own.
    this.#flush();
    this.#owner.onConnected(this);
  }

  #refuseHandshake(error: string): void {
    this.#answers = protocol.handshakeRefused(error);
    this.#end('handshake');
  }

  /** A record that is still being handled must not join a group any more. */
  #ended(): void {
    this.#state = 'ended';
    this.#queued = [];
    try {
      this.#owner.onEnd(this);
    } finally {
      this.#over?.resolve();
    }
  }

  /** Ends the connection for what its client has done, or what failed for it. */
  fail(error: unknown): void {
    if (this.#state === 'greeting') this.#refuseHandshake('An unexpected error occurred during connection handshake.');
    else if (error instanceof OverBudget) this.close('budget', { error: error.message, allowReconnect: true });
    else this.close(error instanceof protocol.ProtocolFault ? 'protocol' : 'error', unexpectedEnd);
    if (error instanceof OverBudget) this.#owner.onOverBudget(this, error);
  }

  #end(reason: string): void {
    this.#flush();
    this.#leave(reason);
    this.#webSocket.close(1000);
  }

  /** The first reason counts. */
  #leave(reason: string): void {
    if (this.#isLeaving) return;
    this.#state = 'closing';
    this.#closeReason = reason;
    this.#closingSince = this.#owner.now();
  }

  #flush(): void {
    if (this.#answers === '' || this.#isLeaving) return;
    const answers = this.#answers;
    this.#answers = '';
    this.#put(textFrame(answers));
  }

  #put(frame: Buffer): void {
    // Nothing may follow the close frame with which `ws` has answered the client's.
    if (this.#webSocket.readyState !== WebSocket.OPEN) return;
    if (this.#slowness.isOver(this.#socket.writableLength)) return this.#cutSlow();
    this.#socket.write(frame);
  }

  #cutSlow(): void {
    this.terminate('slow');
    this.#owner.onSlow(this);
  }
}
