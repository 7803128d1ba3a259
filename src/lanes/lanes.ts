// The two lanes and the fallback between them: in comes a call with its event and its delivering lane, out comes what
// the backend is told. Promises: `broadcast` only after the bridge's 200 or the log's own acknowledgement (a coalesced
// call: when it is in its window, or lost and counted where there are too many); `duplicate` for a repeat on either lane; every append
// of a room in order; a call that the log could not take goes to the bridge, and all rooms with it (unless that is switched off, there is
// none, or a hub is native: its clients would not hear of it).

import { type BridgeAnswer, type BridgeLane, certainlyNotSent } from '../bridge/lane.ts';
import type { ReadMemory } from '../consumer/read-memory.ts';
import type { Event } from '../contract/event.ts';
import { CrossfadeError, hasCode } from '../errors.ts';
import { eventIdOf } from '../log/entry.ts';
import type { Log, NewEntry } from '../log/log.ts';
import type { RoomSet } from '../room-set.ts';
import { pause } from '../telemetry/clock.ts';
import { countFallback, type Transport } from '../telemetry/metrics.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import {
  type Decision,
  type IncomingCall,
  type LaneChoice,
  type LaneFailures,
  type Outcome,
  StaleEpoch,
  type Unshadowed,
} from './call.ts';
import { Mirror } from './mirror.ts';
import { Windows } from './windows.ts';

export interface LanesOptions extends Pick<Telemetry, 'clock' | 'logger' | 'metrics'>, Unshadowed {
  log: Log;
  bridge: BridgeLane | undefined;
  cutover: LaneChoice;
  failures: LaneFailures;
  /** What this replica has read of the log. */
  reads: Pick<ReadMemory, 'hasRead' | 'isTypingOver' | 'position'>;
  /** Whether any client of this replica may be reached at all. */
  hasAudience(): boolean;
  settings: {
    /** Whether calls that the log cannot take go to the bridge, as long as every client hears that. */
    fallback: boolean;
    /** Whether calls that the bridge cannot take for want of a connection go by the log. */
    bridgeFallback: boolean;
    /** ms; undefined: no coalescing. */
    coalesceWindowMs: number | undefined;
  };
}

const broadcast: Outcome = { kind: 'broadcast' };
const duplicate: Outcome = { kind: 'duplicate' };
/** How often, and for how long, a repeat asks whether its first call is decided. */
const undecidedPollMs = 25;
const undecidedLimitMs = 12_000;

export class Lanes {
  readonly #options: LanesOptions;
  readonly #windows: Windows | undefined;
  readonly #mirror: Mirror | undefined;
  /** When each call that is at the bridge was sent, the oldest first. */
  readonly #atBridge = new Set<{ sentAt: number }>();

  constructor(options: LanesOptions) {
    this.#options = options;
    const { metrics, bridge } = options;
    const { coalesceWindowMs: windowMs, fallback } = options.settings;
    if (windowMs !== undefined)
      this.#windows = new Windows({ ...options, windowMs, bridge: fallback ? bridge : undefined });
    if (bridge !== undefined) this.#mirror = new Mirror(options);
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
    if (event.coalescing !== undefined && this.#windows !== undefined) {
      if (this.#windows.add(event, undefined, await this.#windows.statedAt(event))) return;
    }
    void this.#windows?.flushRoom(event.room);
    await this.#options.log.append(event);
  }

  /** Ends the windows of these rooms; what was in them is under way then, see {@link LaneChoice.begin}. */
  flushWindows(rooms: RoomSet): void {
    this.#windows?.flush(rooms);
  }

  /** Flushes all windows and waits for everything that is on its way to the log. */
  async drain(): Promise<void> {
    await this.#windows?.drain();
    await this.#mirror?.drain();
  }

  /** Whether bridge-lane events are mirrored now and their last one has reached the log. */
  get isMirroring(): boolean {
    const { cutover, log } = this.#options;
    return cutover.mirror && log.reachable && this.#mirror?.isFailing === false;
  }

  /** When the oldest call that the bridge has not answered was sent, ms monotonic. */
  get oldestAtBridge(): number | undefined {
    return this.#atBridge.values().next().value?.sentAt;
  }

  /** Open windows now, for /metrics. */
  get openWindows(): number {
    return this.#windows?.openCount ?? 0;
  }

  async #byStream(call: IncomingCall, epoch: number | undefined): Promise<Outcome> {
    const { room, coalescing } = call.event;
    const entersWindow = coalescing !== undefined && this.#windows !== undefined;
    const flushed = entersWindow ? undefined : this.#windows?.flushBefore(room, epoch);
    if (flushed !== undefined) {
      await flushed;
      // Where the log did not take what was in the windows, that went to the bridge: this call follows it there.
      const { outage } = this.#options.cutover.decide(room);
      if (outage !== undefined)
        return this.#byBridge(call, { lane: 'bridge', outage, ...(epoch !== undefined && { epoch }) });
    }
    const entry = withTrace(call, epoch);
    try {
      if (entersWindow) return await this.#byWindow(call, epoch);
      return await this.#append(entry);
    } catch (error) {
      return await this.#fallBack(call, entry, error);
    }
  }

