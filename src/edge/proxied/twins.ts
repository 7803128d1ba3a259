// Events that may come by both lanes: an append whose fate is unknown went to the bridge as well. In come both lanes'
// messages of one connection, out go those that it has not been shown yet.
// Promises: one copy cancels one copy, whichever lane comes first. The log's copy is known by its event id; the bridge's
// by its content alone, so it is never cancelled across another event of the same room and method that was shown in
// between: it may be a new event that says the same. In doubt, twice is better than lost.

import type { Delivery } from '../../contract/event.ts';
import { keepNewest } from '../../keep-newest.ts';
import type { OutgoingMessage } from '../audience.ts';
import { Prepared, type PreparedRecord } from '../prepared.ts';
import type { TappedRecord } from '../protocol.ts';
import { comparable } from './comparable.ts';

export interface Twin {
  eventId: string;
  room: string;
  /** The deliveries' one argument as raw JSON. */
  payload: string;
  deliveries: Delivery[];
}

/** One hub message that may come twice to a connection of its hub. */
export interface Copy {
  eventId: string;
  hub: string;
  method: string;
  room: string;
  /** Only their members get it. */
  groups: string[];
  argument: string;
  /** ms, monotonic */
  expiresAt: number;
}

/** As long as the log knows an event id; while the log is away nothing of it comes, and the time stands still. */
const twinTtlMs = 5 * 60_000;
/** Copies that are expected at a time; the oldest are given up then (and may be shown twice). */
const maxCopies = 10_000;
/** Rooms whose last message is known, for twins that are announced when the log's copy was shown already. */
const maxRooms = 10_000;

/** What the connections of this replica share. */
export class Twins {
  /** By event id, oldest first. */
  readonly #byEvent = new Map<string, Copy[]>();
  /** By hub, method and argument, for what comes from the bridge. */
  readonly #byArgument = new Map<string, Map<string, Map<string, Copy[]>>>();
  /** Per hub, method and room the log's last message that went to the groups, and its number. */
  readonly #lastDelivered = new Map<string, { eventId: string; number: number }>();
  #deliveredCount = 0;
  #count = 0;
  #sweptAt: number | undefined;

