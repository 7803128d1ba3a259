// One native hub connection: in come the client's records, out go answers and prepared frames.
// Promises: records are handled one after the other; what one frame of the client causes at once goes back as one
// frame; a client that reads too slowly is cut before it costs others anything, and one that sends more than its budget is
// closed; between two records everything else has its turn.

import type { Hub } from '../../contract/contract.ts';
import type { Member } from '../audience.ts';
import { type ClientBudget, OverBudget } from '../budget.ts';
import { handshakeAccepted, handshakeRefused, recordLength } from '../hub-protocol/json.ts';
import { type ClientMessage, ProtocolFault, type RecordSplitter } from '../hub-protocol/protocol.ts';
import type { Client, CloseReason } from '../hubs-side.ts';
import type { Prepared } from '../prepared.ts';
import { SlowClient, type SlowClientLimits } from '../slow-client.ts';
import type { Turns } from '../turns.ts';
import { agreeOnProtocol, type HubProtocol, hubProtocols } from './protocols.ts';
import type { NativeTransport, TransportListener } from './transport.ts';

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
  contain(connection: NativeConnection, run: () => unknown): void;
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

export type Invocation = Extract<ClientMessage, { kind: 'invocation' }>;

/** Records waiting for their turn before the client is no longer read. */
const maxQueuedRecords = 256;
/** ASP.NET's. */
const maxHandshakeBytes = 32 * 1024;
const accepted = Buffer.from(handshakeAccepted);
const handshakeCanceled = 'Handshake was canceled.';
const nothing: Buffer = Buffer.alloc(0);
const unexpectedEnd = { error: 'Connection closed with an error.', allowReconnect: true };

