// Runs the hubs: in come connects, invocations and ends of native connections, out go group changes, answers to the
// caller, and events for everyone else (over all replicas, hence through the log).

import type { Effect, OthersEffect, Values } from '../../contract/contract.ts';
import type { Event } from '../../contract/event.ts';
import type { Roster } from '../../log/log.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { Groups } from '../groups.ts';
import * as protocol from '../protocol.ts';
import type { Connection, Invocation } from './connection.ts';

export interface HubsOptions {
  groups: Groups;
  roster: Roster;
  /** Resolves when the event is kept. */
  publish(event: Event): Promise<void>;
  logger: Logger;
}

export class Hubs {
  readonly #options: HubsOptions;
  readonly #farewells = new Set<Promise<void>>();
  /** Connections per user on this replica. */
  readonly #users = new Map<string, number>();
  #connections = 0;

  constructor(options: HubsOptions) {
    this.#options = options;
  }

  /** The connection has shaken hands. */
  async connect(connection: Connection): Promise<void> {
    const user = connection.user!;
    this.#count(user, +1);
    if (connection.session) this.#options.roster.holdPresence(user, connection.session);
    await this.#run(connection.hub.connect, connection, new Map([['sub', JSON.stringify(user)]]));
  }

  /** The connection has ended, however it did. */
  disconnect(connection: Connection): void {
    const user = connection.user!;
    for (const [group, farewell] of connection.groups) {
      this.#leave(connection, group);
      farewell?.();
    }
    this.#count(user, -1);
    if (!this.#users.has(user)) this.#options.roster.releasePresence(user, userCounter(user));
  }

  async invoke(connection: Connection, invocation: Invocation): Promise<void> {
    const error = await this.#invoke(connection, invocation);
    const { invocationId } = invocation;
    if (invocationId === undefined) return;
    connection.send(
      error === undefined ? protocol.completion(invocationId) : protocol.failedCompletion(invocationId, error),
    );
  }

  /** Waits for the farewells that are on their way. */
  async drain(): Promise<void> {
    await Promise.all(this.#farewells);
  }

  /** @returns the error text of the completion, if any (SignalR's texts, without details) */
  async #invoke(connection: Connection, { target, args, streaming }: Invocation): Promise<string | undefined> {
    const method = connection.hub.method(target);
    if (method === undefined) {
      return `Failed to invoke '${target}' due to an error on the server. HubException: Method does not exist.`;
    }
    if (streaming) {
      return `The client attempted to invoke the non-streaming '${method.name}' method with a streaming invocation.`;
    }
    const values = method.bind(args);
    if (values === undefined) return `Failed to invoke '${method.name}' due to an error on the server.`;
    if (method.ignores(values)) return undefined;
    values.set('sub', JSON.stringify(connection.user));
    try {
      await this.#run(method.effects, connection, values);
      return undefined;
    } catch (error) {
      this.#options.logger.warn({ hub: connection.hub.name, method: method.name, err: error }, 'a hub method failed');
      return `An unexpected error occurred invoking '${method.name}' on the server.`;
    }
  }

  async #run(effects: Effect[], connection: Connection, values: Values): Promise<void> {
    for (const effect of effects) {
      if (effect.kind === 'join') this.#join(connection, effect, values);
      else if (effect.kind === 'leave') this.#leave(connection, effect.group(values));
      else if (effect.kind === 'caller') connection.send(protocol.invocation(effect.method, effect.arguments(values)));
      else {
        // What the caller was told so far does not wait for the log.
        connection.flush();
        await this.#options.publish(effect.toEvent(values, connection.id));
      }
    }
  }

  #join(connection: Connection, effect: Extract<Effect, { kind: 'join' }>, values: Values): void {
    const group = effect.group(values);
    const { farewell } = effect;
    connection.groups.set(group, farewell && (() => this.#bidFarewell(farewell, values, connection)));
    const members = this.#options.groups.join(connection.hub.name, group, connection);
    if (effect.countsAsRoom) {
      connection.countedRooms.add(group);
      this.#options.roster.set(roomCounter(connection, group), members);
    }
  }

  #leave(connection: Connection, group: string): void {
    connection.groups.delete(group);
    const members = this.#options.groups.leave(connection.hub.name, group, connection);
    if (connection.countedRooms.delete(group)) this.#options.roster.set(roomCounter(connection, group), members);
  }

  #bidFarewell(farewell: OthersEffect, values: Values, connection: Connection): void {
    const farewellSent = this.#options
      .publish(farewell.toEvent(values, connection.id))
      .catch((error) => this.#options.logger.warn({ hub: connection.hub.name, err: error }, 'a farewell was lost'))
      .finally(() => this.#farewells.delete(farewellSent));
    this.#farewells.add(farewellSent);
  }

  #count(user: string, change: 1 | -1): void {
    const count = (this.#users.get(user) ?? 0) + change;
    if (count > 0) this.#users.set(user, count);
    else this.#users.delete(user);
    this.#connections += change;
    this.#options.roster.set(userCounter(user), count);
    this.#options.roster.set('connections', this.#connections);
  }
}

function userCounter(user: string): string {
  return `user:${user}`;
}

function roomCounter(connection: Connection, group: string): string {
  return `room:${connection.hub.name} ${group}`;
}
