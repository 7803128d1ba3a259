// All proxied connections of this replica. In comes what the cutover asks of all at once: to queue the log's messages of rooms, to fence, to
// withhold an event; out goes their number, which the guard compares with the bridge's own.

import type { Delivery } from '../../contract/event.ts';
import { counterNames } from '../../log/counters.ts';
import type { Roster } from '../../log/log.ts';
import type { RoomSet } from '../../room-set.ts';
import { type Clock, pause } from '../../telemetry/clock.ts';
import type { Faults } from '../../telemetry/faults.ts';
import { LogThrottle } from '../../telemetry/log-throttle.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import type { Telemetry } from '../../telemetry/telemetry.ts';
import type { OutgoingMessage } from '../audience.ts';
import {
  ClientBudget,
  type ClientBudgetParts,
  defaultClientLimits,
  type OverBudget,
  sayOverBudgetMs,
} from '../budget.ts';
import type { Groups } from '../groups.ts';
import type { Online } from '../online.ts';
import { defaultSlowLimits, type SlowClientLimits } from '../slow-client.ts';
import { type ConnectionFacts, type Overheard, ProxiedConnection, type ProxiedOwner } from './connection.ts';
import type { FencedRooms } from './fence-queues.ts';
import type { Leg, Tap } from './leg.ts';
import { type Place, Undelivered } from './undelivered.ts';
import type { BridgeWatch, WatchedGroup } from './watched.ts';

export interface ProxiedConnectionsOptions extends Telemetry {
  groups: Groups;
  roster: Pick<Roster, 'set'>;
  /** undefined where this replica has read what stands in the log; else resolves when it has, or after a bound. */
  untilLogIsRead(): Promise<void> | undefined;
  overheard: Overheard;
  online: Pick<Online, 'connected' | 'holds' | 'standIn' | 'ended'>;
  /** Whether connections of this hub end because it has moved. */
  isMoving(hub: string): boolean;
  limits?: Partial<SlowClientLimits>;
}

/** ms after which every message that was read before is shown, or its connection was ended: as a slow client, where its fence is out for 30 s. */
const withheldMs = 60_000;
/** The place of messages that the fan-out still writes: the bridge may overtake each of them. */
const fanout: Place = { mayBeOvertaken: () => true };

export class ProxiedConnections implements ProxiedOwner {
  readonly limits: SlowClientLimits;
  readonly #budgets: ClientBudgetParts;
  readonly groups: Groups;
  /** Events that the bridge shows, of which copies may be on their way from the log to the connections. */
  readonly withheld = new Set<string>();
  /** What the fan-out still writes, or waits at a connection. */
  readonly undelivered = new Undelivered();
  readonly clock: Clock;
  readonly faults: Faults;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** While any room may be on the stream lane a new connection proves at once that the hub's connect has ended. */
  provesConnects = false;
  uses = 0;
  #watch: BridgeWatch | undefined;
  readonly untilLogIsRead: () => Promise<void> | undefined;
  readonly overheard: Overheard;
  readonly #online: ProxiedConnectionsOptions['online'];
  readonly #isMoving: (hub: string) => boolean;
  readonly #roster: Pick<Roster, 'set'>;
  readonly #connections = new Set<ProxiedConnection>();
  /** Rooms whose fence was not sent yet, by its id. */
  readonly #fenced = new Map<string, FencedRooms>();
  readonly #saysOverBudget: LogThrottle;
  #openCount = 0;

  constructor({
    groups,
    roster,
    untilLogIsRead,
    overheard,
    online,
    isMoving,
    clock,
    faults,
    logger,
    metrics,
    limits,
  }: ProxiedConnectionsOptions) {
    this.groups = groups;
    this.untilLogIsRead = untilLogIsRead;
    this.overheard = overheard;
    this.#online = online;
    this.#isMoving = isMoving;
    this.#roster = roster;
    this.clock = clock;
    this.faults = faults;
    this.logger = logger;
    this.metrics = metrics;
    this.limits = { ...defaultSlowLimits, ...limits };
    this.#budgets = { now: () => clock.monotonic(), metrics, limits: defaultClientLimits };
    this.#saysOverBudget = new LogThrottle(clock, sayOverBudgetMs);
  }

  /** Connections that have shaken hands; the roster counts them as `proxied`. */
  get count(): number {
    return this.#openCount;
  }

