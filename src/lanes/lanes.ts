// The two lanes and the fallback between them: in comes a call with its event and its delivering lane, out comes what
// the backend is told. Promises: `broadcast` only after the bridge's 200 or the log's own acknowledgement (a coalesced
// call: when it is in its window); `duplicate` for a repeat on either lane; every append of a room in order.

import type { Event } from '../contract/event.ts';
import { CrossfadeError, hasCode } from '../errors.ts';
import type { Log, NewEntry, Position } from '../log/log.ts';
import type { Clock } from '../telemetry/clock.ts';
import type { Logger } from '../telemetry/logger.ts';
import { countFallback, type Metrics, type Transport } from '../telemetry/metrics.ts';
import type { BridgeAnswer, BridgeLane, RawRequest } from './bridge.ts';
import { Coalescer } from './coalesce.ts';
import { Mirror } from './mirror.ts';

export type Lane = 'bridge' | 'stream';

/** One broadcast by the backend that the contract has understood. */
export interface IncomingCall {
  event: Event;
  request: RawRequest;
  /** W3C trace id of the request's `traceparent`. */
  traceId?: string;
}

/** What the backend is told; the bridge's own answer is passed on as it is. */
export type Outcome = { kind: 'broadcast' } | { kind: 'duplicate' } | { kind: 'bridge'; answer: BridgeAnswer };

export interface LanesOptions {
  log: Log;
  bridge: BridgeLane | undefined;
  fallback: boolean;
  mirror: boolean;
  /** Whether event ids of bridge-lane calls are remembered in the log too. */
  remembersIds: boolean;
  /** ms; undefined: no coalescing. */
  coalesceWindowMs: number | undefined;
  position(): Position;
  clock: Clock;
  logger: Logger;
  metrics: Metrics;
}

const broadcast: Outcome = { kind: 'broadcast' };
const duplicate: Outcome = { kind: 'duplicate' };
/** How often, and for how long, a repeat asks whether its first call is decided. */
const undecidedPollMs = 25;
const undecidedLimitMs = 12_000;

export class Lanes {
  readonly #options: LanesOptions;
  readonly #coalescer: Coalescer<IncomingCall | undefined> | undefined;
  readonly #mirror: Mirror | undefined;
  readonly #emissions = new Set<Promise<void>>();

