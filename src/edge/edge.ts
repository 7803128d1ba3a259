// The edge: the clients' side. In come requests and WebSockets for /hubs/*, out go hub messages.
// Promises: nothing but /hubs/* is served here; whether hubs are native or proxied, and while they move, members get their messages
// in order; no client stays where its hub does not end any more.

import type { Socket } from 'node:net';
import { type HostPort, nameOf } from '../config.ts';
import type { Contract } from '../contract/contract.ts';
import type { Delivery, Event } from '../contract/event.ts';
import { addressOf, listenOn } from '../listen.ts';
import type { Roster } from '../log/log.ts';
import type { RoomSet } from '../room-set.ts';
import { LogThrottle } from '../telemetry/log-throttle.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import type { Audience, Member, OutgoingMessage } from './audience.ts';
import { BothHubs, type ClientsOfHub, countByHub } from './both-hubs.ts';
import { Door } from './door.ts';
import { Fanout } from './fanout.ts';
import { Groups } from './groups.ts';
import type { Client, CloseReason, HubsSide } from './hubs-side.ts';
import { Leaving, leaveMs } from './leaving.ts';
import { NativeHubs, type NativeHubsOptions } from './native/native-hubs.ts';
import { Online } from './online.ts';
import type { Overheard } from './proxied/connection.ts';
import { ProxiedConnections, type ProxiedConnectionsOptions } from './proxied/proxied-connections.ts';
import { ProxiedHubs, type ProxiedHubsOptions } from './proxied/proxied-hubs.ts';
import { StandIns } from './proxied/stand-ins.ts';
import type { UndeliveredEvent } from './proxied/undelivered.ts';
import type { BridgeWatch, WatchedGroup } from './proxied/watched.ts';
import { Relay, type RelayPeers } from './relay/relay.ts';

/** What the edge asks of the stages before it, once it listens. */
export type EdgeOwner = Pick<NativeHubsOptions, 'publish'> &
  Pick<ProxiedConnectionsOptions, 'untilLogIsRead'> & {
    others: RelayPeers;
    /** A client types through the bridge's hub, while the stream lane is in use. */
    onHubTyping: Overheard['onTyping'];
  };

export interface EdgeOptions extends Telemetry {
  contract: Contract;
  roster: Roster;
  native: Pick<NativeHubsOptions, 'auth' | 'allowedOrigins' | 'limits' | 'budget'>;
  /** undefined: there is no bridge, every hub is native. */
  proxied?: Pick<ProxiedHubsOptions, 'addresses' | 'share' | 'shared'>;
  /** A bridge was left for good; it may run yet, and other replicas' stand-ins may end at it. */
  hadBridge: boolean;
}

const sweepMs = 1_000;
const sayUncrossedMs = 5_000;
/** ms beyond a move's own time in which a native client may still be there: one that does not answer its close, or was just let in. */
const strayMs = 5_000;
/** No hub has an empty name, so that no client can be a member. */
const probes: Delivery = { hub: '', group: 'probes', method: 'probe' };

export class Edge implements Audience {
  readonly #door: Door;
  readonly #groups = new Groups();
  readonly #fanout: Fanout;
  readonly #hubs: HubsSide;
  readonly #options: EdgeOptions;
  /** The hubs whose connections end here, by the contract's names. */
  #nativeHubs = new Set<string>();
  /** Whether it has been told which they are. */
  #knowsHubs = false;
  readonly #saysUncrossed: LogThrottle;
  /** Until it is left for good: then a hub that the contract does not know is nobody's any more. */
  #hasBridge = true;
  /** Hub -> how many moves are under way. */
  readonly #moving = new Map<string, number>();
  readonly #online: Online;
  /** Until when clients may still be elsewhere than their hub, or on their way to it, ms monotonic. */
  #mixedUntil = Number.NEGATIVE_INFINITY;
  /** Hub that has moved to the bridge -> until when native members may be left, ms monotonic. */
  readonly #crossesUntil = new Map<string, number>();
  /** Those that end at a bridge; undefined where there is none. */
  readonly #proxied: ProxiedConnections | undefined;
  readonly #standIns: StandIns | undefined;
  readonly #native: NativeHubs;
  readonly #relay: Relay;
  readonly #leaving: Leaving;
  readonly #stopSweeping: () => void;
  #owner: EdgeOwner | undefined;