  /** A transport has opened a connection to the bridge for a client. */
  open(facts: ConnectionFacts, leg: Leg): Tap {
    const connection = new ProxiedConnection(this, facts, leg, new ClientBudget(this.#budgets));
    for (const fenced of this.#fenced.values()) connection.queue(fenced);
    connection.watch = this.#watch;
    this.#connections.add(connection);
    return connection;
  }

  /**
   * From now on the log's messages of these rooms wait at every connection that there is, or that is born before
   * {@link fence} is called with this id.
   * @param id not used before
   */
  queue(id: string, rooms: RoomSet): void {
    const fenced = { rooms };
    this.#fenced.set(id, fenced);
    for (const connection of this.#connections) connection.queue(fenced);
  }

  /**
   * Fences every connection that there is; each goes on with what has waited for it when its own fence is back.
   * An id for which nothing waits fences as well. Resolves when every fence is back or its connection gone. Never rejects.
   */
  async fence(id: string): Promise<void> {
    const fenced = this.#fenced.get(id);
    this.#fenced.delete(id);
    await Promise.all(Array.from(this.#connections, (connection) => this.#fence(connection, fenced)));
  }

  /** Fences the members of these groups alone: the log's messages of the room wait there for the bridge's answer. */
  fenceMembers(room: string, deliveries: Delivery[]): void {
    const fenced = { rooms: new Set([room]) };
    const members = new Set(deliveries.flatMap(({ hub, group }) => [...(this.groups.members(hub, group) ?? [])]));
    for (const connection of this.#connections) {
      if (!members.has(connection)) continue;
      connection.queue(fenced);
      this.faults.contain('bridge', () => this.#fence(connection, fenced));
    }
  }

  /** Messages of the log are about to go to the members of their groups. */
  willWrite(messages: OutgoingMessage[]): void {
    for (const message of messages) {
      this.undelivered.add(message.room, message.eventId, fanout);
    }
  }

  /** The messages have reached every member's connection, where they may wait. */
  didWrite(messages: OutgoingMessage[]): void {
    for (const { room, eventId } of messages) this.undelivered.remove(room, eventId, fanout);
  }

  /** Resolves when the events of these rooms that wait now are shown, or after `limitMs`. */
  async untilDelivered(rooms: RoomSet, limitMs: number): Promise<void> {
    const shown = this.undelivered.untilDelivered(rooms);
    if (shown !== undefined) await Promise.race([shown, pause(this.clock, limitMs)]);
  }

  /** The bridge shows this event: a connection that the log's copy has not reached yet drops it. */
  withhold(eventId: string): void {
    this.withheld.add(eventId);
    this.clock.after(withheldMs, () => this.withheld.delete(eventId));
  }

  /** From now on `watch` sees what the bridges send; undefined: nobody does any more. */
  watch(watch: BridgeWatch | undefined): void {
    this.#watch = watch;
    for (const connection of this.#connections) connection.watch = watch;
  }

  /** Every group with its open connections, in the order in which they have joined. */
  *watched(): Generator<WatchedGroup> {
    for (const { hub, group, members } of this.groups.all()) {
      yield { hub, group, members: members.values().filter((member) => member instanceof ProxiedConnection) };
    }
  }

  /** Slow clients; called about once a second. */
  sweep(now: number): void {
    for (const connection of [...this.#connections]) {
      this.faults.contain(
        'client',
        () => connection.sweep(now),
        () => connection.terminate('fault'),
      );
    }
  }

  // What a connection asks and tells.

  onOverBudget({ hub }: ProxiedConnection, { code, budget }: OverBudget): void {
    if (!this.#saysOverBudget.isDue()) return;
    this.logger.warn({ code, hub: hub.name, budget }, 'a client exceeds its budget and was cut off');
  }

  onOpen({ hub, user, session }: ProxiedConnection): void {
    if (user !== undefined) this.#online.connected(user);
    // A longer one is no session that anybody would ask for.
    if (user !== undefined && session !== undefined && session.length <= defaultClientLimits.nameChars)
      this.#online.holds(user, session);
    if (user !== undefined) void this.#online.standIn(user);
    this.metrics.connections.inc({ hub: hub.name });
    this.#setCount(this.#openCount + 1);
  }

  onEnd(connection: ProxiedConnection): void {
    this.#connections.delete(connection);
    this.metrics.connectionsClosed.inc({ hub: connection.hub.name, reason: connection.endReason });
    if (!connection.isOpen) return;
    const { user, hub } = connection;
    if (user !== undefined) this.#online.ended(user, this.#isMoving(hub.name));
    this.metrics.connections.dec({ hub: hub.name });
    this.#setCount(this.#openCount - 1);
  }

  /** An error ends the connection alone. */
  async #fence(connection: ProxiedConnection, fenced: FencedRooms | undefined): Promise<void> {
    try {
      await connection.fence(fenced);
    } catch (error) {
      this.faults.report('bridge', error);
      connection.terminate('fault');
    }
  }

  #setCount(count: number): void {
    this.#openCount = count;
    this.#roster.set(counterNames.proxied, count);
  }
}
