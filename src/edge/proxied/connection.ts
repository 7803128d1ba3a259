// One proxied connection, without its sockets: in come the bytes of client and bridge as they pass by and the log's
// messages for its groups, out go these messages between the bridge's own.
// Promises: the bridge's messages go on as they are, without the answers to crossfade's own fences; a message of the log that waits for
// one of the bridge is injected behind it; a client that reads too slowly is cut.

import type { Hub } from '../../contract/contract.ts';
import type { Event } from '../../contract/event.ts';
import { allRooms } from '../../room-set.ts';
import type { Telemetry } from '../../telemetry/telemetry.ts';
import type { Member } from '../audience.ts';
import { type ClientBudget, OverBudget } from '../budget.ts';
import type { Groups } from '../groups.ts';
import type { HubProtocolName } from '../hub-protocol/protocol.ts';
import type { Prepared } from '../prepared.ts';
import { SlowClient, type SlowClientLimits, tellSlow } from '../slow-client.ts';
import { ClientRecords, maxSearchedBytes } from './client-records.ts';
import { type Codec, codecs, cutRecords } from './codec.ts';
import { crossingIn, crossingsOf, forNative, maxCrossingBytes } from './crossing.ts';
import { type FencedRooms, FenceQueues, type QueuedMessage } from './fence-queues.ts';
import { type FenceAsked, fenceMethod, OpenFences } from './fences.ts';
import { Handshake } from './handshake.ts';
import { type HubTyping, typingIn } from './hub-typing.ts';
import type { Leg, Tap } from './leg.ts';
import { Membership } from './membership.ts';
import type { Place, Undelivered } from './undelivered.ts';
import { type BridgeWatch, readSeen, type SeenMessage, type Watched } from './watched.ts';

/** What the transport knows of a connection. */
export interface ConnectionFacts {
  hub: Hub;
  /** Addresses the connection at the bridge, and is a secret; one of our own making where the client did not negotiate. */
  token: string;
  /** As the bridge takes it; undefined: none, or not known: the connection is in no group that is named by its user. */
  user: string | undefined;
  /** The desktop session named in the URL's query. */
  session?: string | undefined;
}

/** What clients send to others through the bridge's hub, as far as it concerns more than the bridge. */
export interface Overheard {
  /** Somebody types. */
  onTyping(typing: HubTyping): void;
  /** Whether members of this hub may have their connections at crossfade, here or at another replica. */
  crosses(hub: string): boolean;
  /** ... and what they are to be shown, as the bridge does not reach them. */
  onCrossing(event: Event): void;
}

/** What a connection asks of all of them together. */
export interface ProxiedOwner extends Readonly<Telemetry> {
  readonly limits: SlowClientLimits;
  /** Counts the uses of all connections: a number costs less than the time, for each message of each of them. */
  uses: number;
  readonly groups: Groups;
  /** Ids of events that the bridge shows: the connection shows no copy that comes from the log. */
  readonly withheld: ReadonlySet<string>;
  /** What waits at any connection. */
  readonly undelivered: Pick<Undelivered, 'add' | 'remove'>;
  /** Whether a connection proves at once, by a fence, that the hub's connect has ended. */
  readonly provesConnects: boolean;
  readonly overheard: Overheard;
  /** undefined where this replica has read what stands in the log; else resolves when it has, or after a bound. */
  untilLogIsRead(): Promise<void> | undefined;
  /** The client does more than its budget allows, and is cut off for it. */
  onOverBudget(connection: ProxiedConnection, error: OverBudget): void;
  onOpen(connection: ProxiedConnection): void;
  onEnd(connection: ProxiedConnection): void;
}

/** See {@link Tap.fromBridge}. */
type HandOn = (shown: Buffer) => void;

/** What is known of a connection once both sides have shaken hands. */
interface Spoken {
  protocol: HubProtocolName;
  codec: Codec;
  membership: Membership;
  records: ClientRecords;
}

/** A message of so few bytes is a ping, in either protocol; anything longer counts as use of the connection. */
const maxPingBytes = 16;
/** Of the fences that are asked for while so many are out, one stands for all. */
const maxFencesOut = 8;
/** A bridge that answers none while so many are asked for does not answer this connection at all. */
const maxFencesAsked = 1_000;

/** ms for which a fence waits for the end of a client's record. */
const maxMidRecordMs = 1_000;

const nobodyWaits: FenceAsked = { onSent() {}, onEnd() {} };

