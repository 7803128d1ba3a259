// What the edge asks of the hubs behind it, wherever their connections end: here (native/) or at a bridge (proxied/).

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { HubPath } from './hub-path.ts';

export interface HubsSide {
  /** Everything below /hubs/* that is not a WebSocket. */
  answer(request: IncomingMessage, response: ServerResponse, path: HubPath): void | Promise<void>;
  /** A well-formed WebSocket handshake without a body; what arrived behind it is in `head`. */
  upgrade(request: IncomingMessage, socket: Socket, head: Buffer, path: HubPath): void | Promise<void>;
  /** Closes every client so that it reconnects (and fetches history); resolves when all are gone, cut off if need be. */
  closeClients(reason: 'gap' | 'shutdown'): Promise<void>;
  /** Closes the clients for good. */
  close(): Promise<void>;
}
