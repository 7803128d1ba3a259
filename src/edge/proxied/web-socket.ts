// A WebSocket through crossfade: client <-> crossfade <-> the bridge's hub. In comes a client's upgrade, which the bridge
// answers; then messages go 1:1 both ways, shown to the connection's Tap, and prepared frames are written in between.
// Promises: a close frame goes on with its code and reason and is answered by the other side, never by crossfade; a
// loss on one side is a loss on the other; each side is read only as fast as the other takes it.
// Source: RFC 6455; signalr-protocol.md, sections 2.1 and 11.

import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { WebSocket, WebSocketServer } from 'ws';
import type { BridgeAddress } from '../../bridge/addresses.ts';
import { maxHeaderBytes } from '../../bridge/client.ts';
import { endToEnd, forwardedHeaders, withoutHeaders } from '../../bridge/headers.ts';
import { refusalOf, refuse, sendRefusal } from '../../refusal.ts';
import type { Clock } from '../../telemetry/clock.ts';
import type { Faults } from '../../telemetry/faults.ts';
import type { FaultPlace } from '../../telemetry/metrics.ts';
import type { Prepared } from '../prepared.ts';
import { BridgeFeed } from './bridge-feed.ts';
import { maxMessageBytes } from './forwarding.ts';
import type { Carrier, HubProtocolName, Tap } from './leg.ts';
import type { WaitingClient } from './waiting-client.ts';

/** Bytes that may wait for the bridge before the client is not read any more. */
const highWaterBytes = 256 * 1024;
const dialTimeoutMs = 15_000;
/**
 * A client's message is held until it is whole. The bridge takes records of 1 MiB, of which a message may hold several; a client that
 * sends a longer message is ended with 1009, as unmasking alone takes 5 ms a MiB.
 */
const maxClientMessageBytes = 4 * 1024 * 1024;
/** Whether a text is UTF-8, and how long a message may be, is for the bridge and the client to say; ASP.NET knows no compression. */
const bothSides = {
  perMessageDeflate: false,
  skipUTF8Validation: true,
  maxPayload: maxMessageBytes,
  // ms for which a side's close frame is awaited; ASP.NET itself waits 5 s.
  closeTimeout: 10_000,
};
/** ms for which the last bytes for a side may take after the other is gone. */
const flushTimeoutMs = 5_000;
const reconnectRecords: Record<HubProtocolName, Buffer> = {
  json: Buffer.from('{"type":7,"allowReconnect":true}\x1e'),
  // [7, nil, true] behind its length.
  messagepack: Buffer.from([0x04, 0x93, 0x07, 0xc0, 0xc3]),
};

/** Leaves the answer to a close frame to the other side; `ws` itself would answer at once, and both sides alike. */
class Side extends WebSocket {
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
    link?.guard(this.place, () => link.onConclude(this, code, reason));
  }

  sendClose(code?: number, reason?: string | Buffer): void {
    if (this.readyState === WebSocket.OPEN) super.close(code, reason);
  }
}

export interface Upgrade {
  request: IncomingMessage;
  client: WaitingClient;
  address: BridgeAddress;
  /** Called once both sides are open. */
  open(leg: ProxiedWebSocket): Tap;
  /** The bridge did not take the connection. @returns whether somebody else will answer the client */
  onUnreachable(error: Error): boolean;
}