  /** The id is remembered when the call enters its window, so that a repeat is known on every replica. */
  async #byWindow(call: IncomingCall, epoch: number | undefined): Promise<Outcome> {
    const [eventId] = call.event.eventIds;
    const windows = this.#windows!;
    const statedAt = windows.statedAt(call.event);
    if (eventId !== undefined) {
      if ((await this.#claim(eventId, epoch)) === 'duplicate') return duplicate;
      void this.#options.log.settle(eventId, true);
    }
    if (!windows.add(call.event, call, await statedAt)) windows.countLost(call.event);
    return broadcast;
  }

  async #byBridge(call: IncomingCall, { epoch, outage, isBlind }: Decision): Promise<Outcome> {
    if (isBlind) this.#options.failures.onBlind(call.event);
    if (outage !== undefined) {
      countFallback(this.#options.metrics, outage.reason);
      await outage.ready;
    }
    // The room was on the stream lane perhaps: what still waits in its windows goes first.
    await this.#windows?.flushRoom(call.event.room);
    const [eventId] = call.event.eventIds;
    const claimed = eventId === undefined ? undefined : await this.#claimIfPossible(eventId, epoch);
    if (claimed === 'duplicate' || (claimed === undefined && this.#wasRead(eventId))) return duplicate;
    let kept = false;
    try {
      const answer = await this.#sendToBridge(call, outage !== undefined);
      kept = answer.status === 200;
      return { kind: 'bridge', answer };
    } catch (error) {
      if (!this.#options.settings.bridgeFallback || !certainlyNotSent(error)) throw error;
      const entry = { ...withTrace(call, epoch), idsSettled: claimed !== undefined };
      const outcome = await this.#append(entry);
      kept = true;
      return outcome;
    } finally {
      // Also where the claim had no answer: it may be open. And where remembering began while the call was at the bridge.
      if (eventId !== undefined && (claimed === 'claimed' || this.#remembers)) {
        void this.#options.log.settle(eventId, kept);
      }
    }
  }

  /** What the bridge has taken is mirrored; of what it may have taken besides, who compares is told. */
  async #sendToBridge(call: IncomingCall, isFallback: boolean): Promise<BridgeAnswer> {
    const { clock, cutover, onUnshadowed } = this.#options;
    const under = { sentAt: clock.monotonic() };
    this.#atBridge.add(under);
    try {
      const answer = await this.#requireBridge().send(call.request);
      const isShown = answer.status === 200 && !isDuplicate(answer);
      if (isShown && cutover.mirrorsRoom(call.event.room))
        this.#mirror?.shadow(withTrace(call, undefined), under.sentAt);
      else if (isShown && isFallback) onUnshadowed('fallback', under.sentAt);
      else if (answer.status >= 500) onUnshadowed('bridge failed', under.sentAt);
      return answer;
    } catch (error) {
      if (!hasCode(error, 'BRIDGE_OVERLOADED')) onUnshadowed('bridge failed', under.sentAt);
      throw error;
    } finally {
      this.#atBridge.delete(under);
    }
  }

  /** A call that the log could not take goes to the bridge, unless that is switched off or there is none. */
  async #fallBack(call: IncomingCall, entry: NewEntry, error: unknown): Promise<Outcome> {
    if (!hasCode(error, 'LOG_APPEND_REFUSED', 'LOG_APPEND_UNKNOWN', 'LOG_UNAVAILABLE')) throw error;
    const { bridge, settings, log, metrics, failures } = this.#options;
    const isUnknown = error.code === 'LOG_APPEND_UNKNOWN';
    // Read here under this id: the append without an answer was kept; of one that was refused, the entry is somebody else's.
    const ifRead = isUnknown ? broadcast : duplicate;
    if (this.#wasRead(entry.eventId)) return ifRead;
    if (!settings.fallback || bridge === undefined || this.#options.cutover.hasNativeHubs) throw error;
    const reason = error.reason ?? 'connection_lost';
    countFallback(metrics, reason);
    await failures.onLogFailure(reason);
    if (this.#wasRead(entry.eventId)) return ifRead;
    // What waits in the room's windows goes by the bridge too, and must not be overtaken there.
    await this.#windows?.flushRoom(call.event.room);
    this.#options.onUnshadowed('fallback', this.#options.clock.monotonic());
    const send = () => bridge.send(call.request);
    // The log may have kept it: whether it goes to the bridge as well, and which copy is shown, is agreed with the other replicas.
    const answer = await (isUnknown
      ? failures.settleUncertain({ room: entry.room, eventId: entry.eventId! }, send)
      : send());
    if (answer === 'kept') return broadcast;
    const [eventId] = call.event.eventIds;
    if (eventId !== undefined && answer.status === 200) void log.settle(eventId, true);
    return { kind: 'bridge', answer };
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

  async #append(entry: NewEntry): Promise<Outcome> {
    const result = await this.#whenDecided(() => this.#options.log.append(entry));
    return result === 'duplicate' ? duplicate : broadcast;
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
    let status: string | undefined = 'failure';
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
    } catch (error) {
      // It is carried again by its new lane, and counted then.
      if (error instanceof StaleEpoch) status = undefined;
      throw error;
    } finally {
      if (status !== undefined) {
        metrics.publishDuration.observe(labels, (clock.monotonic() - startedAt) / 1000);
        metrics.published.inc({ ...labels, status });
      }
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

function isDuplicate(answer: BridgeAnswer): boolean {
  return answer.body.toString('latin1') === '{"duplicate":true}';
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
