// The two sides of a WebSocket that passes through crossfade: client <-> crossfade <-> the bridge's hub. Messages go 1:1 both ways, shown
// to the connection's Tap, and prepared frames are written to the client in between.
// Promises: a close frame goes on with its code and reason and is answered by the other side, never by crossfade; a
// loss on one side is a loss on the other; each side is read only as fast as the other takes it.
// Source: RFC 6455; TransportProtocols.md ("WebSockets").

import type { Socket } from 'node:net';
import { WebSocket } from 'ws';
import type { Clock } from '../../telemetry/clock.ts';
import type { Faults } from '../../telemetry/faults.ts';
import type { FaultPlace } from '../../telemetry/metrics.ts';
import type { HubProtocolName } from '../hub-protocol/protocol.ts';
import { hubProtocols } from '../native/protocols.ts';
import type { Prepared } from '../prepared.ts';
import { BridgeFeed } from './bridge-feed.ts';
import type { Carrier, Tap } from './leg.ts';

/** Bytes that may wait for the bridge before the client is not read any more. */
const highWaterBytes = 256 * 1024;
/** ms for which the last bytes for a side may take after the other is gone. */
const flushTimeoutMs = 5_000;

/** Leaves the answer to a close frame to the other side; `ws` itself would answer at once, and both sides alike. */
export class Side extends WebSocket {
  link: ProxiedWebSocket | undefined;
  /** Whose side it is. */
  place: FaultPlace = 'client';
  /** Whether its peer's close frame has come. */
  concluded = false;

  /** Called by `ws` when the peer's close frame (or a breach of the protocol) has come, and by nobody else. */
  override close(code?: number, reason?: string | Buffer): void {
    this.concluded = true;
    // Where our own close frame has gone out before, this completes the handshake.
    if (this.readyState === WebSocket.CLOSING) super.close();
    const { link } = this;
    link?.contain(this.place, () => link.onConclude(this, code, reason));
  }

  sendClose(code?: number, reason?: string | Buffer): void {
    if (this.readyState === WebSocket.OPEN) super.close(code, reason);
  }
}

export class ProxiedWebSocket implements Carrier {
  readonly #clock: Clock;
  readonly #faults: Faults;
  readonly #client: Side;
  readonly #clientSocket: Socket;
  readonly #bridge: Side;
  readonly #bridgeSocket: Socket;
  #tap: Tap | undefined;
  /** Known from the bridge's first message, its answer to the handshake. */
  #protocol: HubProtocolName | undefined;
  readonly #feed: BridgeFeed<{ data: Buffer; binary: boolean }>;

