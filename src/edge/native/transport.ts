// Between a native connection and what carries it: the connection knows no socket and no request, the transport no hub protocol.

import type { HubProtocolName } from '../hub-protocol/protocol.ts';
import type { Prepared } from '../prepared.ts';

/** What a transport tells the connection. None of these throws. */
export interface TransportListener {
  /** Bytes of the client, wherever they were cut. */
  receive(bytes: Buffer): void;
  /** The client has sent a message that is too large to be taken in, and the transport ends. */
  tooLarge(): void;
  /** The client has taken all that was sent so far: where that cannot be seen by {@link NativeTransport.waitingBytes}. */
  caughtUp(): void;
  /** The connection is over; nothing is told any more. @param reason where it is not the client's own end */
  ended(reason?: 'timeout'): void;
  /** Runs what the client, or a later turn, has caused; what goes wrong ends the connection alone. */
  contain(run: () => unknown): void;
}

export interface NativeTransport {
  /** Server-sent events are text. */
  readonly takesBinary: boolean;
  /** False where the client must come by itself, so that neither side needs another sign of life (long polling). */
  readonly needsPings: boolean;
  /** Bytes that wait for the client. */
  readonly waitingBytes: number;
  /** Called once, before everything else. */
  start(listener: TransportListener): void;
  /** @param records whole ones, of this protocol */
  send(records: Buffer, protocol: HubProtocolName): void;
  /** As {@link send}, in the form that was prepared for all. */
  write(prepared: Prepared, protocol: HubProtocolName): void;
  /** Reads nothing more of the client for now; what has been read already still comes. */
  pause(): void;
  resume(): void;
  /** Ends it behind what was sent. */
  close(): void;
  /** Ends it at once. */
  terminate(): void;
  /** Called about once a second. @param now ms, monotonic */
  sweep(now: number): void;
}