export class ProxiedConnection implements Member, Tap, Place, Watched {
  readonly id: string;
  readonly hub: Hub;
  lastUse: number;
  /** Looks at what the bridge sends; undefined: nobody does. */
  watch: BridgeWatch | undefined;
  readonly #owner: ProxiedOwner;
  readonly #leg: Leg;
  readonly user: string | undefined;
  readonly session: string | undefined;
  readonly #budget: ClientBudget;
  /** `untapped`: the bridge refused it, it began at another replica, or its protocol is unknown here: its bytes are not looked at. */
  #state: 'greeting' | 'open' | 'untapped' | 'ended' = 'greeting';
  readonly #handshake = new Handshake();
  #spoken: Spoken | undefined;
  readonly #queues = new FenceQueues();
  /**
   * All rooms wait while the hub's connect is not proven. The connection joins the connect's groups before the proof then, so that it
   * misses nothing of the log; but the bridge may still refuse it, and then its client must be shown nothing.
   */
  readonly #untilProven: FencedRooms = { rooms: allRooms };
  readonly #fences = new OpenFences();
  /** Since when a fence waits for the end of a record, ms monotonic; and whether it waits no more. */
  #midRecordSince: number | undefined;
  #breaksIn = false;
  /** What it has sent to others before the bridge has proven that it knows the client; undefined: it has. */
  #uncrossed: Event[] | undefined = [];
  readonly #slowness: SlowClient;
  #cutReason: string | undefined;

  constructor(owner: ProxiedOwner, { hub, token, user, session }: ConnectionFacts, leg: Leg, budget: ClientBudget) {
    this.#owner = owner;
    this.#leg = leg;
    this.id = token;
    this.hub = hub;
    this.user = user;
    this.session = session;
    this.#budget = budget;
    this.lastUse = ++owner.uses;
    this.#slowness = new SlowClient(owner.limits, owner.clock.monotonic());
  }

  /** Both sides have shaken hands, and it can be injected into. */
  get isOpen(): boolean {
    return this.#state === 'open';
  }

  get company(): string {
    return this.#spoken?.membership.session ?? this.user ?? this.id;
  }

  mayBeOvertaken(room: string): boolean {
    return this.#leg.readsBridge || !this.#queues.isSent(room);
  }

  /** Why it has ended, for the metric: slow, budget, missed, fault, or ended by one of its sides. */
  get endReason(): string {
    return this.#cutReason ?? 'ended';
  }

  // What the transport tells.

  untilReady(): Promise<void> | undefined {
    return this.#state === 'open' ? this.#owner.untilLogIsRead() : undefined;
  }