export class NativeConnection implements Member, Client, TransportListener {
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
  readonly #transport: NativeTransport;
  readonly #openedAt: number;
  /** What has come of the client's handshake. */
  #greeting = nothing;
  /** Until the client has named its own, all that is said is the handshake's, which is JSON. */
  #protocol: HubProtocol = hubProtocols.json;
  #splitter: RecordSplitter | undefined;
  #queued: Buffer[] = [];
  #handling = false;
  #answers: Buffer[] = [];
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
    transport: NativeTransport,
    facts: Pick<NativeConnection, 'id' | 'token' | 'hub' | 'user' | 'session' | 'budget'>,
  ) {
    this.#owner = owner;
    this.#transport = transport;
    this.id = facts.id;
    this.token = facts.token;
    this.hub = facts.hub;
    this.user = facts.user;
    this.session = facts.session;
    this.budget = facts.budget;
    this.#openedAt = owner.now();
    this.lastUse = ++owner.uses;
    this.#slowness = new SlowClient(owner.limits, this.#openedAt);
    transport.start(this);
  }

  // What its transport tells it.

  receive(bytes: Buffer): void {
    this.contain(() => this.#receive(bytes));
  }

  tooLarge(): void {
    this.budget.noteTooLarge();
  }

  caughtUp(): void {
    this.#slowness.caughtUp(this.#owner.now());
  }

  ended(reason?: 'timeout'): void {
    this.contain(() => this.#ended(reason));
  }

  contain(run: () => unknown): void {
    this.#owner.contain(this, run);
  }

  // What the hubs ask of it, and tell it.

  /** Whether the hub's connect has run, so that its disconnect must. */
  get wasConnected(): boolean {
    return this.#wasConnected;
  }

  /** Why the connection ended, for the metric: client, error, timeout, slow, budget, gap, shutdown or fault. */
  get closeReason(): string {
    return this.#closeReason;
  }

  get hubName(): string {
    return this.hub.name;
  }

  get isNative(): boolean {
    return true;
  }

  get company(): string {
    for (const [group, farewell] of this.groups) if (farewell !== undefined) return group;
    return this.user ?? this.id;
  }

  get gone(): Promise<void> {
    this.#over ??= Promise.withResolvers();
    if (this.#state === 'ended') this.#over.resolve();
    return this.#over.promise;
  }

  write(prepared: Prepared): void {
    this.lastUse = ++this.#owner.uses;
    if (this.#state !== 'open') return;
    this.#flush();
    if (this.#keepsUp()) this.#transport.write(prepared, this.#protocol.name);
  }

  /** A message for this client alone, in order with everything else it gets. @param args raw JSON texts */
  show(method: string, args: string[]): void {
    this.#say(this.#protocol.invocation(method, args));
  }

  /** Answers an invocation. @param error where it has failed */
  complete(invocationId: string, error: string | undefined): void {
    const { completion, failedCompletion } = this.#protocol;
    this.#say(error === undefined ? completion(invocationId) : failedCompletion(invocationId, error));
  }

  /** Hands over what was sent so far, before something is waited for. */
  flush(): void {
    this.#flush();
  }

  /** Ends the connection by the protocol: a Close record, then the transport's own end. */
  close(reason: string, message: { error?: string; allowReconnect?: boolean } = {}): void {
    if (this.#isLeaving) return;
    if (this.#state === 'open') this.#answers.push(this.#protocol.close(message));
    this.#end(reason);
  }

  closeForReconnect(reason: CloseReason): void {
    this.close(reason, { allowReconnect: true });
  }

  /** Cuts the connection off without a word; the client comes back if it reconnects at all. */
  terminate(reason: string): void {
    this.#leave(reason);
    this.#transport.terminate();
  }

  /** Pings, timeouts and the slow-client clock; called about once a second. */
  sweep(now: number): void {
    const { limits } = this.#owner;
    this.#transport.sweep(now);
    if (this.#isLeaving) {
      if (now - this.#closingSince > limits.closeTimeoutMs) this.#transport.terminate();
      return;
    }
    if (this.#slowness.isBehind(this.#transport.waitingBytes, now)) return this.#cutSlow();
    if (this.#state === 'greeting') {
      if (now - this.#openedAt > limits.handshakeTimeoutMs) this.#refuseHandshake(handshakeCanceled);
      return;
    }
    if (this.#transport.needsPings) this.#keepAlive(now);
  }

  #keepAlive(now: number): void {
    const { limits } = this.#owner;
    if (this.#hasPinged && !this.#handling && now - this.#lastHeardAt > limits.clientTimeoutMs) {
      return this.close('timeout', unexpectedEnd);
    }
    if (now < this.#nextPingAt) return;
    this.#nextPingAt = now + limits.pingIntervalMs;
    this.#flush();
    this.#put(this.#protocol.ping);
  }

  get #isLeaving(): boolean {
    return this.#state === 'closing' || this.#state === 'ended';
  }

  #say(record: Buffer): void {
    this.#answers.push(record);
    if (!this.#handling) this.#flush();
  }

  #receive(bytes: Buffer): void {
    if (this.#isLeaving) return;
    this.#lastHeardAt = this.#owner.now();
    try {
      this.budget.takeBytes(bytes.length);
      const rest = this.#state === 'greeting' ? this.#greet(bytes) : bytes;
      if (this.#isLeaving) return;
      const records = this.#splitter?.push(rest, this.budget.limits.recordsPerMessage) ?? [];
      this.budget.takeRecords(records.length);
      this.#queued.push(...records);
    } catch (error) {
      return this.fail(error);
    }
    if (this.#queued.length > maxQueuedRecords) this.#transport.pause();
    if (!this.#handling) this.contain(() => this.#handleQueued());
  }

  /** @returns what stands behind the handshake, if that is whole */
  #greet(bytes: Buffer): Buffer {
    this.#greeting = Buffer.concat([this.#greeting, bytes]);
    const length = recordLength(this.#greeting, 0);
    if (length === undefined) {
      if (this.#greeting.length > maxHandshakeBytes) this.#refuseHandshake(handshakeCanceled);
      return nothing;
    }
    const request = this.#greeting.toString('utf8', 0, length - 1);
    const rest = this.#greeting.subarray(length);
    this.#greeting = nothing;
    this.#shakeHands(request);
    return rest;
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
      this.#transport.resume();
    }
  }

  /** A fault in one record discards all that came with it, as ASP.NET does. */
  async #handleAll(records: Buffer[]): Promise<void> {
    const messages: ClientMessage[] = [];
    for (const record of records) {
      await this.#turn();
      messages.push(this.#protocol.readMessage(record));
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

  #shakeHands(request: string): void {
    const agreed = agreeOnProtocol(request, this.#transport.takesBinary);
    if (typeof agreed === 'string') return this.#refuseHandshake(agreed);
    this.#protocol = agreed;
    this.#splitter = agreed.splitter(this.#owner.limits.maxRecordBytes);
    this.#state = 'open';
    this.#wasConnected = this.user !== undefined;
    this.#nextPingAt = this.#owner.now() + this.#owner.limits.pingIntervalMs;
    this.#answers.push(accepted);
    if (this.user === undefined) return this.close('no user');
    // The answer goes out by itself: what the connect causes follows in a frame of its own.
    this.#flush();
    this.#owner.onConnected(this);
  }

  #refuseHandshake(error: string): void {
    this.#answers = [Buffer.from(handshakeRefused(error))];
    this.#end('handshake');
  }

  /** A record that is still being handled must not join a group any more. */
  #ended(reason: 'timeout' | undefined): void {
    if (reason !== undefined) this.#leave(reason);
    this.#state = 'ended';
    this.#queued = [];
    this.#answers = [];
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
    else this.close(error instanceof ProtocolFault ? 'protocol' : 'error', unexpectedEnd);
    if (error instanceof OverBudget) this.#owner.onOverBudget(this, error);
  }

  #end(reason: string): void {
    this.#flush();
    this.#leave(reason);
    this.#transport.close();
  }

  /** The first reason counts. */
  #leave(reason: string): void {
    if (this.#isLeaving) return;
    this.#state = 'closing';
    this.#closeReason = reason;
    this.#closingSince = this.#owner.now();
  }

  #flush(): void {
    const [first, ...others] = this.#answers;
    if (first === undefined || this.#isLeaving) return;
    this.#answers = [];
    this.#put(others.length === 0 ? first : Buffer.concat([first, ...others]));
  }

  #put(records: Buffer): void {
    if (this.#keepsUp()) this.#transport.send(records, this.#protocol.name);
  }

  /** Before each message: who does not is cut off. */
  #keepsUp(): boolean {
    const isOver = this.#slowness.isOver(this.#transport.waitingBytes);
    if (isOver) this.#cutSlow();
    return !isOver;
  }

  #cutSlow(): void {
    this.terminate('slow');
    this.#owner.onSlow(this);
  }
}
