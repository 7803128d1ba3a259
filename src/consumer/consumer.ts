// The consumer loop: in come batches from this replica's reader, out go their deliveries to the edge and the cutover's
// notes, then the acknowledgement. Promises: log order, also between events and notes; an entry is acknowledged only when
// it was delivered (or set aside, counted); an event is shown once; after a gap the clients are closed so that they fetch
// history; no entry and no note, whatever is in it, ends the loop.

import type { Contract } from '../contract/contract.ts';
import type { Audience, OutgoingMessage } from '../edge/audience.ts';
import {
  type Batch,
  controlStream,
  type Entry,
  type Malformed,
  probeStream,
  type Reader,
  typingStream,
} from '../log/log.ts';
import { LogThrottle } from '../telemetry/log-throttle.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import type { ReadMemory } from './read-memory.ts';

export interface ConsumerOptions extends Telemetry {
  reader: Reader;
  reads: Pick<ReadMemory, 'take'>;
  audience: Audience;
  contract: Contract;
  /** Called when entries were trimmed unread, before what follows them is delivered. */
  onGap(missed: number): Promise<void>;
  /** An entry of a stream of notes, when everything before it was delivered. @returns why it is no note, if it is none */
  onNote(entry: Entry): string | undefined;
  /** A probe of any replica, when everything before it was delivered. Resolves when it was, too. */
  onProbe(entry: Entry): Promise<void>;
  /** Called for each event, shown or not, before it is delivered. */
  onRead(entry: Entry): void;
}

/** A program that writes what nobody understands writes a lot of it; all of it is counted. */
const sayEveryMs = 1_000;
/** What stands there is for the replicas, not for their clients. */
const ownStreams = new Set([controlStream, typingStream, probeStream]);
/** Event types that are measured by their name. */
const maxTypes = 100;

export class Consumer {
  readonly #options: ConsumerOptions;
  readonly #saysMalformed: LogThrottle;
  readonly #types = new Set<string>();

  constructor(options: ConsumerOptions) {
    this.#options = options;
    this.#saysMalformed = new LogThrottle(options.clock, sayEveryMs);
  }

  /** Runs until the reader is closed. */
  async run(): Promise<void> {
    const { reader } = this.#options;
    for (let batch = await reader.read(); batch !== undefined; batch = await reader.read()) {
      await this.#consume(batch);
      reader.acknowledge(batch);
    }
  }

  async #consume(batch: Batch): Promise<void> {
    if (batch.missed > 0) await this.#reportGap(batch.missed);
    for (const malformed of batch.malformed) this.#setAside(malformed);
    let run: Entry[] = [];
    for (const entry of batch.entries) {
      if (!ownStreams.has(entry.stream)) {
        run.push(entry);
        continue;
      }
      await this.#deliver(run);
      run = [];
      if (entry.stream === probeStream) await this.#deliverProbe(entry);
      else if (!entry.isHistory) this.#options.faults.contain('note', () => this.#takeNote(entry));
    }
    await this.#deliver(run);
  }

  async #deliverProbe(entry: Entry): Promise<void> {
    await this.#options.onProbe(entry).catch((error) => this.#options.faults.report('entry', error));
  }

  #takeNote(entry: Entry): void {
    const reason = this.#options.onNote(entry);
    if (reason !== undefined) this.#setAside({ ...entry, reason });
  }

  async #deliver(entries: Entry[]): Promise<void> {
    const { audience, faults } = this.#options;
    const shown: Entry[] = [];
    const messages: OutgoingMessage[] = [];
    for (const entry of entries) {
      faults.contain('entry', () => {
        const message = this.#take(entry);
        if (message === undefined) return;
        messages.push(message);
        shown.push(entry);
      });
    }
    try {
      await audience.deliver(messages);
    } catch (error) {
      faults.report('entry', error);
    }
    for (const entry of shown) this.#measure(entry);
    if (this.#options.logger.isLevelEnabled('debug')) this.#tellDelivered(messages, shown);
  }

  /** So that one event can be followed. */
  #tellDelivered(messages: OutgoingMessage[], entries: Entry[]): void {
    const { audience, logger } = this.#options;
    for (const [index, { deliveries }] of messages.entries()) {
      logger.debug({ ...traceOf(entries[index]!), members: audience.countMembers(deliveries) }, 'delivered');
    }
  }

  /** @returns what is to be shown of it, if anything */
  #take(entry: Entry): OutgoingMessage | undefined {
    const reason = entry.isHistory ? 'history' : this.#options.reads.take(entry);
    if (reason !== undefined) {
      this.#options.metrics.withheld.inc({ reason });
      this.#options.logger.debug({ ...traceOf(entry), reason }, 'withheld');
      return undefined;
    }
    this.#options.onRead(entry);
    return this.#toMessage(entry);
  }

  async #reportGap(missed: number): Promise<void> {
    this.#options.metrics.missed.inc(missed);
    this.#options.logger.error(
      { code: 'EDGE_GAP', missed },
      'entries were trimmed unread; clients are closed to reconnect',
    );
    await this.#options.onGap(missed).catch((error) => this.#options.faults.report('entry', error));
  }

  #setAside({ stream, position, reason }: Malformed): void {
    this.#options.metrics.malformed.inc({ stream });
    if (this.#saysMalformed.isDue())
      this.#options.logger.warn({ stream, position, reason }, 'a malformed entry was set aside');
  }

  /** An entry carries its finished deliveries; one that another publisher wrote is delivered by its event type. */
  #toMessage(entry: Entry): OutgoingMessage | undefined {
    const { room, payload, deliveries, eventId } = entry;
    if (deliveries !== undefined) return { room, payload, deliveries, eventId };
    const foreign = this.#options.contract.foreign(entry.eventType);
    try {
      if (foreign === undefined) throw new Error(`the contract does not know the event type '${entry.eventType}'`);
      return { room, ...foreign.toEvent(room, payload), eventId };
    } catch (error) {
      this.#setAside({ stream: entry.stream, position: entry.position, reason: (error as Error).message });
      return undefined;
    }
  }

  /** Any publisher may name any type; a metric has a bounded number of labels. */
  #label(eventType: string): string {
    if (this.#types.size < maxTypes) this.#types.add(eventType);
    return this.#types.has(eventType) ? eventType : 'other';
  }

  #measure(entry: Entry): void {
    const { metrics, clock } = this.#options;
    metrics.delivered.inc({ stream: entry.stream });
    if (Number.isNaN(entry.publishedAtMs)) return;
    const seconds = Math.max(0, clock.now() - entry.publishedAtMs) / 1000;
    metrics.deliveryDuration.observe({ event_type: this.#label(entry.eventType), transport: 'redis_streams' }, seconds);
  }
}

function traceOf({ eventId, eventType, room, stream, position }: Entry): object {
  return { eventIds: [eventId], eventType, room, stream, position };
}