  fromClient(data: Buffer): void {
    this.#noteUse(data);
    if (this.#state === 'untapped' || this.#state === 'ended') return;
    const behindHandshake = this.#spoken === undefined ? this.#greet(data) : data;
    if (this.#spoken === undefined || behindHandshake === undefined)
      return this.#withinBudget(() => this.#budget.takeRecords(1));
    const { records, membership, codec } = this.#spoken;
    const crosses = this.#owner.overheard.crosses(this.hub.name);
    this.#withinBudget(() => {
      const wanted = records.push(behindHandshake, crosses ? maxCrossingBytes : maxSearchedBytes);
      this.#budget.takeRecords(wanted.length);
      for (const record of wanted) {
        if (crosses) this.#cross(record);
        if (record.length > maxSearchedBytes) continue;
        this.#budget.takeSearched(record.length);
        membership.fromClient(record);
        if (this.#owner.provesConnects) this.#tellTyping(record, codec);
      }
    });
    if (this.#fences.waitingCount > 0 && this.#maySendFence) this.#behindClientsBytes(() => this.#sendForWaiting());
  }

  fromBridge(data: Buffer, handOn: HandOn): void {
    this.#noteUse(data);
    if (this.#state === 'greeting') this.#readReply(data, handOn);
    else if (this.#state === 'open') this.#pass(data, handOn);
    else handOn(data);
  }

  ended(): void {
    if (this.#state === 'ended') return;
    const waited = this.#queues.clear();
    for (const { prepared } of waited) this.#goesOn(prepared);
    // The bridge has ended and sends nothing older any more, so what waited may go out now; but not to a client that the bridge
    // may have refused, because it has not proven the connect yet.
    const isMember = this.#state === 'open' && this.#spoken!.membership.connectProven;
    if (isMember && this.#cutReason === undefined)
      for (const { prepared } of waited.filter((each) => this.#isStillFor(each))) this.#show(prepared);
    if (this.#owner.overheard.crosses(this.hub.name))
      for (const farewell of this.#spoken?.membership.farewells ?? [])
        this.#owner.overheard.onCrossing(forNative(farewell));
    this.#spoken?.membership.leaveAll();
    this.#fences.end();
    // Before the state changes: the owner counts down only connections that were open.
    this.#owner.onEnd(this);
    this.#state = 'ended';
  }

  // What is asked by who looks at what the bridge sends.

  get protocol(): HubProtocolName {
    return this.#spoken!.protocol;
  }

  get groupNames(): Iterable<string> {
    return this.#spoken!.membership.groups;
  }

  get groupsChangedAt(): number {
    return this.#spoken!.membership.changedAt;
  }

  memberSince(group: string): number | undefined {
    return this.#spoken?.membership.joinOf(group)?.since;
  }

  messagesIn(message: Buffer): SeenMessage[] | undefined {
    return readSeen(message, this.protocol);
  }

  // What the log's side asks.

  write(prepared: Prepared, group: string): void {
    if (this.#state !== 'open' || this.#cutReason !== undefined || prepared.isForNative) return;
    if (this.#slowness.isOver(this.#bytesBehind)) return this.#cutSlow();
    this.lastUse = ++this.#owner.uses;
    if (!this.#queues.covers(prepared.room)) return this.#show(prepared);
    const join = this.#spoken!.membership.joinOf(group);
    this.#queues.push({ prepared, bytes: this.#bytesOf(prepared), group, join });
    this.#waits(prepared);
  }

  /** From now on the messages of these rooms wait here. */
  queue(fenced: FencedRooms): void {
    if (this.#state !== 'greeting' && this.#state !== 'open') return;
    this.#queues.add(fenced);
    if (this.#state === 'open') this.#queueConnect();
  }

  /**
   * Sends a fence; by itself it keeps nothing back, {@link queue} does. Resolves when the bridge has answered it, behind everything that it
   * had sent before, and what waited for it went on; or when the connection ends.
   */
  fence(fenced?: FencedRooms): Promise<void> {
    const release = () => fenced !== undefined && this.#release(fenced);
    if (this.#state !== 'open') {
      // It is in no group yet. It joins its groups after this moment, so no message that the bridge sends for them can be older than
      // the fence: there is nothing to wait for.
      release();
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      this.#sendFence({
        onSent: () => fenced !== undefined && this.#queues.sent(fenced),
        onEnd() {
          release();
          resolve();
        },
      });
    });
  }

  caughtUp(): void {
    // What waits for a fence has not been asked for.
    if (this.#queues.bytes === 0) this.#slowness.caughtUp(this.#owner.clock.monotonic());
  }

  /** Called about once a second: for a client that is slow, and for fences that its record keeps back. */
  sweep(now: number): void {
    this.#breakIn(now);
    if (this.#slowness.isBehind(this.#bytesBehind, now)) this.#cutSlow();
  }

  terminate(reason: string): void {
    if (this.#cutReason !== undefined || this.#state === 'ended') return;
    this.#cutReason = reason;
    this.#leg.cut();
  }

  #noteUse({ length }: Buffer): void {
    if (length > maxPingBytes) this.lastUse = ++this.#owner.uses;
  }

  // The handshake.

  /** @returns what the client sent behind its handshake */
  #greet(data: Buffer): Buffer | undefined {
    const behind = this.#handshake.fromClient(data);
    const { protocol } = this.#handshake;
    if (protocol === undefined) return undefined;
    const owner = this.#owner;
    const codec = codecs[protocol];
    const membership = new Membership({
      hub: this.hub,
      user: this.user,
      member: this,
      groups: owner.groups,
      codec,
      budget: this.#budget,
      onConfirmed: (method, values) => {
        if (!this.#owner.overheard.crosses(this.hub.name)) return;
        for (const event of crossingsOf(method, values)) this.#owner.overheard.onCrossing(event);
      },
      clock: owner.clock,
    });
    const records = new ClientRecords(codec, this.#budget.limits.recordsPerMessage);
    this.#spoken = { protocol, codec, membership, records };
    return behind;
  }

  /** Asked only while the stream lane is in use: before that every message of the typist takes the bridge as well, behind the typing. */
  #tellTyping(record: Buffer, codec: Codec): void {
    const typing = typingIn(this.hub, record, codec, this.user, this.#budget);
    if (typing !== undefined) this.#owner.overheard.onTyping(typing);
  }

  /** A client that the bridge refuses reaches nobody: until the bridge has answered it once, what it sends is kept. */
  #cross(record: Buffer): void {
    this.#budget.takeBytes(record.length);
    const events = crossingIn(this.hub, record, this.#spoken!.protocol, this.user, this.#budget);
    for (const event of events) {
      if (this.#uncrossed === undefined) this.#owner.overheard.onCrossing(event);
      else if (this.#uncrossed.push(event) === 1) this.#behindClientsBytes(() => this.#sendFence(nobodyWaits));
      this.#budget.allowUnanswered(this.#uncrossed?.length ?? 0);
    }
  }

  /** The transport hands what the client sends on in the same turn of the event loop; a fence goes in the microtask behind it. */
  #behindClientsBytes(run: () => void): void {
    queueMicrotask(() => this.#contain(run));
  }

  #crossKept(): void {
    const kept = this.#uncrossed ?? [];
    this.#uncrossed = undefined;
    for (const event of kept) this.#owner.overheard.onCrossing(event);
  }

  #readReply(data: Buffer, handOn: HandOn): void {
    const { said, bytes } = this.#handshake.readReply(data);
    if (said !== 'accepted' || this.#spoken === undefined) {
      this.#state = 'untapped';
      if (said === 'accepted')
        this.#owner.logger.warn({ hub: this.hub.name }, 'a client speaks a protocol that is not known here');
      else if (said === 'missed') this.#miss();
      return handOn(data);
    }
    this.#open();
    if (data.length === bytes) return handOn(data);
    const behind = data.subarray(bytes);
    let isFirst = true;
    this.#pass(behind, (shown) => {
      if (!isFirst) return handOn(shown);
      isFirst = false;
      handOn(shown === behind ? data : Buffer.concat([data.subarray(0, bytes), shown]));
    });
    if (isFirst) handOn(data.subarray(0, bytes));
  }

  /** Its joins were seen by another replica, so this one never knows its groups. A client that connects again is tapped from its begin. */
  #miss(): void {
    this.#owner.logger.warn(
      { hub: this.hub.name },
      'a connection began at another replica and came without its tag: its groups are not known here',
    );
    if (this.#owner.provesConnects) this.terminate('missed');
  }

  #open(): void {
    this.#state = 'open';
    this.#owner.onOpen(this);
    if (!this.#queues.isEmpty) this.#queueConnect();
    if (this.#owner.provesConnects && !this.#spoken!.membership.connectProven) this.#sendFence(nobodyWaits);
  }

  // The bridge's messages.

  /** What waited for one of the records goes out right behind it: what stands behind that in the message is newer. */
  #pass(message: Buffer, handOn: HandOn): void {
    this.watch?.saw(this, message);
    const records = this.#isWanted(message) ? cutRecords(this.#spoken!.codec, message) : undefined;
    if (records === undefined) return handOn(message);
    let shown: Buffer[] = [];
    let isWhole = true;
    for (const record of records) {
      const { isShown, release } = this.#look(record);
      if (isShown) shown.push(record);
      if (!isShown || release !== undefined) isWhole = false;
      if (release === undefined) continue;
      if (shown.length > 0) handOn(Buffer.concat(shown));
      shown = [];
      this.#contain(release);
    }
    if (isWhole) handOn(message);
    else if (shown.length > 0) handOn(Buffer.concat(shown));
  }

  /** Whether the message may hold a fence's answer or a confirmation. A search for bytes, as nearly no message holds one. */
  #isWanted(message: Buffer): boolean {
    return this.#fences.mayBeIn(message) || this.#spoken!.membership.mayBeIn(message);
  }

  /** @returns whether the client is shown the record, and what lets those go that waited for it */
  #look(record: Buffer): { isShown: boolean; release?: () => void } {
    const { codec, membership } = this.#spoken!;
    const read = codec.readRecord(record);
    if (read === undefined) return { isShown: true };
    const wasProven = membership.connectProven;
    const fence = read.type === 3 ? this.#fences.take(read.invocationId) : undefined;
    if (fence === undefined) this.#withinBudget(() => membership.fromBridge(read));
    else membership.proveConnect();
    const isKnown = fence !== undefined || membership.isConfirmed;
    if (isKnown && this.#uncrossed !== undefined) this.#contain(() => this.#crossKept());
    const provesNow = !wasProven && membership.connectProven && this.#queues.has(this.#untilProven);
    if (fence === undefined && !provesNow) return { isShown: true };
    const release = () => {
      if (provesNow) this.#release(this.#untilProven);
      fence?.();
    };
    return { isShown: fence === undefined, release };
  }

  #contain(run: () => void): void {
    this.#owner.faults.contain('bridge', run, () => this.terminate('fault'));
  }

  // The log's messages.

  #show(prepared: Prepared): void {
    const { withheld } = this.#owner;
    const shown = withheld.size === 0 ? prepared : prepared.without(withheld);
    if (shown !== undefined) this.#leg.inject(shown, this.#spoken!.protocol);
  }

  /** Each message that waited goes the way of a new one: to the client, or into the next queue that is for its room. */
  #release(fenced: FencedRooms): void {
    const waited = this.#queues.release(fenced);
    for (const { prepared, group } of waited.filter((each) => this.#isStillFor(each))) this.write(prepared, group);
    for (const { prepared } of waited) this.#goesOn(prepared);
  }

  #waits({ room, records }: Prepared): void {
    this.#owner.metrics.fenceQueue.inc();
    for (const { eventId } of records) this.#owner.undelivered.add(room, eventId, this);
  }

  /** To the client, or dropped. */
  #goesOn({ room, records }: Prepared): void {
    this.#owner.metrics.fenceQueue.dec();
    for (const { eventId } of records) this.#owner.undelivered.remove(room, eventId, this);
  }

  #isStillFor({ group, join }: QueuedMessage): boolean {
    return this.#spoken!.membership.joinOf(group) === join;
  }

  /** While the connect is not proven: the connection joins the connect's groups now, and their messages wait for the proof. */
  #queueConnect(): void {
    const { membership } = this.#spoken!;
    if (membership.connectProven) return;
    if (!this.#queues.has(this.#untilProven)) this.#queues.addAsOldest(this.#untilProven);
    membership.joinOnConnectGroups();
  }

  /** An append without an answer asks for one at every connection: when the log hangs, hundreds of them do within a moment. */
  #sendFence(asked: FenceAsked): void {
    if (!this.#maySendFence) {
      this.#fences.wait(asked);
      if (this.#fences.waitingCount >= maxFencesAsked) this.#cutSlow();
      return;
    }
    const { protocol, codec } = this.#spoken!;
    const id = this.#fences.open((outcome) => {
      this.#owner.metrics.fences.inc({ outcome });
      asked.onEnd();
      if (outcome === 'back') this.#sendForWaiting();
    });
    this.#leg.sendToBridge(codec.invocation(fenceMethod, [], id), protocol);
    asked.onSent();
  }

  /** Not within a record of the client's, which the bridge would read as one with the fence, and end the connection for it. */
  get #maySendFence(): boolean {
    return this.#fences.count < maxFencesOut && (this.#breaksIn || !this.#spoken!.records.isMidRecord);
  }

  /** A client that does not end its record must not keep its rooms back. What looks like one may be white space, too. */
  #breakIn(now: number): void {
    if (this.#fences.waitingCount === 0 || !this.#spoken?.records.isMidRecord) this.#midRecordSince = undefined;
    else this.#midRecordSince ??= now;
    if (this.#midRecordSince === undefined || now - this.#midRecordSince < maxMidRecordMs) return;
    this.#breaksIn = true;
    this.#sendForWaiting();
    this.#breaksIn = false;
  }

  #sendForWaiting(): void {
    const waiting = this.#fences.takeWaiting();
    if (waiting.length === 0) return;
    this.#sendFence({
      onSent() {
        for (const { onSent } of waiting) onSent();
      },
      onEnd() {
        for (const { onEnd } of waiting) onEnd();
      },
    });
  }

  /** A record that goes unread could join or leave a group unnoticed: the connection is ended instead, and its client may come back. */
  #withinBudget(run: () => void): void {
    try {
      run();
    } catch (error) {
      if (!(error instanceof OverBudget)) throw error;
      this.#owner.onOverBudget(this, error);
      this.terminate('budget');
    }
  }

  // Slow clients.

  get #bytesBehind(): number {
    return this.#leg.backlogBytes + this.#queues.bytes;
  }

  #bytesOf(prepared: Prepared): number {
    return this.#spoken!.protocol === 'json' ? prepared.json.length : prepared.messagePack.length;
  }

  #cutSlow(): void {
    tellSlow(this.#owner, this.hub.name);
    this.terminate('slow');
  }
}
