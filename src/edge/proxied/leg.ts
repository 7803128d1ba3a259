// Between a transport (WebSocket, server-sent events, long polling) and the connection that it carries: the transport
// shows every byte to the connection's Tap, the connection speaks to both sides through the transport's Leg.
// Neither knows the other's inside: no socket behind the Tap, no hub protocol behind the Leg.

import type { HubProtocolName } from '../hub-protocol/protocol.ts';
import type { Prepared } from '../prepared.ts';

/** What a transport offers the connection. */
export interface Leg {
  /**
   * Writes to the client, between the bridge's own messages and never inside one.
   * @param prepared to be taken in the form of this transport and protocol
   */
  inject(prepared: Prepared, protocol: HubProtocolName): void;
  /** Sends a record of crossfade's own to the bridge's hub. @param record encoded in the connection's protocol */
  sendToBridge(record: Buffer, protocol: HubProtocolName): void;
  /** Bytes waiting for the client. */
  readonly backlogBytes: number;
  /** Whether what the bridge sends is being read now; not where the client does not take what was read before. */
  readonly readsBridge: boolean;
  /** Ends both sides at once; the client comes back if it reconnects at all. */
  cut(): void;
}

/** A transport as the proxied hubs hold it. */
export interface Carrier extends Leg {
  /** Ends both sides as the protocol has it, with the word that the client may come back. */
  closeForReconnect(): void;
}

/** What the transport tells the connection. */
export interface Tap {
  /** See Client in hubs-side.ts; 0 where that is not looked at. */
  readonly lastUse: number;
  /** See Client. */
  readonly user: string | undefined;
  /** See Client. */
  readonly company: string;
  /**
   * Asked before the bridge's next bytes are shown to fromBridge().
   * @returns undefined where they may be shown now, else what to wait for: this replica has not read the log for a while,
   * and what stands there comes before them
   */
  untilReady(): Promise<void> | undefined;
  /** Bytes that the client sent, before they go on (they go on unchanged). */
  fromClient(data: Buffer): void;
  /**
   * Bytes that the bridge sent: one WebSocket message, one server-sent event's data, one poll's body.
   * @param handOn takes what the client gets of it, and hands it on at once: the same Buffer (the normal case, no copy), or the parts of
   * it between which something is injected: what waited for a fence, whose answer is cut out, or for the proof of a connect
   */
  fromBridge(data: Buffer, handOn: (shown: Buffer) => void): void;
  /** The client has asked for all that waited, and gets it: where {@link Leg.backlogBytes} would rarely be seen at 0 (long polling). */
  caughtUp(): void;
  /** Resolves when all that the bridge has sent by now was shown to fromBridge() and handed on, or when the connection is over. */
  fence(): Promise<void>;
  /** The connection is over, at either side. */
  ended(): void;
}