  /** Nobody can reach it before {@link connect} and {@link listen}. */
  constructor(options: EdgeOptions) {
    const { clock, faults, metrics, contract } = options;
    this.#options = options;
    this.#saysUncrossed = new LogThrottle(clock, sayUncrossedMs);
    this.#fanout = new Fanout(this.#groups, metrics, faults);
    this.#standIns = this.#makeStandIns();
    this.#online = new Online({ ...options, standIns: this.#standIns });
    const hasBridge = options.proxied !== undefined;
    // Without a bridge nobody else knows who is online.
    if (!hasBridge) this.#online.keep(true, options.hadBridge);
    const publish = (event: Event) => this.#owner!.publish(event);
    const native = new NativeHubs({
      ...options,
      ...options.native,
      ...{ groups: this.#groups, online: this.#online, publish },
      isMoving: (hub) => hasBridge && !this.#nativeHubs.has(hub),
      relay: {
        tagFor: (bridge) => this.#relay.tagFor(bridge),
        askUser: (connectionId) => this.#relay.askUser(connectionId),
      },
    });
    this.#native = native;
    if (options.proxied === undefined) this.#hubs = native;
    else {
      const proxied = new ProxiedConnections({
        ...options,
        ...{ groups: this.#groups, online: this.#online },
        isMoving: (hub) => this.#nativeHubs.has(hub),
        untilLogIsRead: () => this.#owner!.untilLogIsRead(),
        overheard: {
          onTyping: (typing) => this.#owner!.onHubTyping(typing),
          crosses: (hub) => this.#crosses(hub),
          onCrossing: (event) => void publish(event).catch((error) => this.#sayUncrossed(error)),
        },
      });
      this.#proxied = proxied;
      const atBridge = new ProxiedHubs({
        ...options,
        ...options.proxied,
        open: (facts, leg) => proxied.open(facts, leg),
        tagFor: (bridge) => this.#relay.tagFor(bridge),
      });
      const isNative = (hub: string) => !this.#hasBridge || this.#nativeHubs.has(contract.hub(hub)?.name ?? '');
      this.#hubs = new BothHubs(native, atBridge, isNative);
    }
    this.#relay = new Relay({ ...options, hubs: this.#hubs });
    this.#door = new Door(this.#relay, { clock, faults, metrics });
    const untilMayMove = (client: Client) => this.#untilStoodIn(client);
    this.#leaving = new Leaving(this.#hubs, { clock, faults, untilMayMove }, this.#relay);
    this.#stopSweeping = clock.every(sweepMs, () => this.#sweep(clock.monotonic()));
  }

  connect(owner: EdgeOwner): void {
    this.#owner = owner;
    this.#relay.connect(owner.others);
  }

  /** Another replica has made this connection, whose signature was checked: requests of its clients come over it. */
  takePeer(socket: Socket): void {
    this.#relay.trust(socket);
    this.#door.server.emit('connection', socket);
  }

  /** @returns whose native connection this is, as other replicas are told; empty where it is none of this replica's */
  userOf(connectionId: string): { user?: string | null } {
    const connection = this.#native.find(connectionId);
    return connection === undefined ? {} : { user: connection.user ?? null };
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

  /** From now on `watch` sees what the bridges send; undefined: nobody does any more. */
  watch(watch: BridgeWatch | undefined): void {
    this.#proxied?.watch(watch);
  }

  /** The groups of proxied connections; none where hubs are native. */
  watchedGroups(): Iterable<WatchedGroup> {
    return this.#proxied?.watched() ?? [];
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

  /**
   * From now on the connections of these hubs end here, those of the others at the bridge. Who is elsewhere is closed, with the word that
   * it may come back.
   * @param overMs how long that may take; 0: at once; undefined: as a drain
   */
  moveHubs(native: Iterable<string>, overMs = leaveMs(this.clientCount)): void {
    const before = this.#nativeHubs;
    this.#nativeHubs = new Set(native);
    const { clock, contract } = this.#options;
    this.#keepOnline(before.size > 0 || (!this.#knowsHubs && overMs > 0), overMs);
    for (const { name } of contract.hubs) {
      const isNative = this.#nativeHubs.has(name);
      // A replica that has just started does not know who is left elsewhere.
      const mayBeLeft = before.has(name) || !this.#knowsHubs;
      if (!isNative && mayBeLeft && overMs > 0) this.#crossesUntil.set(name, clock.monotonic() + overMs + strayMs);
      // Also who waits for its turn in an earlier, slower move.
      if (isNative !== before.has(name) || overMs === 0) this.#move(name, overMs);
    }
    this.#knowsHubs = true;
  }

  /** No client is sent to the bridge any more, whatever hub it asks for. */
  leaveBridge(): void {
    this.#hasBridge = false;
  }

  /** How many clients of each hub are where. */
  get clientsByHub(): Record<string, ClientsOfHub> {
    return countByHub(this.#hubs.clients);
  }

  /** How many clients have still to leave where this replica ends. */
  get clientCount(): number {
    return this.#leaving.count;
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
    this.#relay.refuseNew();
    await this.#leaving.drain(perSecond);
  }

  /** Takes no new clients, closes those there are at once, and waits for what their ends have published. */
  async close(): Promise<void> {
    this.#door.server.close();
    this.#door.server.closeIdleConnections();
    this.#hubs.refuseNew();
    await this.#leaving.closeAll('shutdown');
    await this.#hubs.close();
    await this.#relay.close();
    this.#stopSweeping();
    this.#standIns?.closeAll();
    this.#door.server.closeAllConnections();
  }

  /** Without a bridge there are none. At a hub whose connect joins no group they are sent nothing but pings. */
  #makeStandIns(): StandIns | undefined {
    const { contract, native, proxied } = this.#options;
    if (proxied === undefined) return undefined;
    const hub = contract.hubs.find(({ connect }) => connect.length === 0) ?? contract.hubs[0]!;
    const isWanted = () => this.#hasBridge && this.#isMixed;
    return new StandIns({ ...this.#options, ...proxied, hub: hub.name, secret: native.auth.secret, isWanted });
  }

  /** Whether clients may be at crossfade while there is a bridge. */
  get #isMixed(): boolean {
    return this.#nativeHubs.size > 0 || this.#options.clock.monotonic() < this.#mixedUntil;
  }

  #keepOnline(wasMixed: boolean, overMs: number): void {
    if (this.#proxied === undefined || (!wasMixed && this.#nativeHubs.size === 0)) return;
    const until = this.#options.clock.monotonic() + overMs + 2 * strayMs;
    this.#mixedUntil = Math.max(this.#mixedUntil, until);
    this.#online.keep(true, true);
  }

  /** The bridge must not take a user who only moves for gone, and remove the keys of desktops that he has here. */
  async #untilStoodIn({ user, isNative }: Client): Promise<void> {
    if (!isNative && user !== undefined) await this.#online.standIn(user);
  }

  /** Whether what a proxied client sends to others may have native members to reach. */
  #crosses(hub: string): boolean {
    if (this.#nativeHubs.has(hub)) return true;
    const until = this.#crossesUntil.get(hub);
    return until !== undefined && this.#options.clock.monotonic() < until;
  }

  #sayUncrossed(error: Error): void {
    if (!this.#saysUncrossed.isDue()) return;
    this.#options.logger.warn({ reason: error.message }, 'what clients of the bridge send does not reach native ones');
  }

  #move(hub: string, overMs: number): void {
    const { faults } = this.#options;
    const count = (change: 1 | -1) => this.#moving.set(hub, (this.#moving.get(hub) ?? 0) + change);
    const isStray = (client: Client) => client.hubName === hub && client.isNative !== this.#nativeHubs.has(hub);
    count(+1);
    faults.contain('client', () => this.#leaving.move(isStray, overMs).finally(() => count(-1)));
  }

  /** @param now ms, monotonic */
  #sweep(now: number): void {
    this.#door.sweep();
    if (this.#proxied === undefined) return;
    this.#proxied.sweep(now);
    this.#sendStraysAway();
    if (this.#isMixed) return;
    // Each user has a proxied connection again, or none. Another bridge than his may remove his keys with his stand-in there: so they
    // are kept for a while yet.
    this.#standIns?.closeAll();
    if (now > this.#mixedUntil + strayMs) this.#online.keep(false, true);
  }

  /** Who was being let in while its hub moved. */
  #sendStraysAway(): void {
    for (const [hub, { native, proxied }] of Object.entries(this.clientsByHub)) {
      const strays = this.#nativeHubs.has(hub) ? proxied : native;
      if (strays > 0 && !this.#moving.get(hub)) this.#move(hub, 0);
    }
  }
}
