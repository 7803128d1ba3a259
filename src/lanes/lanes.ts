// The two lanes and the fallback between them: in comes a call with its event and its delivering lane, out comes what
// the backend is told. Promises: `broadcast` only after the bridge's 200 or the log's own acknowledgement (a coalesced
// call: when it is in its window); `duplicate` for a repeat on either lane; every append of a room in order; a call that the
// log could not take goes to the bridge, and all rooms with it.

import type { BridgeAnswer, BridgeLane, RawRequest } from '../bridge/lane.ts';
import type { ReadMemory } from '../consumer/read-memory.ts';
import type { Event } from '../contract/event.ts';
import { CrossfadeError, type FailureReason, hasCode } from '../errors.ts';
import { eventIdOf } from '../log/entry.ts';
import type { Log, NewEntry } from '../log/log.ts';
import { allRooms, type RoomSet } from '../room-set.ts';
import { type Clock, pause } from '../telemetry/clock.ts';
import type { Logger } from '../telemetry/logger.ts';
import { countFallback, type Metrics, type Transport } from '../telemetry/metrics.ts';
import { Coalescer } from './coalesce.ts';
import { Mirror } from './mirror.ts';

export type Lane = 'bridge' | 'stream';

/** Which lane a call takes, and under which cutover state that was decided. */
export interface Decision {
  lane: Lane;
  /** Absent without a bridge: then nothing ever moves. */
  epoch?: number;
  /** Set where the room belongs to the stream lane, but the log has failed. */
  outage?: OnBridge;
  /** The shared state is not known: the room may belong to the stream lane, where others append. */
  isBlind?: true;
}

/** How it stands with the rooms of the stream lane while the log fails. */
export interface OnBridge {
  reason: FailureReason;
  /**
   * Resolves when a call may go to the bridge: the other replicas know, and what they had read is shown; after a
   * bound in any case. Never rejects.
   */
  ready: Promise<void>;
}

/** The log knows a newer cutover state than the one under which the call's lane was decided. Nothing was kept. */
export class StaleEpoch extends Error {}

/** One broadcast by the backend that the contract has understood. */
export interface IncomingCall {
  event: Event;
  request: RawRequest;
  /** W3C trace id of the request's `traceparent`. */
  traceId?: string;
}

/** What the backend is told; the bridge's own answer is passed on as it is. */
export type Outcome = { kind: 'broadcast' } | { kind: 'duplicate' } | { kind: 'bridge'; answer: BridgeAnswer };

/** What the lanes ask of the cutover. */
export interface LaneChoice {
  decide(room: string): Decision;
  /** Resolves when a newer state than this is known. */
  newerThan(epoch: number): Promise<void>;
  /** Something of this room is under way until the returned function is called. */
  begin(room: string): () => void;
  readonly mirror: boolean;
  /** ... of this room, too. */
  mirrorsRoom(room: string): boolean;
  /** Whether event ids of bridge-lane calls are remembered in the log too. */
  readonly remembersIds: boolean;
}

export interface LanesOptions {
  log: Log;
  bridge: BridgeLane | undefined;
  fallback: boolean;
  /** Whether calls that the bridge cannot take for want of a connection go by the log. */
  bridgeFallback: boolean;
  cutover: LaneChoice;
  /** The log could not take an event. Resolves when it may go to the bridge, see {@link OnBridge}. */
  onLogFailure(reason: FailureReason): Promise<void>;
  /** What this replica has read of the log. */
  reads: Pick<ReadMemory, 'hasRead' | 'isTypingOver' | 'position'>;
  /** Whether the bridge carries this room's calls through other replicas, or began to a moment ago, not waiting for windows here. */
  hadElsewhere(room: string): boolean;
  /** An event goes to the bridge although its room may belong to the stream lane; see {@link Decision.isBlind}. */
  onBlind(event: Event): void;
  /** Whether any client of this replica may be reached at all. */
  hasAudience(): boolean;
  /**
   * An append may be in the log, and its call is about to go to the bridge, see cutover/uncertain.ts.
   * @returns `kept` where it is in the log: the bridge was not called. Errors: those of `callBridge`.
   */
  settleUncertain(
    event: { room: string; eventId: string },
    callBridge: () => Promise<BridgeAnswer>,
  ): Promise<BridgeAnswer | 'kept'>;
  /** ms; undefined: no coalescing. */
  coalesceWindowMs: number | undefined;
  clock: Clock;
  logger: Logger;
  metrics: Metrics;
}

