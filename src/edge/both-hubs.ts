// Native and proxied hubs side by side: in come the requests and upgrades of all clients, each goes to where its hub's connections end
// now. Promises: whoever has a connection comes to it with all that belongs to it, wherever the hub has moved meanwhile; whoever
// negotiated before the move and comes after it is unknown (404), and negotiates anew.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { type HubPath, queryValue } from './hub-path.ts';
import type { Client, Clients, HubsSide } from './hubs-side.ts';
import type { NativeHubs } from './native/native-hubs.ts';
import type { ProxiedHubs } from './proxied/proxied-hubs.ts';

export class BothHubs implements HubsSide {
  readonly clients: Clients;
  readonly #native: NativeHubs;
  readonly #proxied: ProxiedHubs;
  readonly #isNative: (hub: string) => boolean;

  /** @param isNative whether the connections of this hub (its name in a client's URL) end here; not of one that the contract does not know */
  constructor(native: NativeHubs, proxied: ProxiedHubs, isNative: (hub: string) => boolean) {
    this.#native = native;
    this.#proxied = proxied;
    this.#isNative = isNative;
    this.clients = {
      get size() {
        return native.clients.size + proxied.clients.size;
      },
      has: (client) => hasClient(native, client) || hasClient(proxied, client),
      *[Symbol.iterator]() {
        yield* native.clients;
        yield* proxied.clients;
      },
    };
  }

  async answer(request: IncomingMessage, response: ServerResponse, path: HubPath): Promise<void> {
    await this.#sideOf(path).answer(request, response, path);
  }

  async upgrade(request: IncomingMessage, socket: Socket, head: Buffer, path: HubPath): Promise<void> {
    await this.#sideOf(path).upgrade(request, socket, head, path);
  }

  refuseNew(): void {
    this.#native.refuseNew();
    this.#proxied.refuseNew();
  }

  async close(): Promise<void> {
    await Promise.all([this.#native.close(), this.#proxied.close()]);
  }

  #sideOf({ hub, query }: HubPath): HubsSide {
    const token = queryValue(query, 'id');
    if (token !== undefined && this.#native.carries(token)) return this.#native;
    if (token !== undefined && this.#proxied.carries(token)) return this.#proxied;
    return this.#isNative(hub) ? this.#native : this.#proxied;
  }
}

function hasClient({ clients }: { clients: Clients }, client: Client): boolean {
  return clients.has(client);
}

/** How many of a hub's clients are where. */
export interface ClientsOfHub {
  native: number;
  proxied: number;
}

/** By the hub's name; those of a hub that the contract does not know do not count. */
export function countByHub(clients: Iterable<Client>): Record<string, ClientsOfHub> {
  const counts: Record<string, ClientsOfHub> = {};
  for (const { hubName, isNative } of clients) {
    if (hubName === undefined) continue;
    counts[hubName] ??= { native: 0, proxied: 0 };
    counts[hubName][isNative ? 'native' : 'proxied']++;
  }
  return counts;
}