  constructor(options: LanesOptions) {
    this.#options = options;
    const { metrics, log, logger } = options;
    if (options.coalesceWindowMs !== undefined) {
      this.#coalescer = new Coalescer({
        windowMs: options.coalesceWindowMs,
        clock: options.clock,
        position: options.position,
        emit: (entry, origins) => this.#emit(entry, origins),
        onMerged: (event) => metrics.coalesced.inc({ event_type: event.eventType }),
      });
    }
    if (options.mirror) this.#mirror = new Mirror({ log, logger, metrics });
    metrics.coalescingWindows.set(0);
  }

  /**
   * Carries one call by its delivering lane.
   * Errors: BRIDGE_*, LOG_APPEND_* and LOG_UNAVAILABLE (where there is no fallback), INGRESS_UNDECIDED.
   */
  carry(call: IncomingCall, lane: Lane): Promise<Outcome> {
    return this.#timed(call.event, lane === 'stream' ? 'redis_streams' : 'http', () =>
      lane === 'stream' ? this.#byStream(call) : this.#byBridge(call),
    );
  }

  /** A message that a client sends to others by a native hub. Errors: LOG_APPEND_*, LOG_UNAVAILABLE. */
  async publish(event: Event): Promise<void> {
    if (event.coalescing !== undefined && this.#coalescer?.add(event, undefined)) return;
    this.#coalescer?.flushRoom(event.room);
    await this.#append(event);
  }

  /** Flushes all windows and waits for everything that is on its way to the log. */
  async drain(): Promise<void> {
    this.#coalescer?.flushAll();
    await Promise.all(this.#emissions);
    await this.#mirror?.drain();
  }

  /** Open windows now, for /metrics. */
  get openWindows(): number {
    return this.#coalescer?.openWindows ?? 0;
  }

  async #byStream(call: IncomingCall): Promise<Outcome> {
    try {
      if (call.event.coalescing !== undefined && this.#coalescer !== undefined) return await this.#byWindow(call);
      this.#coalescer?.flushRoom(call.event.room);
      return await this.#appendDecided(withTrace(call));
    } catch (error) {
      return await this.#fallBack(call, error);
    }
  }

  /** The id is remembered when the call enters its window, so that a repeat is known on every replica. */
  async #byWindow(call: IncomingCall): Promise<Outcome> {
    const [eventId] = call.event.eventIds;
    if (eventId !== undefined) {
      if ((await this.#claim(eventId)) === 'duplicate') return duplicate;
      void this.#options.log.settle(eventId, true);
    }
    if (!this.#coalescer!.add(call.event, call)) this.#countLost(call.event);
    return broadcast;
  }

  async #byBridge(call: IncomingCall): Promise<Outcome> {
    const [eventId] = call.event.eventIds;
    const claimed = eventId !== undefined && this.#options.remembersIds && (await this.#claimIfPossible(eventId));
    if (claimed === 'duplicate') return duplicate;
    let kept = false;
    try {
      const answer = await this.#requireBridge().send(call.request);
      kept = answer.status === 200;
      if (kept && !isDuplicate(answer)) this.#mirror?.shadow(withTrace(call));
      return { kind: 'bridge', answer };
    } finally {
      if (claimed === 'claimed') void this.#options.log.settle(eventId!, kept);
    }
  }

  /** A call that the log could not take goes to the bridge, unless that is switched off or there is none. */
  async #fallBack(call: IncomingCall, error: unknown): Promise<Outcome> {
    if (!hasCode(error, 'LOG_APPEND_REFUSED', 'LOG_APPEND_UNKNOWN', 'LOG_UNAVAILABLE')) throw error;
    if (!this.#options.fallback || this.#options.bridge === undefined) throw error;
    countFallback(this.#options.metrics, error.reason ?? 'connection_lost');
    const answer = await this.#options.bridge.send(call.request);
    const [eventId] = call.event.eventIds;
    if (eventId !== undefined && answer.status === 200) void this.#options.log.settle(eventId, true);
    return { kind: 'bridge', answer };
  }

  async #appendDecided(entry: NewEntry): Promise<Outcome> {
    const result = await this.#whenDecided(() => this.#append(entry));
    return result === 'duplicate' ? duplicate : broadcast;
  }

  #claim(eventId: string): Promise<'claimed' | 'duplicate'> {
    return this.#whenDecided(() => this.#options.log.claim(eventId));
  }

  /** A bridge-lane call does not need the log: without it, the bridge's own memory answers repeats. */
  async #claimIfPossible(eventId: string): Promise<'claimed' | 'duplicate' | undefined> {
    try {
      return await this.#claim(eventId);
    } catch (error) {
      if (hasCode(error, 'LOG_UNAVAILABLE')) return undefined;
      throw error;
    }
  }

  /** Asks again while another replica's call with the same id is open: a repeat of an undecided call waits for it. */
  async #whenDecided<Result extends string>(
    ask: () => Promise<Result>,
  ): Promise<Exclude<Result, 'undecided' | 'stale'>> {
    const { clock } = this.#options;
    const givesUpAt = clock.monotonic() + undecidedLimitMs;
    for (;;) {
      const result = await ask();
      if (result === 'stale') throw new Error('the log compared an epoch that it was not given');
      if (result !== 'undecided') return result as Exclude<Result, 'undecided' | 'stale'>;
      if (clock.monotonic() > givesUpAt) {
        throw new CrossfadeError('INGRESS_UNDECIDED', 'the first call with this event_id is still open');
      }
      await new Promise<void>((resolve) => clock.after(undecidedPollMs, resolve));
    }
  }

  #append(entry: NewEntry) {
    return this.#options.log.append(entry);
  }

  /** The end of a window: nobody waits for it, so what fails here is taken to the bridge call by call, or counted. */
  #emit(entry: NewEntry, origins: (IncomingCall | undefined)[]): void {
    const traceId = origins.findLast((call) => call?.traceId !== undefined)?.traceId;
    const emission = this.#append(traceId === undefined ? entry : { ...entry, traceId })
      .then(() => undefined)
      .catch((error) => this.#rescue(entry, origins, error))
      .finally(() => this.#emissions.delete(emission));
    this.#emissions.add(emission);
  }

  async #rescue(entry: NewEntry, origins: (IncomingCall | undefined)[], error: unknown): Promise<void> {
    const { bridge, fallback, logger, metrics } = this.#options;
    // Of typing only the latest counts; each read receipt has its own message ids.
    const wanted = entry.typing === undefined ? origins : origins.slice(-1);
    const calls = wanted.filter((call) => call !== undefined);
    if (!fallback || bridge === undefined || calls.length === 0) {
      this.#countLost(entry);
      logger.warn({ error: (error as CrossfadeError).code, eventType: entry.eventType }, 'a coalesced event was lost');
      return;
    }
    countFallback(metrics, (error as CrossfadeError).reason);
    for (const call of calls) await bridge.send(call.request).catch(() => this.#countLost(call.event));
  }

  #countLost(event: Event): void {
    this.#options.metrics.coalescedLost.inc({ event_type: event.eventType });
  }

  #requireBridge(): BridgeLane {
    if (this.#options.bridge === undefined) throw new CrossfadeError('BRIDGE_UNREACHABLE', 'there is no --bridge');
    return this.#options.bridge;
  }

  async #timed(event: Event, transport: Transport, run: () => Promise<Outcome>): Promise<Outcome> {
    const { metrics, clock } = this.#options;
    const labels = { transport, event_type: event.eventType };
    const startedAt = clock.monotonic();
    let status = 'failure';
    try {
      const outcome = await run();
      if (outcome.kind !== 'bridge') status = outcome.kind === 'broadcast' ? 'success' : 'duplicate';
      else if (outcome.answer.status === 200) status = isDuplicate(outcome.answer) ? 'duplicate' : 'success';
      return outcome;
    } finally {
      metrics.publishDuration.observe(labels, (clock.monotonic() - startedAt) / 1000);
      metrics.published.inc({ ...labels, status });
    }
  }
}

function isDuplicate(answer: BridgeAnswer): boolean {
  return answer.body.toString('latin1') === '{"duplicate":true}';
}

function withTrace({ event, traceId }: IncomingCall): NewEntry {
  return traceId === undefined ? event : { ...event, traceId };
}