const broadcast: Outcome = { kind: 'broadcast' };
const duplicate: Outcome = { kind: 'duplicate' };
/** A typing note that comes this long after its window's end was held by a process that stood still. */
const outdatedMs = 500;
/** How often, and for how long, a repeat asks whether its first call is decided. */
const undecidedPollMs = 25;
const undecidedLimitMs = 12_000;

export class Lanes {
  readonly #options: LanesOptions;
  readonly #coalescer: Coalescer<IncomingCall | undefined> | undefined;
  readonly #mirror: Mirror | undefined;
  /** Room -> resolves when what its windows gave out is in the log, or at the bridge. */
  readonly #emissions = new Map<string, Promise<void>>();

  constructor(options: LanesOptions) {
    this.#options = options;
    const { metrics, log, logger } = options;
    if (options.coalesceWindowMs !== undefined) {
      this.#coalescer = new Coalescer({
        windowMs: options.coalesceWindowMs,
        clock: options.clock,
        position: () => options.reads.position,
        emit: (entry, origins, lateMs) => this.#emit(entry, origins, lateMs),
        onMerged: (event) => metrics.coalesced.inc({ event_type: event.eventType }),
      });
    }
    if (options.bridge !== undefined) this.#mirror = new Mirror({ log, clock: options.clock, logger, metrics });
    metrics.coalescingWindows.set(0);
  }

  /**
   * Carries one call by its delivering lane.
   * @throws StaleEpoch where the lane must be decided anew
   * Errors: BRIDGE_*, LOG_APPEND_* and LOG_UNAVAILABLE (where there is no fallback), INGRESS_UNDECIDED.
   */
  carry(call: IncomingCall, decision: Decision): Promise<Outcome> {
    const byStream = decision.lane === 'stream';
    return this.#timed(call.event, byStream ? 'redis_streams' : 'http', () =>
      byStream ? this.#byStream(call, decision.epoch) : this.#byBridge(call, decision),
    );
  }

  /** A message that a client sends to others by a native hub. Errors: LOG_APPEND_*, LOG_UNAVAILABLE. */
  async publish(event: Event): Promise<void> {
    if (event.coalescing !== undefined && this.#coalescer !== undefined) {
      if (this.#coalescer.add(event, undefined, await this.#statedAt(event))) return;
    }
    this.#coalescer?.flushRoom(event.room);
    await this.#append(event);
  }

  /** Ends the windows of these rooms; what was in them is under way then, see {@link LaneChoice.begin}. */
  flushWindows(rooms: RoomSet): void {
    this.#coalescer?.flushRooms(rooms);
  }

  /** Flushes all windows and waits for everything that is on its way to the log. */
  async drain(): Promise<void> {
    this.flushWindows(allRooms);
    await Promise.all(this.#emissions.values());
    await this.#mirror?.drain();
  }

  /** Whether bridge-lane events are mirrored now and their last one has reached the log. */
  get isMirroring(): boolean {
    const { cutover, log } = this.#options;
    return cutover.mirror && log.reachable && this.#mirror?.isFailing === false;
  }

  /** Open windows now, for /metrics. */
  get openWindows(): number {
    return this.#coalescer?.openWindows ?? 0;
  }

  async #byStream(call: IncomingCall, epoch: number | undefined): Promise<Outcome> {
    const { room, coalescing } = call.event;
    const entersWindow = coalescing !== undefined && this.#coalescer !== undefined;
    const flushed = entersWindow ? undefined : this.#flushRoom(room);
    if (flushed !== undefined) {
      await flushed;
      // The log may have failed what was in the windows; then the room is there where that went.
      const { outage } = this.#options.cutover.decide(room);
      if (outage !== undefined)
        return this.#byBridge(call, { lane: 'bridge', outage, ...(epoch !== undefined && { epoch }) });
    }
    const entry = withTrace(call, epoch);
    try {
      if (entersWindow) return await this.#byWindow(call, epoch);
      return toOutcome(await this.#whenDecided(() => this.#append(entry)));
    } catch (error) {
      return await this.#fallBack(call, entry, error);
    }
  }

  /** The id is remembered when the call enters its window, so that a repeat is known on every replica. */
  async #byWindow(call: IncomingCall, epoch: number | undefined): Promise<Outcome> {
    const [eventId] = call.event.eventIds;
    const statedAt = this.#statedAt(call.event);
    if (eventId !== undefined) {
      if ((await this.#claim(eventId, epoch)) === 'duplicate') return duplicate;
      void this.#options.log.settle(eventId, true);
    }
    if (!this.#coalescer!.add(call.event, call, await statedAt)) this.#countLost(call.event);
    return broadcast;
  }

  /**
   * When a state of typing is accepted, in an order that holds over all replicas: each ends its windows by itself, and their
   * clocks differ. Without an answer of the log it is shown in the order in which the windows end. Never rejects.
   */
  async #statedAt(event: Event): Promise<number | undefined> {
    if (event.coalescing?.typingOf === undefined) return undefined;
    return this.#options.log.time().catch(() => undefined);
  }

  async #byBridge(call: IncomingCall, { epoch, outage, isBlind }: Decision): Promise<Outcome> {
    if (isBlind) this.#options.onBlind(call.event);
    if (outage !== undefined) {
      countFallback(this.#options.metrics, outage.reason);
      await outage.ready;
    }
    // The room was on the stream lane perhaps: what still waits in its windows goes first.
    await this.#flushRoom(call.event.room);
    const [eventId] = call.event.eventIds;
    const claimed = eventId === undefined ? undefined : await this.#claimIfPossible(eventId, epoch);
    if (claimed === 'duplicate' || (claimed === undefined && this.#wasRead(eventId))) return duplicate;
    let kept = false;
    try {
      const answer = await this.#requireBridge().send(call.request);
      kept = answer.status === 200;
      if (kept && !isDuplicate(answer) && this.#options.cutover.mirrorsRoom(call.event.room))
        this.#mirror?.shadow(withTrace(call, undefined));
      return { kind: 'bridge', answer };
    } catch (error) {
      if (!this.#options.bridgeFallback || !hasCode(error, 'BRIDGE_UNREACHABLE')) throw error;
      const entry = { ...withTrace(call, epoch), idsSettled: claimed !== undefined };
      const outcome = toOutcome(await this.#whenDecided(() => this.#append(entry)));
      kept = true;
      return outcome;
    } finally {
      // Also where the claim had no answer: it may be open. And where remembering began while the call was at the bridge.
      if (eventId !== undefined && (claimed === 'claimed' || this.#remembers)) {
        void this.#options.log.settle(eventId, kept);
      }
    }
  }

  /** A call that the log could not take goes to the bridge, unless that is switched off or there is none. */
  async #fallBack(call: IncomingCall, entry: NewEntry, error: unknown): Promise<Outcome> {
    if (!hasCode(error, 'LOG_APPEND_REFUSED', 'LOG_APPEND_UNKNOWN', 'LOG_UNAVAILABLE')) throw error;
    const { bridge, fallback, log, metrics, onLogFailure } = this.#options;
    const isUnknown = error.code === 'LOG_APPEND_UNKNOWN';
    const known = isUnknown ? broadcast : duplicate;
    if (this.#wasRead(entry.eventId)) return known;
    if (!fallback || bridge === undefined) throw error;
    const reason = error.reason ?? 'connection_lost';
    countFallback(metrics, reason);
    await onLogFailure(reason);
    if (this.#wasRead(entry.eventId)) return known;
    // What waits in the room's windows goes by the bridge too, and must not be overtaken there.
    await this.#flushRoom(call.event.room);
    const send = () => bridge.send(call.request);
    const answer = await (isUnknown ? this.#settleUncertain(entry, send) : send());
    if (answer === 'kept') return broadcast;
    const [eventId] = call.event.eventIds;
    if (eventId !== undefined && answer.status === 200) void log.settle(eventId, true);
    return { kind: 'bridge', answer };
  }

  /** The log may have kept it: whether it goes to the bridge as well, and which copy is shown, is agreed with the other replicas. */
  #settleUncertain({ room, eventId }: NewEntry, send: () => Promise<BridgeAnswer>): Promise<BridgeAnswer | 'kept'> {
    return this.#options.settleUncertain({ room, eventId: eventId! }, send);
  }

  #claim(eventId: string, epoch: number | undefined): Promise<'claimed' | 'duplicate'> {
    return this.#whenDecided(() => this.#options.log.claim(eventId, epoch));
  }

  /** A bridge-lane call does not need the log: without it, the bridge's own memory answers repeats. */
  async #claimIfPossible(eventId: string, epoch: number | undefined): Promise<'claimed' | 'duplicate' | undefined> {
    if (!this.#remembers) return undefined;
    try {
      return await this.#claim(eventId, epoch);
    } catch (error) {
      if (hasCode(error, 'LOG_UNAVAILABLE')) return undefined;
      throw error;
    }
  }

  /** Whether this replica has read the event: the log has it then, even if it does not answer now, and a repeat is a duplicate. */
  #wasRead(eventId: string | undefined): boolean {
    return eventId !== undefined && this.#options.reads.hasRead(eventId);
  }

  /** Asks again while another replica's call with the same id is open: a repeat of an undecided call waits for it. */
  async #whenDecided<Result extends string>(
    ask: () => Promise<Result>,
  ): Promise<Exclude<Result, 'undecided' | 'stale'>> {
    const { clock } = this.#options;
    const givesUpAt = clock.monotonic() + undecidedLimitMs;
    for (;;) {
      const result = await ask();
      if (result === 'stale') throw new StaleEpoch();
      if (result !== 'undecided') return result as Exclude<Result, 'undecided' | 'stale'>;
      if (clock.monotonic() > givesUpAt) {
        throw new CrossfadeError('INGRESS_UNDECIDED', 'the first call with this event_id is still open');
      }
      await pause(clock, undecidedPollMs);
    }
  }

  #append(entry: NewEntry) {
    return this.#options.log.append(entry);
  }

  /** The end of a window: nobody waits for it, so what fails here is taken to the bridge call by call, or counted. */
  #emit(entry: NewEntry, origins: (IncomingCall | undefined)[], lateMs: number): void {
    // Its sender's message may have gone by the bridge, of which the log's readers do not know.
    if (entry.typing !== undefined && this.#options.hadElsewhere(entry.room)) return this.#countLost(entry);
    const traceId = origins.findLast((call) => call?.traceId !== undefined)?.traceId;
    const identified = { ...entry, ...(traceId !== undefined && { traceId }), eventId: eventIdOf(entry) };
    const emission = this.#appendByLane(identified)
      .catch((error) => this.#rescue(identified, origins, lateMs, error))
      .catch((error) => this.#options.logger.warn({ err: error }, 'a coalesced event was lost'));
    const { room } = entry;
    const end = this.#options.cutover.begin(room);
    const settled = Promise.all([this.#emissions.get(room), emission]).then(() => {
      end();
      if (this.#emissions.get(room) === settled) this.#emissions.delete(room);
    });
    this.#emissions.set(room, settled);
  }

  /** @returns undefined where nothing of the room's windows is on its way */
  #flushRoom(room: string): Promise<void> | undefined {
    this.#coalescer?.flushRoom(room);
    return this.#emissions.get(room);
  }

  /** A window may end after its room has changed lane. */
  async #appendByLane(entry: NewEntry): Promise<void> {
    const { cutover } = this.#options;
    for (;;) {
      const { lane, epoch, outage } = cutover.decide(entry.room);
      if (lane === 'bridge') {
        const reason = outage && { reason: outage.reason };
        throw new CrossfadeError('LOG_APPEND_REFUSED', 'the room has left the stream lane', reason);
      }
      const result = await this.#append(epoch === undefined ? entry : { ...entry, epoch });
      if (result !== 'stale') return;
      await cutover.newerThan(epoch ?? 0);
    }
  }

  async #rescue(entry: NewEntry, origins: (IncomingCall | undefined)[], lateMs: number, error: unknown): Promise<void> {
    const { bridge, fallback, logger, metrics, reads, onLogFailure, hadElsewhere } = this.#options;
    const { code, reason } = error as CrossfadeError;
    // By the bridge it might come behind its sender's message, which another replica has taken meanwhile.
    const mayBeOver = reason !== undefined || lateMs > outdatedMs || hadElsewhere(entry.room);
    if (entry.typing !== undefined && (mayBeOver || reads.isTypingOver(entry.room, entry.typing)))
      return this.#countLost(entry);
    // Of typing only the latest counts; each read receipt has its own message ids.
    const wanted = entry.typing === undefined ? origins : origins.slice(-1);
    const calls = wanted.filter((call) => call !== undefined);
    if (!fallback || bridge === undefined || calls.length === 0) {
      this.#countLost(entry);
      logger.warn({ error: code, eventType: entry.eventType }, 'a coalesced event was lost');
      return;
    }
    if (reason !== undefined) {
      countFallback(metrics, reason);
      await onLogFailure(reason);
    }
    const send = () => this.#sendAll(bridge, calls);
    await (code === 'LOG_APPEND_UNKNOWN' ? this.#settleUncertain(entry, send) : send());
  }

  /**
   * A window's calls, of which the log's one entry holds everything: it is in place of them all, or of none.
   * @returns the first answer that is no 200, if there is one
   */
  async #sendAll(bridge: BridgeLane, calls: IncomingCall[]): Promise<BridgeAnswer> {
    const sent = await Promise.allSettled(calls.map(({ request }) => bridge.send(request)));
    for (const [i, { event }] of calls.entries()) if (!wasTaken(sent[i]!)) this.#countLost(event);
    const answer = sent.find((each) => !wasTaken(each)) ?? sent[0]!;
    if (answer.status === 'rejected') throw answer.reason;
    return answer.value;
  }

  #countLost(event: Event): void {
    this.#options.metrics.coalescedLost.inc({ event_type: event.eventType });
  }

  get #remembers(): boolean {
    return this.#options.cutover.remembersIds && this.#options.log.reachable;
  }

  #requireBridge(): BridgeLane {
    if (this.#options.bridge === undefined) throw new CrossfadeError('BRIDGE_UNREACHABLE', 'there is no --bridge');
    return this.#options.bridge;
  }

  async #timed(event: Event, transport: Transport, run: () => Promise<Outcome>): Promise<Outcome> {
    const { metrics, clock, hasAudience } = this.#options;
    const labels = { transport, event_type: event.eventType };
    const startedAt = clock.monotonic();
    let status = 'failure';
    try {
      const outcome = await run();
      status = statusOf(outcome);
      if (status === 'success' && !hasAudience()) metrics.withoutAudience.inc();
      // The bridge has broadcast before it answers.
      if (status === 'success' && outcome.kind === 'bridge')
        metrics.deliveryDuration.observe(
          { event_type: event.eventType, transport: 'http' },
          (clock.monotonic() - startedAt) / 1000,
        );
      return outcome;
    } finally {
      metrics.publishDuration.observe(labels, (clock.monotonic() - startedAt) / 1000);
      metrics.published.inc({ ...labels, status });
    }
  }
}

/** In the words of the metric `events_published_total{status}`. */
function statusOf(outcome: Outcome): 'success' | 'duplicate' | 'failure' {
  if (outcome.kind === 'duplicate') return 'duplicate';
  if (outcome.kind === 'broadcast') return 'success';
  if (outcome.answer.status !== 200) return 'failure';
  return isDuplicate(outcome.answer) ? 'duplicate' : 'success';
}

function wasTaken(sent: PromiseSettledResult<BridgeAnswer>): boolean {
  return sent.status === 'fulfilled' && sent.value.status === 200;
}

function isDuplicate(answer: BridgeAnswer): boolean {
  return answer.body.toString('latin1') === '{"duplicate":true}';
}

function toOutcome(result: 'appended' | 'duplicate'): Outcome {
  return result === 'duplicate' ? duplicate : broadcast;
}

/** The entry of a call, under an id that is known before the log has it. */
function withTrace({ event, traceId }: IncomingCall, epoch: number | undefined): NewEntry {
  return {
    ...event,
    eventId: eventIdOf(event),
    ...(traceId !== undefined && { traceId }),
    ...(epoch !== undefined && { epoch }),
  };
}