export class WebSockets {
  readonly #clock: Clock;
  readonly #faults: Faults;
  readonly #server = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    ...bothSides,
    maxPayload: maxClientMessageBytes,
    WebSocket: Side,
    handleProtocols: (_, request) => this.#accepted.get(request)!.headers['sec-websocket-protocol'] ?? false,
  });
  /** The bridge's 101 to each upgrade that is being completed. */
  readonly #accepted = new WeakMap<IncomingMessage, IncomingMessage>();

  constructor(clock: Clock, faults: Faults) {
    this.#clock = clock;
    this.#faults = faults;
    this.#server.on('headers', (lines, request) => lines.push(...headerLines(this.#accepted.get(request)!)));
  }

  /** Dials the bridge; its refusal is the client's answer, its consent opens the client's side too. */
  upgrade(upgrade: Upgrade): void {
    const { request, client } = upgrade;
    const bridge = this.#dial(upgrade);
    if (bridge === undefined) return this.#refuse(upgrade, 400);
    const end = () => {
      client.socket.destroy();
      bridge.terminate();
    };
    const onError = this.#faults.guarded(
      'bridge',
      (error: Error) => {
        if (!client.left && !upgrade.onUnreachable(error)) this.#refuse(upgrade, 502);
      },
      end,
    );
    const onRefused = (_: ClientRequest, answer: IncomingMessage) => {
      bridge.off('error', onError);
      this.#passRefusal(upgrade, answer);
    };
    const onOpen = () => {
      bridge.off('error', onError).removeAllListeners('unexpected-response');
      this.#complete(upgrade, bridge);
    };
    client.onLeft = this.#faults.guarded('client', () => bridge.terminate());
    bridge.once('error', onError).on('error', sideOnError);
    bridge.once('upgrade', (answer) => this.#accepted.set(request, answer));
    bridge.once('unexpected-response', this.#faults.guarded('bridge', onRefused, end));
    bridge.once('open', this.#faults.guarded('bridge', onOpen, end));
  }

  #refuse(upgrade: Upgrade, status: number): void {
    refuse(this.#refusalOf(upgrade), status);
  }

  #passRefusal(upgrade: Upgrade, answer: IncomingMessage): void {
    const { socket } = upgrade.client;
    const response = this.#refusalOf(upgrade);
    // Node would keep the connection for another request, which nobody makes on it.
    const { socket: bridgeSocket } = answer;
    const hangUp = () => bridgeSocket.destroy();
    answer.once('error', () => socket.destroy()).once('close', hangUp);
    socket.once('close', hangUp);
    response.sendDate = false;
    response.writeHead(answer.statusCode!, answer.statusMessage, endToEnd(answer.rawHeaders));
    answer.pipe(response);
  }

  /** After an upgrade request crossfade owns the socket; the refusal is the last that is written to it. */
  #refusalOf({ request, client }: Upgrade): ServerResponse {
    client.release();
    const refusal = refusalOf(request);
    sendRefusal(refusal, client.socket, this.#clock);
    return refusal;
  }

  /** @returns undefined for an upgrade that no WebSocket could come of */
  #dial({ request, address }: Upgrade): Side | undefined {
    const { origin, basePath, host, servername } = address;
    const protocols = request.headers['sec-websocket-protocol']?.split(',').map((protocol) => protocol.trim()) ?? [];
    try {
      const side = new Side(origin.replace(/^http/, 'ws'), protocols, {
        headers: { ...dialHeaders(request), Host: host },
        ...(servername !== undefined && { servername }),
        ...bothSides,
        handshakeTimeout: dialTimeoutMs,
        maxHeaderSize: maxHeaderBytes,
        // A URL would be written anew by its parser; the bridge gets the client's bytes.
        finishRequest: (dial) => {
          dial.path = basePath + request.url;
          dial.end();
        },
      });
      side.place = 'bridge';
      return side;
    } catch {
      return undefined;
    }
  }

  /** In one turn of the event loop: no message of the bridge can come before its listener is there. */
  #complete({ request, client, open }: Upgrade, bridge: Side): void {
    const bridgeSocket = this.#accepted.get(request)!.socket;
    const { socket } = client;
    this.#server.handleUpgrade(request, socket, client.release(), (side) => {
      const link = new ProxiedWebSocket(this.#clock, this.#faults, side as Side, socket, bridge, bridgeSocket);
      link.start(open(link));
    });
    if (bridge.link === undefined) bridge.terminate();
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
      guard: (run) => this.guard('bridge', run),
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
    this.#clientSocket.on('drain', () => this.guard('client', onClientDrain));
    this.#bridgeSocket.on('drain', () => this.guard('bridge', onBridgeDrain));
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
    this.#client.send(reconnectRecords[this.#protocol], { binary: this.#protocol === 'messagepack' });
    this.#client.sendClose(1000);
    this.#bridge.sendClose(1000);
  }

  // What the two sides tell.

  /** An error in handling what one side tells ends both. */
  guard(place: FaultPlace, run: () => unknown): void {
    this.#faults.guard(place, run, () => this.cut());
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
    const shown = this.#tap === undefined ? data : this.#tap.fromBridge(data);
    if (shown !== undefined && this.#client.readyState === WebSocket.OPEN) this.#client.send(shown, { binary });
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
  link.guard('client', () => link.onClientMessage(data as Buffer, binary));
}

function bridgeOnMessage(this: WebSocket, data: WebSocket.RawData, binary: boolean): void {
  const link = (this as Side).link!;
  link.guard('bridge', () => link.onBridgeMessage(data as Buffer, binary));
}

function sideOnClose(this: WebSocket): void {
  const side = this as Side;
  const link = side.link!;
  link.guard(side.place, () => link.onClose(side));
}

/** Nothing to do: `ws` closes the side behind its error, and sideOnClose() handles that. */
function sideOnError(): void {}

/** The client's headers for the bridge, without those that `ws` writes itself; a repeated one as a list. */
function dialHeaders(request: IncomingMessage): Record<string, string | string[]> {
  const kept = withoutHeaders(forwardedHeaders(request), (name) => name.startsWith('sec-websocket-'));
  const byName = new Map<string, [name: string, values: string[]]>();
  for (let i = 0; i < kept.length; i += 2) {
    const name = kept[i]!;
    const entry = byName.get(name.toLowerCase());
    if (entry === undefined) byName.set(name.toLowerCase(), [name, [kept[i + 1]!]]);
    else entry[1].push(kept[i + 1]!);
  }
  return Object.fromEntries(
    Array.from(byName.values(), ([name, values]) => [name, values.length > 1 ? values : values[0]!]),
  );
}

/** The headers of the bridge's 101 beyond the handshake's, such as Set-Cookie. */
function headerLines({ rawHeaders }: IncomingMessage): string[] {
  const kept = withoutHeaders(endToEnd(rawHeaders), (name) => name.startsWith('sec-websocket-'));
  const lines: string[] = [];
  for (let i = 0; i < kept.length; i += 2) lines.push(`${kept[i]}: ${kept[i + 1]}`);
  return lines;
}