  /** @param now ms, monotonic @returns the copies that are expected from now on; none where they are already */
  expect(twin: Twin, now: number): Copy[] {
    const { eventId, room } = twin;
    if (this.#byEvent.has(eventId)) return [];
    const argument = comparable(JSON.parse(twin.payload));
    const messages = Map.groupBy(twin.deliveries, ({ hub, method }) => `${hub} ${method}`);
    const copies = Array.from(messages.values(), (deliveries) => {
      const { hub, method } = deliveries[0]!;
      const groups = deliveries.map(({ group }) => group);
      const copy = { eventId, hub, method, room, groups, argument, expiresAt: now + twinTtlMs };
      this.#listFor(copy).push(copy);
      return copy;
    });
    this.#byEvent.set(eventId, copies);
    this.#count += copies.length;
    while (this.#count > maxCopies) this.#forget(this.#byEvent.keys().next().value!);
    return copies;
  }

  /** The bridge's copy is not expected any more; the log's still is. */
  closeBridge(eventId: string): void {
    for (const copy of this.#byEvent.get(eventId) ?? []) {
      const methods = this.#byArgument.get(copy.hub);
      const byArgument = methods?.get(copy.method);
      const others = byArgument?.get(copy.argument)?.filter((other) => other !== copy) ?? [];
      if (others.length > 0) byArgument?.set(copy.argument, others);
      else byArgument?.delete(copy.argument);
      if (byArgument?.size === 0) methods?.delete(copy.method);
    }
  }

  /** Forgets what has waited for 5 minutes. */
  sweep(now: number, logIsRead: boolean): void {
    const sinceMs = now - (this.#sweptAt ?? now);
    this.#sweptAt = now;
    for (const [eventId, copies] of this.#byEvent) {
      if (!logIsRead) for (const copy of copies) copy.expiresAt += sinceMs;
      else if (copies.every(({ expiresAt }) => expiresAt <= now)) this.#forget(eventId);
    }
  }

  get isEmpty(): boolean {
    return this.#count === 0;
  }

  isExpected(copy: Copy): boolean {
    return this.#byEvent.get(copy.eventId)?.includes(copy) === true;
  }

  /** Methods with an expected copy at this hub. */
  methods(hub: string): Iterable<string> {
    return this.#byArgument.get(hub)?.keys() ?? [];
  }

  ofEvent(eventId: string, hub: string, method: string): Copy | undefined {
    return this.#byEvent.get(eventId)?.find((copy) => copy.hub === hub && copy.method === method);
  }

  ofArgument(hub: string, method: string, argument: string): readonly Copy[] {
    return this.#byArgument.get(hub)?.get(method)?.get(argument) ?? [];
  }

  /** How many messages of the log have gone to the groups: who joins now gets those with a higher number. */
  get deliveredCount(): number {
    return this.#deliveredCount;
  }

  /** A message of the log goes to the members that its groups have now. */
  noteDelivered({ room, eventId, deliveries }: OutgoingMessage): void {
    this.#deliveredCount++;
    for (const { hub, method } of deliveries) {
      const key = roomKey(hub, method, room);
      this.#lastDelivered.delete(key);
      this.#lastDelivered.set(key, { eventId, number: this.#deliveredCount });
    }
    keepNewest(this.#lastDelivered, maxRooms);
  }

  /** The number of the log's copy where it has gone to the groups; undefined where that is not certain. */
  numberOf({ hub, method, room, eventId }: Copy): number | undefined {
    const last = this.#lastDelivered.get(roomKey(hub, method, room));
    return last?.eventId === eventId ? last.number : undefined;
  }

  #forget(eventId: string): void {
    this.closeBridge(eventId);
    this.#count -= this.#byEvent.get(eventId)?.length ?? 0;
    this.#byEvent.delete(eventId);
  }

  #listFor({ hub, method, argument }: Copy): Copy[] {
    const methods = getOrAdd(this.#byArgument, hub, () => new Map<string, Map<string, Copy[]>>());
    const byArgument = getOrAdd(methods, method, () => new Map<string, Copy[]>());
    return getOrAdd(byArgument, argument, () => [] as Copy[]);
  }
}

/** What one connection was shown of the expected copies. */
export class ConnectionTwins {
  readonly #twins: Twins;
  readonly #hub: string;
  readonly #isMember: (group: string) => boolean;
  /** How many of the log's copies were shown and may cancel one of the bridge's; less than 0: the other way round. */
  readonly #balances = new Map<Copy, number>();

  constructor(twins: Twins, hub: string, isMember: (group: string) => boolean) {
    this.#twins = twins;
    this.#hub = hub;
    this.#isMember = isMember;
  }

  /** Whether a message of the bridge may hold an expected copy, or end one. */
  mayBeIn(message: Buffer): boolean {
    for (const method of this.#twins.methods(this.#hub)) if (message.includes(method)) return true;
    return false;
  }

  /** @returns what of the log's messages is to be shown; undefined where nothing is left */
  fromLog(prepared: Prepared): Prepared | undefined {
    const shown = prepared.records.filter((record) => this.#isShownFromLog(record, prepared.room));
    if (shown.length === prepared.records.length) return prepared;
    return shown.length === 0 ? undefined : new Prepared(prepared.room, shown);
  }

  /** @returns whether a record of the bridge is to be shown */
  fromBridge({ type, target: method, args }: TappedRecord): boolean {
    if (type !== 1 || method === undefined || args.length !== 1) return true;
    const argument = comparable(args[0]);
    // Other rooms' events may say the same.
    const alike = this.#twins.ofArgument(this.#hub, method, argument);
    const copies = alike.filter(({ groups }) => groups.some(this.#isMember));
    const cancelled = copies.find((copy) => this.#balanceOf(copy) > 0);
    if (cancelled !== undefined) {
      this.#add(cancelled, -1);
      return false;
    }
    this.#standsBetween((copy) => copy.method === method && argument.includes(JSON.stringify(copy.room)));
    // Of several that say the same the latest is on its way.
    const seen = copies.findLast((copy) => !this.#balances.has(copy)) ?? copies.at(-1);
    if (seen !== undefined) this.#add(seen, -1);
    return true;
  }

  /** The log's copy was shown before it was known that there might be a second. @param times how often */
  wasShown(copy: Copy, times: number): void {
    if (!this.#balances.has(copy)) this.#balances.set(copy, times);
  }

  /** Forgets what is not expected any more. */
  sweep(): void {
    for (const copy of this.#balances.keys()) if (!this.#twins.isExpected(copy)) this.#balances.delete(copy);
  }

  #isShownFromLog({ eventId, method, payload }: PreparedRecord, room: string): boolean {
    const copy = this.#twins.ofEvent(eventId, this.#hub, method);
    if (copy !== undefined && this.#balanceOf(copy) < 0) {
      this.#add(copy, 1);
      return false;
    }
    const saysSomethingElse = (other: Copy) => other.argument !== comparable(JSON.parse(payload));
    this.#standsBetween((other) => other.method === method && other.room === room && saysSomethingElse(other));
    if (copy !== undefined) this.#add(copy, 1);
    return true;
  }

  /** What is shown now stands between the log's copies of its room and method and whatever the bridge brings later. */
  #standsBetween(isOfSameRoom: (copy: Copy) => boolean): void {
    for (const [copy, balance] of this.#balances) if (balance > 0 && isOfSameRoom(copy)) this.#balances.set(copy, 0);
  }

  #balanceOf(copy: Copy): number {
    return this.#balances.get(copy) ?? 0;
  }

  #add(copy: Copy, change: 1 | -1): void {
    this.#balances.set(copy, this.#balanceOf(copy) + change);
  }
}

function roomKey(hub: string, method: string, room: string): string {
  return `${hub} ${method} ${room}`;
}

function getOrAdd<K, V>(map: Map<K, V>, key: K, create: () => V): V {
  const value = map.get(key) ?? create();
  map.set(key, value);
  return value;
}
