// Runs the hubs: in come connects, invocations and ends of native connections, out go group changes, answers to the
// caller, and events for everyone else (over all replicas, hence through the log).

import type { Effect, HubMethod, OthersEffect, Values } from '../../contract/contract.ts';
import type { Event } from '../../contract/event.ts';
import { counterNames } from '../../log/counters.ts';
import type { Roster } from '../../log/log.ts';
import type { Logger } from '../../telemetry/logger.ts';
import { OverBudget } from '../budget.ts';
import type { Groups } from '../groups.ts';
import type { Online } from '../online.ts';
import type { Invocation, NativeConnection } from './connection.ts';

export interface HubsOptions {
  groups: Groups;
  roster: Pick<Roster, 'set'>;
  online: Pick<Online, 'connected' | 'holds' | 'standIn' | 'ended'>;
  /** Whether this connection ends because its hub has moved. */
  isMoving(connection: NativeConnection): boolean;
  /** Resolves when the event is kept. */
  publish(event: Event): Promise<void>;
  /** A client's invocation exceeds its budget; the client is told. */
  onOverBudget(connection: NativeConnection, error: OverBudget): void;
  logger: Logger;
}

export class Hubs {
  readonly #options: HubsOptions;
  readonly #farewells = new Set<Promise<void>>();
  /** Members per room, of those that count as rooms. */
  readonly #rooms = new Map<string, number>();
  #connections = 0;

  constructor(options: HubsOptions) {
    this.#options = options;
  }

  /** The connection has shaken hands. */
  async connect(connection: NativeConnection): Promise<void> {
    const user = connection.user!;
    const { session, budget } = connection;
    const { online } = this.#options;
    this.#count(+1);
    online.connected(user);
    if (session !== undefined) {
      budget.allowName(session.length);
      online.holds(user, session);
    }
    void online.standIn(user);
    await this.#run(connection.hub.connect, connection, new Map([['sub', JSON.stringify(user)]]));
  }

  /** The connection has ended, however it did. */
  disconnect(connection: NativeConnection): void {
    for (const [group, farewell] of connection.groups) {
      this.#leave(connection, group);
      farewell?.();
    }
    this.#count(-1);
    this.#options.online.ended(connection.user!, this.#options.isMoving(connection));
  }

  /** Error: OverBudget, where the protocol has no answer that could tell it. */
  async invoke(connection: NativeConnection, invocation: Invocation): Promise<void> {
    const { invocationId } = invocation;
    let error: string | undefined;
    try {
      error = await this.#invoke(connection, invocation);
    } catch (fault) {
      if (!(fault instanceof OverBudget) || invocationId === undefined) throw fault;
      this.#options.onOverBudget(connection, fault);
      error = fault.message;
    }
    if (invocationId !== undefined) connection.complete(invocationId, error);
  }

  /** Waits for the farewells that are on their way. */
  async drain(): Promise<void> {
    await Promise.all(this.#farewells);
  }

  /** @returns the error text of the completion, if any (SignalR's texts, without details) */
  async #invoke(connection: NativeConnection, { target, args, streaming }: Invocation): Promise<string | undefined> {
    const method = connection.hub.method(target);
    if (method === undefined) {
      return `Failed to invoke '${target}' due to an error on the server. HubException: Method does not exist.`;
    }
    if (streaming) {
      return `The client attempted to invoke the non-streaming '${method.name}' method with a streaming invocation.`;
    }
    const values = args && method.bind(args);
    if (values === undefined) return `Failed to invoke '${method.name}' due to an error on the server.`;
    if (method.ignores(values)) return undefined;
    values.set('sub', JSON.stringify(connection.user));
    this.#spend(connection, method, values);
    try {
      await this.#run(method.effects, connection, values);
      return undefined;
    } catch (error) {
      this.#options.logger.warn({ hub: connection.hub.name, method: method.name, err: error }, 'a hub method failed');
      return `An unexpected error occurred invoking '${method.name}' on the server.`;
    }
  }

  /** Before anything of the method has happened. Error: OverBudget. */
  #spend({ budget, groups, farewells }: NativeConnection, method: HubMethod, values: Values): void {
    budget.allowName(method.longestName(values));
    const joins = method.effects
      .filter((effect) => effect.kind === 'join')
      .filter((join) => !groups.has(join.group(values)));
    const withFarewell = joins.filter((join) => join.farewell !== undefined).length;
    if (joins.length > 0) budget.allowRooms(groups.size + joins.length, farewells + withFarewell);
    budget.takePublishes(method.effects.filter(({ kind }) => kind === 'others').length + withFarewell);
  }

  async #run(effects: Effect[], connection: NativeConnection, values: Values): Promise<void> {
    for (const effect of effects) {
      if (effect.kind === 'join') this.#join(connection, effect, values);
      else if (effect.kind === 'leave') this.#leave(connection, effect.group(values));
      else if (effect.kind === 'caller') connection.show(effect.method, effect.arguments(values));
      else {
        // What the caller was told so far does not wait for the log.
        connection.flush();
        await this.#options.publish(effect.toEvent(values, connection.id));
      }
    }
  }

  #join(connection: NativeConnection, effect: Extract<Effect, { kind: 'join' }>, values: Values): void {
    const group = effect.group(values);
    const { farewell } = effect;
    this.#setFarewell(connection, group, farewell && (() => this.#bidFarewell(farewell, values, connection)));
    this.#options.groups.join(connection.hub.name, group, connection);
    if (!effect.countsAsRoom || connection.countedRooms.has(group)) return;
    connection.countedRooms.add(group);
    this.#countRoom(connection, group, +1);
  }

  #leave(connection: NativeConnection, group: string): void {
    this.#setFarewell(connection, group, undefined);
    connection.groups.delete(group);
    this.#options.groups.leave(connection.hub.name, group, connection);
    if (connection.countedRooms.delete(group)) this.#countRoom(connection, group, -1);
  }

  #setFarewell(connection: NativeConnection, group: string, farewell: (() => void) | undefined): void {
    if (connection.groups.get(group) !== undefined) connection.farewells--;
    if (farewell !== undefined) connection.farewells++;
    connection.groups.set(group, farewell);
  }

  #bidFarewell(farewell: OthersEffect, values: Values, connection: NativeConnection): void {
    const farewellSent = this.#options
      .publish(farewell.toEvent(values, connection.id))
      .catch((error) => this.#options.logger.warn({ hub: connection.hub.name, err: error }, 'a farewell was lost'))
      .finally(() => this.#farewells.delete(farewellSent));
    this.#farewells.add(farewellSent);
  }

  #count(change: 1 | -1): void {
    this.#connections += change;
    this.#options.roster.set(counterNames.connections, this.#connections);
  }

  /** The others need their number alone: names that clients choose would fill the roster. */
  #countRoom(connection: NativeConnection, group: string, change: 1 | -1): void {
    changed(this.#rooms, `${connection.hub.name} ${group}`, change);
    this.#options.roster.set(counterNames.rooms, this.#rooms.size);
  }
}

/** @returns what is counted for this key now; nothing is kept of 0 */
function changed(counts: Map<string, number>, key: string, change: 1 | -1): number {
  const count = (counts.get(key) ?? 0) + change;
  if (count > 0) counts.set(key, count);
  else counts.delete(key);
  return count;
}
