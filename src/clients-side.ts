// How the clients' side of a replica opens, reads and closes. In come the edge, made and not listening, and the log; out go the
// moment at which clients may come, and the consumer loop behind it. An ingress alone has no client and reads all the same: the
// cutover's notes stand among the events, and which of these were read decides what becomes of a repeat.
// Promises: the edge opens when the reader stands at the tail; a bridge's clients do not wait for a log that is away, but are closed
// when it is there, if they may have missed something; clients leave a few at a time, and who still waits is shown what comes.

import type { Drained } from './admin/admin.ts';
import type { Config, HostPort } from './config.ts';
import { Consumer } from './consumer/consumer.ts';
import { Probe } from './consumer/probe.ts';
import type { Cutover } from './cutover/cutover.ts';
import type { Edge } from './edge/edge.ts';
import { type CrossfadeError, hasCode } from './errors.ts';
import { controlStream, probeStream, type Reader, typingStream } from './log/log.ts';
import type { Parts } from './parts.ts';
import { unknownStateMs } from './rooms/room-lanes.ts';
import { pause } from './telemetry/clock.ts';
import { LogThrottle } from './telemetry/log-throttle.ts';
import type { Telemetry } from './telemetry/telemetry.ts';

/** ms that clients get to see what was published last. */
const deliveryDrainMs = 1_000;
const drainPollMs = 10;
/** Between attempts to open the log, beside the time that an attempt itself waits; and between two lines about it. */
const retryMs = 1_000;
const sayAwayMs = 10_000;

export interface ClientsSideParts extends Pick<Parts, 'contract' | 'log' | 'reads'>, Telemetry {
  config: Config;
  edge: Edge;
  cutover: Cutover;
  /** The consumer loop has failed. */
  coreFailed(error: unknown): void;
}

export class ClientsSide {
  /** Whether what the log keeps gets to where clients are. */
  readonly probe: Probe;
  readonly #parts: ClientsSideParts;
  readonly #opened = Promise.withResolvers<HostPort | undefined>();
  #reader: Reader | undefined;
  #consuming: Promise<void> | undefined;
  #isClosed = false;
  #draining: Promise<void> | undefined;
  #isDrained = false;
  readonly #saysAway: LogThrottle;

  constructor(parts: ClientsSideParts) {
    this.#parts = parts;
    this.#saysAway = new LogThrottle(parts.clock, sayAwayMs);
    this.probe = new Probe(parts);
    parts.edge.joinProbe(this.probe);
  }

  /** Its address, once clients may come; undefined for an ingress alone, once it knows what it has to do. */
  get opened(): Promise<HostPort | undefined> {
    return this.#opened.promise;
  }

  /** Resolves when the edge is open and the log is read. Errors: LOG_*, CONFIG_INVALID. */
  async open(): Promise<void> {
    const { config, edge, cutover, clock } = this.#parts;
    this.probe.start();
    const stands = this.#standAtTail();
    const inTime = stands.then(() => true);
    const tooLate = () => pause(clock, unknownStateMs).then(() => false);
    // Only native hubs have nothing to give without the log.
    const mustWait = config.hubs === 'native' && config.edge !== undefined;
    const isInTime = await (mustWait ? inTime : Promise.race([inTime, tooLate()]));
    if (this.#isClosed) return;
    const openedAtMs = clock.now();
    // A replica that is already draining takes no clients any more; it goes on reading for the calls that it still takes.
    const opens = config.edge !== undefined && !this.isDraining;
    if (opens) await edge.listen(config.edge!);
    this.#opened.resolve(opens ? edge.address : undefined);
    const reader = await stands;
    if (!isInTime && cutover.mayHaveUsedStream(openedAtMs)) this.#closeWhoMissed();
    this.#consume(reader);
  }

  /**
   * Takes no new clients and lets those there are go, at the configured rate; whoever still waits is shown what comes. Asked again
   * it is the same drain. Never rejects.
   */
  drain(): Promise<void> {
    this.#draining ??= this.#drain();
    return this.#draining;
  }

  get isDraining(): boolean {
    return this.#draining !== undefined;
  }

  /** How old the newest probe is that has arrived, ms; undefined: none comes to an ingress alone. */
  get probeMs(): number | undefined {
    return this.#parts.config.edge === undefined ? undefined : this.probe.ageMs;
  }

  /** How far the drain has come. */
  get drained(): Drained {
    return { remaining: this.isDraining ? this.#parts.edge.clientCount : 0, done: this.#isDrained };
  }

  /** Ends what {@link open} has begun, as far as it has come; who is still connected is closed at once. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.probe.stop();
    if (this.#consuming !== undefined) await this.#untilDelivered();
    await this.#parts.edge.close();
    await this.#reader?.close();
    await this.#consuming;
  }

  async #drain(): Promise<void> {
    const { config, edge, logger } = this.#parts;
    logger.info({ clients: edge.clientCount }, 'clients are let go');
    // What was published last is still shown to all of them.
    if (this.#consuming !== undefined) await this.#untilDelivered();
    await edge.drain(config.drainRate);
    this.#isDrained = true;
  }

  /** The reader stands at the tail; then the state is read, which is newer than what stands before that. */
  async #standAtTail(): Promise<Reader> {
    const { reads, cutover } = this.#parts;
    this.#reader = await this.#openReader();
    reads.follow(this.#reader);
    await cutover.begin();
    return this.#reader;
  }

  /** Behind a bridge a log that is away is tried again, for as long as it takes; what it refuses outright ends the replica. */
  async #openReader(): Promise<Reader> {
    const { config, contract, log, clock } = this.#parts;
    const streams = [...contract.streams.keys(), controlStream, typingStream, probeStream];
    for (;;) {
      try {
        await log.open();
        return await log.openReader(streams);
      } catch (error) {
        const waits = config.bridges.length > 0 && !this.#isClosed;
        if (!waits || !hasCode(error, 'LOG_UNAVAILABLE')) throw error;
        this.#sayAway(error);
      }
      await pause(clock, retryMs);
    }
  }

  #sayAway({ code, message }: CrossfadeError): void {
    if (!this.#saysAway.isDue()) return;
    this.#parts.logger.warn({ code }, `${message}; every call goes to the bridge until it does`);
  }

  #closeWhoMissed(): void {
    const { edge, faults, logger } = this.#parts;
    logger.warn({ code: 'EDGE_GAP' }, 'clients came before the log was read here; they are closed to reconnect');
    faults.contain('client', () => edge.closeClients('gap'));
  }

  #consume(reader: Reader): void {
    const { edge, cutover, faults, coreFailed } = this.#parts;
    const consumer = new Consumer({
      ...this.#parts,
      reader,
      audience: edge,
      onGap: () => edge.closeClients('gap'),
      onNote: (entry) => cutover.onNote(entry),
      onRead: (entry) => cutover.onRead(entry),
      onProbe: ({ payload }) => edge.deliverProbe(payload),
    });
    this.#consuming = consumer.run().catch(coreFailed);
    // Whoever waits for this replica to be ready is not to wait for the next second.
    faults.contain('timer', () => this.probe.send());
  }

  async #untilDelivered(): Promise<void> {
    const { log, clock } = this.#parts;
    const givesUpAt = clock.monotonic() + deliveryDrainMs;
    while (clock.monotonic() < givesUpAt) {
      const states = await log.streamStates().catch(() => []);
      if (states.every(({ lag }) => lag === 0)) return;
      await pause(clock, drainPollMs);
    }
  }
}