  constructor(clock: Clock, faults: Faults, client: Side, clientSocket: Socket, bridge: Side, bridgeSocket: Socket) {
    this.#clock = clock;
    this.#faults = faults;
    this.#client = client;
    this.#clientSocket = clientSocket;
    this.#bridge = bridge;
    this.#bridgeSocket = bridgeSocket;
    this.#feed = new BridgeFeed({
      bridge,
      untilReady: () => this.#tap?.untilReady(),
      pass: ({ data, binary }) => this.#passBridgeMessage(data, binary),
      backlogBytes: () => this.backlogBytes,
      contain: (run) => this.contain('bridge', run),
    });
  }

  start(tap: Tap): void {
    this.#tap = tap;
    for (const side of [this.#client, this.#bridge]) {
      side.link = this;
      side.on('close', sideOnClose);
    }
    this.#client.on('error', sideOnError);
    this.#client.on('message', clientOnMessage);
    this.#bridge.on('message', bridgeOnMessage);
    const onClientDrain = () => this.#feed.drained();
    const onBridgeDrain = () => this.#client.resume();
    this.#clientSocket.on('drain', () => this.contain('client', onClientDrain));
    this.#bridgeSocket.on('drain', () => this.contain('bridge', onBridgeDrain));
  }

  // The Leg.

  inject(prepared: Prepared, protocol: HubProtocolName): void {
    // Whole frames between those that `ws` writes, which it does in one go as long as there is no compression.
    if (this.#client.readyState !== WebSocket.OPEN) return;
    this.#clientSocket.write(protocol === 'json' ? prepared.textFrame : prepared.binaryFrame);
  }

  sendToBridge(record: Buffer, protocol: HubProtocolName): void {
    if (this.#bridge.readyState === WebSocket.OPEN) this.#bridge.send(record, { binary: protocol === 'messagepack' });
  }

  get backlogBytes(): number {
    return this.#client.bufferedAmount;
  }

  get readsBridge(): boolean {
    return this.#feed.reads;
  }

  cut(): void {
    this.#client.terminate();
    this.#bridge.terminate();
  }

  closeForReconnect(): void {
    if (this.#protocol === undefined) return this.cut();
    this.#client.send(hubProtocols[this.#protocol].close({ allowReconnect: true }), {
      binary: this.#protocol === 'messagepack',
    });
    this.#client.sendClose(1000);
    this.#bridge.sendClose(1000);
  }

  // What the two sides tell.

  /** An error in handling what one side tells ends both. */
  contain(place: FaultPlace, run: () => unknown): void {
    this.#faults.contain(place, run, () => this.cut());
  }

  onClientMessage(data: Buffer, binary: boolean): void {
    this.#tap?.fromClient(data);
    if (this.#bridge.readyState !== WebSocket.OPEN) return;
    this.#bridge.send(data, { binary });
    if (this.#bridge.bufferedAmount > highWaterBytes) this.#client.pause();
  }

  onBridgeMessage(data: Buffer, binary: boolean): void {
    this.#feed.take({ data, binary });
  }

  #passBridgeMessage(data: Buffer, binary: boolean): void {
    this.#protocol ??= binary ? 'messagepack' : 'json';
    const handOn = (shown: Buffer) => {
      if (this.#client.readyState === WebSocket.OPEN) this.#client.send(shown, { binary });
    };
    if (this.#tap === undefined) handOn(data);
    else this.#tap.fromBridge(data, handOn);
  }

  onConclude(side: Side, code: number | undefined, reason: string | Buffer | undefined): void {
    // Behind the bridge's close frame nothing may be injected any more.
    if (side === this.#bridge) {
      this.#feed.passEarly();
      this.#end();
    }
    this.#otherOf(side).sendClose(code, reason);
  }

  onClose(side: Side): void {
    if (side === this.#bridge) this.#feed.passEarly();
    this.#end();
    if (!side.concluded) this.#lose(this.#otherOf(side));
  }

  #otherOf(side: Side): Side {
    return side === this.#client ? this.#bridge : this.#client;
  }

  /** Ends a side without a close frame, behind what was written to it. */
  #lose(side: Side): void {
    const socket = side === this.#client ? this.#clientSocket : this.#bridgeSocket;
    if (socket.writableLength === 0) return side.terminate();
    socket.destroySoon();
    this.#clock.after(flushTimeoutMs, () => side.terminate());
  }

  #end(): void {
    const tap = this.#tap;
    this.#tap = undefined;
    tap?.ended();
  }
}

function clientOnMessage(this: WebSocket, data: WebSocket.RawData, binary: boolean): void {
  const link = (this as Side).link!;
  link.contain('client', () => link.onClientMessage(data as Buffer, binary));
}

function bridgeOnMessage(this: WebSocket, data: WebSocket.RawData, binary: boolean): void {
  const link = (this as Side).link!;
  link.contain('bridge', () => link.onBridgeMessage(data as Buffer, binary));
}

function sideOnClose(this: WebSocket): void {
  const side = this as Side;
  const link = side.link!;
  link.contain(side.place, () => link.onClose(side));
}

/** Nothing to do: `ws` closes the side behind its error, and sideOnClose() handles that. */
export function sideOnError(): void {}
