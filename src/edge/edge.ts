// The edge: the clients' side. In come requests and WebSockets for /hubs/*, out go hub messages.
// Promises: nothing but /hubs/* is served here; whether hubs are native or proxied, members get their messages in order.

import { type HostPort, nameOf } from '../config.ts';
import type { Delivery } from '../contract/event.ts';
import { addressOf, listenOn } from '../listen.ts';
import type { RoomSet } from '../room-set.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import type { Audience, Member, OutgoingMessage } from './audience.ts';
import { Door } from './door.ts';
import { Fanout } from './fanout.ts';
import { Groups } from './groups.ts';
import type { CloseReason, HubsSide } from './hubs-side.ts';
import { Leaving } from './leaving.ts';
import { NativeHubs, type NativeHubsOptions } from './native/native-hubs.ts';
import { ProxiedConnections, type ProxiedConnectionsOptions } from './proxied/proxied-connections.ts';
import { ProxiedHubs, type ProxiedHubsOptions } from './proxied/proxied-hubs.ts';
import type { UndeliveredEvent } from './proxied/undelivered.ts';

/** What the edge asks of the stages before it, once it listens. */
export type EdgeOwner = Pick<NativeHubsOptions, 'publish'> &
  Pick<ProxiedConnectionsOptions, 'untilLogIsRead' | 'onHubTyping'>;

interface NativeParts extends Omit<NativeHubsOptions, 'groups' | 'publish'> {
  hubs: 'native';
}

interface ProxyParts
  extends Omit<ProxiedHubsOptions, 'open'>,
    Omit<ProxiedConnectionsOptions, 'groups' | keyof EdgeOwner> {
  hubs: 'proxy';
}

export type EdgeOptions = Telemetry & (NativeParts | ProxyParts);

const sweepMs = 1_000;
/** No hub has an empty name, so that no client can be a member. */
const probes: Delivery = { hub: '', group: 'probes', method: 'probe' };

export class Edge implements Audience {
  readonly #door: Door;
  readonly #groups = new Groups();
  readonly #fanout: Fanout;
  readonly #hubs: HubsSide;
  /** Those that end at a bridge; undefined where hubs are native. */
  readonly #proxied: ProxiedConnections | undefined;
  readonly #leaving: Leaving;
  readonly #stopSweeping: () => void;
  #owner: EdgeOwner | undefined;

  /** Nobody can reach it before {@link connect} and {@link listen}. */
  constructor(options: EdgeOptions) {
    const { clock, faults, metrics } = options;
    this.#fanout = new Fanout(this.#groups, metrics, faults);
    if (options.hubs === 'native') {
      const publish: EdgeOwner['publish'] = (event) => this.#owner!.publish(event);
      this.#hubs = new NativeHubs({ ...options, groups: this.#groups, publish });
    } else {
      const proxied = new ProxiedConnections({
        ...options,
        groups: this.#groups,
        untilLogIsRead: () => this.#owner!.untilLogIsRead(),
        onHubTyping: (typing) => this.#owner!.onHubTyping(typing),
      });
      this.#proxied = proxied;
      this.#hubs = new ProxiedHubs({ ...options, open: (facts, leg) => proxied.open(facts, leg) });
    }
    this.#door = new Door(this.#hubs, { clock, faults, metrics });
    this.#leaving = new Leaving(this.#hubs, { clock, faults });
    this.#stopSweeping = clock.every(sweepMs, () => {
      this.#door.sweep();
      this.#proxied?.sweep(clock.monotonic());
    });
  }

  connect(owner: EdgeOwner): void {
    this.#owner = owner;
  }

  /** From now on clients may come. Error: CONFIG_INVALID where the address is taken or not ours. */
  async listen(address: HostPort): Promise<void> {
    await listenOn(this.#door.server, address, nameOf('edge'));
  }

  get address(): HostPort {
    return addressOf(this.#door.server);
  }

  get listening(): boolean {
    return this.#door.server.listening;
  }

  async deliver(messages: OutgoingMessage[]): Promise<void> {
    this.#proxied?.willWrite(messages);
    await this.#fanout.deliver(messages);
    this.#proxied?.didWrite(messages);
  }

  /** A member that is no client, and gets the probes alone. */
  joinProbe(member: Member): void {
    this.#groups.join(probes.hub, probes.group, member);
  }

  /** Goes the way of a message, behind all that were delivered before. @param payload JSON. Never rejects. */
  deliverProbe(payload: string): Promise<void> {
    return this.#fanout.deliver([{ room: '', payload, deliveries: [probes], eventId: '' }]);
  }

  /** Who is in which group here. */
  get groups(): Pick<Groups, 'all'> {
    return this.#groups;
  }

  countMembers(deliveries: Delivery[]): number {
    return this.#fanout.countMembers(deliveries);
  }

  /** The log's events of these rooms that the bridge may overtake: being written, or behind a fence. */
  undelivered(rooms: RoomSet): UndeliveredEvent[] {
    return this.#proxied?.undelivered.of(rooms) ?? [];
  }

  /** Resolves when what is undelivered of these rooms now is shown, or after `limitMs`. */
  async untilDelivered(rooms: RoomSet, limitMs: number): Promise<void> {
    await this.#proxied?.untilDelivered(rooms, limitMs);
  }

  /**
   * From now on the stream lane's events of these rooms wait at every proxied connection that exists, or is born before
   * fence() with this id.
   */
  queue(id: string, rooms: RoomSet): void {
    this.#proxied?.queue(id, rooms);
  }

  /** Fences every proxied connection; each goes on with what has waited when its fence is back. Never rejects. */
  async fence(id: string): Promise<void> {
    await this.#proxied?.fence(id);
  }

  /** Fences the members of these groups alone, before what is delivered next for the room is shown to them. */
  fenceMembers(room: string, deliveries: Delivery[]): void {
    this.#proxied?.fenceMembers(room, deliveries);
  }

  /** The bridge shows this event: what was read of the log and is not shown yet is not shown any more. */
  withhold(eventId: string): void {
    this.#proxied?.withhold(eventId);
  }

  /** Whether new proxied connections prove at once that their hub's connect has ended: only while the stream lane is used. */
  proveConnects(proves: boolean): void {
    if (this.#proxied !== undefined) this.#proxied.provesConnects = proves;
  }

  /** How many clients are connected. */
  get clientCount(): number {
    return this.#hubs.clients.size;
  }

  /** Closes every client so that it reconnects (and fetches history); resolves when all are gone, cut off if need be. */
  closeClients(reason: CloseReason): Promise<void> {
    return this.#leaving.closeAll(reason);
  }

  /**
   * Takes no new clients from now on, and lets those there are go a few at a time; who still waits is shown what comes. Resolves
   * when all are gone. @param perSecond see leaving.ts
   */
  async drain(perSecond?: number): Promise<void> {
    this.#hubs.refuseNew();
    await this.#leaving.drain(perSecond);
  }

  /** Takes no new clients, closes those there are at once, and waits for what their ends have published. */
  async close(): Promise<void> {
    this.#door.server.close();
    this.#door.server.closeIdleConnections();
    this.#hubs.refuseNew();
    await this.#leaving.closeAll('shutdown');
    await this.#hubs.close();
    this.#stopSweeping();
    this.#door.server.closeAllConnections();
  }
}
