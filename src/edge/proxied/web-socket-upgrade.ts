// How a WebSocket through crossfade begins. In comes a client's upgrade, which goes to the bridge with the client's own bytes; out goes the
// bridge's refusal as it is, or, with its consent, the two sides of the connection (web-socket.ts).

import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http';
import { WebSocketServer } from 'ws';
import { type BridgeAddress, webSocketAt } from '../../bridge/addresses.ts';
import { maxHeaderBytes } from '../../bridge/client.ts';
import { endToEnd, forwardedHeaders, withoutHeaders } from '../../bridge/headers.ts';
import { refusalOf, refuse, sendRefusal } from '../../refusal.ts';
import type { Clock } from '../../telemetry/clock.ts';
import type { Faults } from '../../telemetry/faults.ts';
import { maxMessageBytes } from './forwarding.ts';
import type { Tap } from './leg.ts';
import type { WaitingClient } from './waiting-client.ts';
import { ProxiedWebSocket, Side, sideOnError } from './web-socket.ts';

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

export interface Upgrade {
  request: IncomingMessage;
  client: WaitingClient;
  address: BridgeAddress;
  /** Called once both sides are open. */
  open(leg: ProxiedWebSocket): Tap;
  /** The bridge did not take the connection. @returns whether somebody else will answer the client */
  onUnreachable(error: Error): boolean;
}

export class WebSocketUpgrades {
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
    const onError = this.#faults.contained(
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
    client.onLeft = this.#faults.contained('client', () => bridge.terminate());
    bridge.once('error', onError).on('error', sideOnError);
    bridge.once('upgrade', (answer) => this.#accepted.set(request, answer));
    bridge.once('unexpected-response', this.#faults.contained('bridge', onRefused, end));
    bridge.once('open', this.#faults.contained('bridge', onOpen, end));
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
    const { url, options } = webSocketAt(address);
    const protocols = request.headers['sec-websocket-protocol']?.split(',').map((protocol) => protocol.trim()) ?? [];
    try {
      const side = new Side(url, protocols, {
        ...options,
        headers: { ...dialHeaders(request), ...options.headers },
        ...bothSides,
        handshakeTimeout: dialTimeoutMs,
        maxHeaderSize: maxHeaderBytes,
        // A URL would be written anew by its parser; the bridge gets the client's bytes.
        finishRequest: (dial) => {
          dial.path = address.basePath + request.url;
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
