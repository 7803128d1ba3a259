// What the edge asks of the hubs behind it, wherever their connections end: here (native/) or at a bridge (proxied/).

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { refuse } from '../refusal.ts';
import type { HubPath } from './hub-path.ts';

export interface HubsSide {
  /** Everything below /hubs/* that is not a WebSocket. */
  answer(request: IncomingMessage, response: ServerResponse, path: HubPath): void | Promise<void>;
  /** A well-formed WebSocket handshake without a body; what arrived behind it is in `head`. */
  upgrade(request: IncomingMessage, socket: Socket, head: Buffer, path: HubPath): void | Promise<void>;
  /** Every connection that is open. */
  readonly clients: Clients;
  /** From now on whoever is not among them gets a 503; who is just being let in is cut off. */
  refuseNew(): void;
  /** The clients are gone: waits for what their ends have published. */
  close(): Promise<void>;
}

/** The connections of this moment. */
export interface Clients extends Iterable<Client> {
  readonly size: number;
  has(client: Client): boolean;
}

/** Why a replica closes its clients: they have missed something, it ends, or their hub has moved. */
export type CloseReason = 'gap' | 'shutdown' | 'moved';

/** A client as its leaving sees it, wherever its connection ends and whichever transport carries it. */
export interface Client {
  /** As the contract calls its hub; undefined: the contract does not know it. */
  readonly hubName: string | undefined;
  /** Whether its connection ends here. */
  readonly isNative: boolean;
  /** undefined: none, or not known. */
  readonly user: string | undefined;
  /** Those with the same go together where a hub moves: the participants of a session, else the connections of a user. */
  readonly company: string;
  /** The number of its last use, by which it said or was shown more than a ping: the hubs count the uses of all their clients. */
  readonly lastUse: number;
  /** Resolves when its connection is over. */
  readonly gone: Promise<void>;
  /** Ends the connection as the protocol has it, with the word that the client may come back. */
  closeForReconnect(reason: CloseReason): void;
  /** Ends it at once; the client comes back if it reconnects at all. */
  terminate(reason: string): void;
}

/** s: it comes to another replica then, or to the next one in this one's place. */
const comeAgainAfter = '1';

/** The answer to whoever comes while this replica lets its clients go. */
export function refuseLeaving(response: ServerResponse): undefined {
  response.setHeader('Retry-After', comeAgainAfter);
  return refuse(response, 503);
}
