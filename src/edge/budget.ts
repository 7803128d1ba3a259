// What one client's connection may cost: in comes what it does, out comes an OverBudget where it does too much.
// Promises: no real client of the hubs gets there; all excess is counted, in `crossfade_budget_exceeded_total{budget}`.

import { CrossfadeError } from '../errors.ts';
import type { Budget, Metrics } from '../telemetry/metrics.ts';
import { type Rate, TokenBucket } from '../token-bucket.ts';

/** The one table of what a connection may spend, each with the reason for its number. */
export interface ClientLimits {
  /** Bytes received. A record may have 1 MiB: four of the largest at once, then one a second; signalling takes a few kB. */
  bytes: Rate;
  /** Records received, pings too. A client that comes back joins its rooms again at once, all 5,000 of them. */
  records: Rate;
  /**
   * Records in one message: a client of .NET gathers what it has to say meanwhile, some hundreds after a reconnect. Those of
   * a proxied client are looked at before it goes on, 15 ms for so many.
   */
  recordsPerMessage: number;
  /** Messages to others, of which each takes a place in the log: a stream of 1,000 entries must outlive such a burst. */
  publishes: Rate;
  /** Groups that it is in. 500 rooms have been seen; 5,000 names of 256 characters take 3 MB at most. */
  rooms: number;
  /** Groups whose others are told when it ends, all at once then. A client has one or two remote sessions. */
  farewells: number;
  /** Characters of a room, a session, or whatever else becomes a name. Ids are UUIDs. */
  nameChars: number;
  /**
   * Bytes of a proxied client's records that are searched for joins and typing: 5,000 joins take so much, and the worst
   * nested ones 30 ms.
   */
  searched: Rate;
  /** Typing of a proxied client that is read for its room; nobody types faster. What is beyond counts for all rooms. */
  typings: Rate;
}

const mebibyte = 1024 * 1024;
/** Messages to others that a proxied client sends before the bridge has answered it once: it has joined nothing yet. */
const maxUnanswered = 16;

/**
 * Of one message of a native client, which WebSocket itself ends with 1009: a record of 1 MiB behind the 1 MiB that a client
 * of .NET gathers at most.
 */
export const maxMessageBytes = 2 * mebibyte;

/** ms between two log lines about clients over their budget. */
export const sayOverBudgetMs = 5_000;

export const defaultClientLimits: ClientLimits = {
  bytes: { burst: 4 * mebibyte, perSecond: mebibyte },
  records: { burst: 6_000, perSecond: 500 },
  recordsPerMessage: 4_096,
  publishes: { burst: 200, perSecond: 100 },
  rooms: 5_000,
  farewells: 100,
  nameChars: 256,
  searched: { burst: mebibyte / 2, perSecond: mebibyte / 2 },
  typings: { burst: 64, perSecond: 20 },
};

/** The client did more than it may. `message` is for the client. */
export class OverBudget extends CrossfadeError {
  readonly budget: Budget;

  constructor(budget: Budget, message: string) {
    super('EDGE_OVER_BUDGET', message);
    this.budget = budget;
  }
}

/** What the budgets of all connections share. */
export interface ClientBudgetParts {
  /** ms, monotonic */
  now(): number;
  metrics: Pick<Metrics, 'overBudget'>;
  limits: ClientLimits;
}

/** The budget of one connection. Its methods throw OverBudget. */
export class ClientBudget {
  readonly #parts: ClientBudgetParts;
  readonly #bytes: TokenBucket;
  readonly #records: TokenBucket;
  readonly #publishes: TokenBucket;
  readonly #searched: TokenBucket;
  readonly #typings: TokenBucket;

  constructor(parts: ClientBudgetParts) {
    const { limits, now } = parts;
    this.#parts = parts;
    this.#bytes = new TokenBucket(limits.bytes, now);
    this.#records = new TokenBucket(limits.records, now);
    this.#publishes = new TokenBucket(limits.publishes, now);
    this.#searched = new TokenBucket(limits.searched, now);
    this.#typings = new TokenBucket(limits.typings, now);
  }

  get limits(): ClientLimits {
    return this.#parts.limits;
  }

  /** Of a native client, or of what a proxied one says to native ones. */
  takeBytes(bytes: number): void {
    if (this.#bytes.take(bytes)) return;
    this.#exceed('client_bytes', `The client sends more than ${this.limits.bytes.perSecond} bytes per second.`);
  }

  /** A message over {@link maxMessageBytes}, which nobody has taken in. */
  noteTooLarge(): void {
    this.#parts.metrics.overBudget.inc({ budget: 'client_bytes' });
  }

  /** The records that end in one message; a message in which none ends counts as one: it costs as much to receive. */
  takeRecords(count: number): void {
    const { records, recordsPerMessage } = this.limits;
    if (count > recordsPerMessage) {
      this.#exceed('client_records', `A message holds more than ${recordsPerMessage} records.`);
    }
    if (this.#records.take(Math.max(1, count))) return;
    this.#exceed('client_invocations', `The client sends more than ${records.perSecond} records per second.`);
  }

  takePublishes(count: number): void {
    if (count === 0 || this.#publishes.take(count)) return;
    const { perSecond } = this.limits.publishes;
    this.#exceed('client_publishes', `The client sends others more than ${perSecond} messages per second.`);
  }

  /** @param count of its messages to others that wait for the bridge's first answer to it */
  allowUnanswered(count: number): void {
    if (count <= maxUnanswered) return;
    this.#exceed('client_publishes', `The client sends others ${count} messages before it is known.`);
  }

  takeSearched(bytes: number): void {
    if (!this.#searched.take(bytes)) this.#exceed('client_bytes', 'The client sends too much at once.');
  }

  /** @returns whether one more typing record is to be read */
  readsTyping(): boolean {
    const reads = this.#typings.take(1);
    if (!reads) this.#parts.metrics.overBudget.inc({ budget: 'typing_notes' });
    return reads;
  }

  /** @param rooms that it would be in @param farewells of them, those whose others are told of its end */
  allowRooms(rooms: number, farewells = 0): void {
    const { rooms: most, farewells: mostFarewells } = this.limits;
    if (rooms > most) this.#exceed('client_rooms', `The client is in ${most} rooms.`);
    if (farewells > mostFarewells) this.#exceed('client_rooms', `The client is in ${mostFarewells} sessions.`);
  }

  allowName(chars: number): void {
    const { nameChars } = this.limits;
    if (chars > nameChars) this.#exceed('name_length', `A name has more than ${nameChars} characters.`);
  }

  #exceed(budget: Budget, message: string): never {
    this.#parts.metrics.overBudget.inc({ budget });
    throw new OverBudget(budget, `${message} (EDGE_OVER_BUDGET)`);
  }
}
