// The coalescing windows at work: in come typing and read receipts of the stream lane, out goes, at the end of a window, one entry for all
// of its calls; and where the log does not take it, or the room has left the stream lane meanwhile, its calls to the bridge, or a count.
// Promises: what is given out of a room goes before the room's next call; typing that its sender's message may have overtaken is dropped.

import type { BridgeAnswer, BridgeLane } from '../bridge/lane.ts';
import type { ReadMemory } from '../consumer/read-memory.ts';
import type { Event } from '../contract/event.ts';
import { hasCode } from '../errors.ts';
import { eventIdOf } from '../log/entry.ts';
import type { Log, NewEntry } from '../log/log.ts';
import { allRooms, type RoomSet } from '../room-set.ts';
import { countFallback } from '../telemetry/metrics.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import type { CurrentOutage, Decision, IncomingCall, LaneChoice, LaneFailures, Unshadowed } from './call.ts';
import { Coalescer } from './coalesce.ts';

export interface WindowsOptions extends Pick<Telemetry, 'clock' | 'logger' | 'metrics'>, Unshadowed {
  log: Pick<Log, 'append' | 'time'>;
  /** Where calls go that the log does not take; undefined: nowhere. */
  bridge: BridgeLane | undefined;
  cutover: Pick<LaneChoice, 'decide' | 'newerThan' | 'begin' | 'hasNativeHubs'>;
  failures: LaneFailures;
  /** What this replica has read of the log. */
  reads: Pick<ReadMemory, 'isTypingOver' | 'position'>;
  /** ms */
  windowMs: number;
}

/** A typing note that comes this long after its window's end was held by a process that stood still. */
const outdatedMs = 500;

/** The room of a window has left the stream lane before its end: to the bridge lane, or while an outage lasts. */
class LeftStreamLane extends Error {
  readonly outage: CurrentOutage | undefined;

  constructor(outage: CurrentOutage | undefined) {
    super('the room has left the stream lane');
    this.outage = outage;
  }
}

/** What the windows of one room have given out and what has not arrived yet. */
interface GivenOut {
  /** Resolves when all of it is in the log, or at the bridge, or lost. */
  settled: Promise<void>;
  /** Whether it is typing alone, all of it handed to the log under the state of this epoch. */
  isTypingInLog: boolean;
  epoch: number | undefined;
}

export class Windows {
  readonly #options: WindowsOptions;
  readonly #coalescer: Coalescer<IncomingCall | undefined>;
  /** By room. */
  readonly #givenOut = new Map<string, GivenOut>();

  constructor(options: WindowsOptions) {
    this.#options = options;
    this.#coalescer = new Coalescer({
      windowMs: options.windowMs,
      clock: options.clock,
      position: () => options.reads.position,
      emit: (entry, origins, lateMs) => this.#emit(entry, origins, lateMs),
      onMerged: (event) => options.metrics.coalesced.inc({ event_type: event.eventType }),
    });
  }

  /** How many are open. */
  get openCount(): number {
    return this.#coalescer.openWindows;
  }

  /**
   * When a state of typing is accepted, in an order that holds over all replicas: each ends its windows by itself, and their
   * clocks differ. Without an answer of the log it is shown in the order in which the windows end. Never rejects.
   */
  async statedAt(event: Event): Promise<number | undefined> {
    if (event.coalescing?.typingOf === undefined) return undefined;
    return this.#options.log.time().catch(() => undefined);
  }

  /**
   * An event enters its window.
   * @param call whose event it is; undefined: a native client's
   * @returns false where there are too many windows
   */
  add(event: Event, call: IncomingCall | undefined, statedAt: number | undefined): boolean {
    return this.#coalescer.add(event, call, statedAt);
  }

  /** Ends the room's windows. @returns when what they gave out is in the log, or at the bridge, or lost; undefined where nothing is under way */
  flushRoom(room: string): Promise<void> | undefined {
    this.#coalescer.flushRoom(room);
    return this.#givenOut.get(room)?.settled;
  }

  /**
   * Ends the room's windows for a message that is about to be appended under the state of this epoch.
   * @returns as {@link flushRoom}; undefined also where the message need not wait. The log keeps what it is handed in that order. So
   * typing stands before the message, or is refused: as late, and it is dropped; or as stale, and so is the message, which comes again under
   * a newer state and then waits. Where an answer is lost, readers drop what stands behind the message, and an outage counts what it meets.
   * A read receipt that is refused goes by the bridge: it is waited for.
   */
  flushBefore(room: string, epoch: number | undefined): Promise<void> | undefined {
    const settled = this.flushRoom(room);
    const givenOut = this.#givenOut.get(room);
    return givenOut?.isTypingInLog && givenOut.epoch === epoch ? undefined : settled;
  }

  /** Ends the windows of these rooms; what was in them is under way then, see {@link LaneChoice.begin}. */
  flush(rooms: RoomSet): void {
    this.#coalescer.flushRooms(rooms);
  }

  /** Ends all of them. Resolves when what they gave out is in the log, or at the bridge, or lost and counted. */
  async drain(): Promise<void> {
    this.flush(allRooms);
    await Promise.all(this.#givenOut.values().map(({ settled }) => settled));
  }

  /** Counts an event that is shown nowhere. */
  countLost(event: Event): void {
    this.#options.metrics.coalescedLost.inc({ event_type: event.eventType });
  }

  /** The end of a window: nobody waits for it, so what fails here is taken to the bridge call by call, or counted. */
  #emit(entry: NewEntry, origins: (IncomingCall | undefined)[], lateMs: number): void {
    if (this.#mayBeOver(entry)) return this.countLost(entry);
    const traceId = origins.findLast((call) => call?.traceId !== undefined)?.traceId;
    const identified = { ...entry, ...(traceId !== undefined && { traceId }), eventId: eventIdOf(entry) };
    const decision = this.#options.cutover.decide(entry.room);
    const arrival = this.#appendByLane(identified, decision)
      .catch((error) => this.#rescue(identified, origins, lateMs, error))
      .catch((error) => this.#options.logger.warn({ err: error }, 'a coalesced event was lost'));
    this.#noteGivenOut(entry, decision, arrival);
  }

  #noteGivenOut({ room, typing }: NewEntry, { lane, epoch }: Decision, arrival: Promise<void>): void {
    const before = this.#givenOut.get(room);
    const end = this.#options.cutover.begin(room);
    const restIsTyping = before === undefined || (before.isTypingInLog && before.epoch === epoch);
    const givenOut: GivenOut = {
      settled: Promise.all([before?.settled, arrival]).then(() => {
        end();
        if (this.#givenOut.get(room) === givenOut) this.#givenOut.delete(room);
      }),
      isTypingInLog: restIsTyping && typing !== undefined && lane === 'stream',
      epoch,
    };
    this.#givenOut.set(room, givenOut);
  }

  /** A window may end after its room has changed lane. @param decided at this moment */
  async #appendByLane(entry: NewEntry, decided: Decision): Promise<void> {
    const { cutover } = this.#options;
    for (let decision = decided; ; decision = cutover.decide(entry.room)) {
      const { lane, epoch, outage } = decision;
      if (lane === 'bridge') throw new LeftStreamLane(outage);
      const result = await this.#options.log.append(epoch === undefined ? entry : { ...entry, epoch });
      if (result !== 'stale') return;
      await cutover.newerThan(epoch ?? 0);
      // What was read meanwhile may be changes that did not wait for this replica: its sender's message may have gone by the bridge.
      if (this.#mayBeOver(entry)) throw new LeftStreamLane(undefined);
    }
  }

  /** Typing whose sender's message may have gone by the bridge, of which the log's readers do not know. */
  #mayBeOver({ typing, room }: NewEntry): boolean {
    return typing !== undefined && this.#options.failures.othersMayBeAtBridge(room);
  }

  async #rescue(entry: NewEntry, origins: (IncomingCall | undefined)[], lateMs: number, error: unknown): Promise<void> {
    const { bridge, logger, reads, failures } = this.#options;
    const leftByHandover = error instanceof LeftStreamLane && error.outage === undefined;
    // By the bridge it might come behind its sender's message, which another replica has taken meanwhile.
    const isLate = !leftByHandover || lateMs > outdatedMs || this.#mayBeOver(entry);
    if (entry.typing !== undefined && (isLate || reads.isTypingOver(entry.room, entry.typing)))
      return this.countLost(entry);
    // Of typing only the latest counts, which stands last; each read receipt has its own message ids.
    const wanted = entry.typing === undefined ? origins : origins.slice(-1);
    const calls = wanted.filter((call) => call !== undefined);
    if (bridge === undefined || calls.length === 0 || (!leftByHandover && this.#options.cutover.hasNativeHubs)) {
      this.countLost(entry);
      logger.warn({ err: error, eventType: entry.eventType }, 'a coalesced event was lost');
      return;
    }
    if (!leftByHandover) await this.#untilBridgeMay(error);
    const send = () => this.#sendAll(bridge, calls);
    await (hasCode(error, 'LOG_APPEND_UNKNOWN')
      ? failures.settleUncertain({ room: entry.room, eventId: entry.eventId! }, send)
      : send());
  }

  /** An outage has begun meanwhile, or begins with what the log did not take here. Rejects with what is none of the log's failures. */
  async #untilBridgeMay(error: unknown): Promise<void> {
    const { metrics, failures } = this.#options;
    if (error instanceof LeftStreamLane && error.outage !== undefined) {
      countFallback(metrics, error.outage.reason);
      return error.outage.ready;
    }
    if (!hasCode(error, 'LOG_APPEND_REFUSED', 'LOG_APPEND_UNKNOWN', 'LOG_UNAVAILABLE')) throw error;
    const reason = error.reason ?? 'connection_lost';
    countFallback(metrics, reason);
    await failures.onLogFailure(reason);
  }

  /**
   * A window's calls, of which the log's one entry holds everything: it is in place of them all, or of none.
   * @returns the first answer that is no 200, if there is one
   */
  async #sendAll(bridge: BridgeLane, calls: IncomingCall[]): Promise<BridgeAnswer> {
    this.#options.onUnshadowed('fallback', this.#options.clock.monotonic());
    const sent = await Promise.allSettled(calls.map(({ request }) => bridge.send(request)));
    for (const [i, { event }] of calls.entries()) if (!wasTaken(sent[i]!)) this.countLost(event);
    const answer = sent.find((each) => !wasTaken(each)) ?? sent[0]!;
    if (answer.status === 'rejected') throw answer.reason;
    return answer.value;
  }
}

function wasTaken(sent: PromiseSettledResult<BridgeAnswer>): boolean {
  return sent.status === 'fulfilled' && sent.value.status === 200;
}
