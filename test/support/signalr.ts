// Hub clients for tests: the real @microsoft/signalr client in both protocols, and a raw WebSocket that shows every record as it came.
// In come a hub's URL and a token; out go connected clients that keep what they got, in order. Both end with the test.

import type { TestContext } from 'node:test';
import {
  HttpTransportType,
  type HubConnection,
  HubConnectionBuilder,
  type HubMessage,
  JsonHubProtocol,
  LogLevel,
  MessageType,
} from '@microsoft/signalr';
import { MessagePackHubProtocol } from '@microsoft/signalr-protocol-msgpack';
import { type JWTPayload, SignJWT } from 'jose';
import { WebSocket } from 'ws';
import { until } from './wait.ts';

export { HttpTransportType } from '@microsoft/signalr';

export const recordSeparator = '\x1e';

/** @param claims without `exp` the token is good for an hour; with `exp: undefined` it has none */
export function makeToken(claims: JWTPayload, secret: string): Promise<string> {
  const inAnHour = Math.floor(Date.now() / 1000) + 3600;
  return new SignJWT({ exp: inAnHour, ...claims })
    .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
    .sign(new TextEncoder().encode(secret));
}

/** One hub message that the server sent. */
export interface Received {
  method: string;
  args: unknown[];
  /** The JSON record's text, without its separator: it shows what JSON.parse hides. Empty in MessagePack. */
  raw: string;
}

export interface HubClient {
  connection: HubConnection;
  /** Every invocation, whatever its method, in order; goes on over reconnects. */
  received: Received[];
  /** The received messages of one method. */
  of(method: string): Received[];
}

export interface ConnectOptions {
  transport?: HttpTransportType;
  skipNegotiation?: boolean;
  protocol?: 'json' | 'messagepack';
  /** Asks for a connection that goes on after a lost transport, where the server offers it. */
  statefulReconnect?: boolean;
  /** Delays of automatic reconnects, in ms; without them a lost connection stays lost. */
  reconnectMs?: number[];
}

/**
 * @param hubUrl such as `http://127.0.0.1:7401/hubs/chat`
 * @param token empty for none
 */
export async function connect(
  t: TestContext,
  hubUrl: string,
  token: string,
  {
    transport = HttpTransportType.WebSockets,
    skipNegotiation = false,
    protocol: protocolName = 'json',
    statefulReconnect = false,
    reconnectMs,
  }: ConnectOptions = {},
): Promise<HubClient> {
  const protocol = protocolName === 'json' ? new CollectingJson() : new CollectingMessagePack();
  const builder = new HubConnectionBuilder()
    .withUrl(hubUrl, { transport, skipNegotiation, accessTokenFactory: () => token })
    .withHubProtocol(protocol)
    .configureLogging(LogLevel.None);
  if (statefulReconnect) builder.withStatefulReconnect();
  if (reconnectMs) builder.withAutomaticReconnect(reconnectMs);
  const connection = builder.build();
  t.after(() => connection.stop());
  await connection.start();
  const { received } = protocol;
  return { connection, received, of: (method) => received.filter((message) => message.method === method) };
}

class CollectingJson extends JsonHubProtocol {
  readonly received: Received[] = [];

  override parseMessages(input: string, logger: Parameters<JsonHubProtocol['parseMessages']>[1]) {
    for (const raw of input.split(recordSeparator).filter(Boolean)) {
      const message = JSON.parse(raw);
      if (message.type !== MessageType.Invocation) continue;
      this.received.push({ method: message.target, args: message.arguments, raw });
    }
    return super.parseMessages(input, logger);
  }
}

class CollectingMessagePack extends MessagePackHubProtocol {
  readonly received: Received[] = [];

  override parseMessages(
    input: ArrayBuffer,
    logger: Parameters<MessagePackHubProtocol['parseMessages']>[1],
  ): HubMessage[] {
    const messages = super.parseMessages(input, logger);
    for (const message of messages) {
      if (message.type !== MessageType.Invocation) continue;
      this.received.push({ method: message.target, args: message.arguments, raw: '' });
    }
    return messages;
  }
}

/** A WebSocket that speaks no SignalR by itself. */
export class RawClient {
  readonly socket: WebSocket;
  /** WebSocket messages as they came. */
  readonly frames: string[] = [];
  /** Records without their separators; pings, which come when they like, are left out. */
  readonly records: string[] = [];
  /** Set once the connection has ended. */
  closed: { code: number; reason: string } | undefined;

  constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on('message', (data) => this.#keep(data.toString()));
    socket.on('close', (code, reason) => {
      this.closed = { code, reason: reason.toString() };
    });
    socket.on('error', () => socket.terminate());
  }

  /** Sends one frame: the text as it is. */
  send(text: string): void {
    this.socket.send(text);
  }

  sendRecord(message: object): void {
    this.send(JSON.stringify(message) + recordSeparator);
  }

  shakeHands(): void {
    this.sendRecord({ protocol: 'json', version: 1 });
  }

  #keep(frame: string): void {
    this.frames.push(frame);
    const records = frame.split(recordSeparator).filter(Boolean);
    this.records.push(...records.filter((record) => !/^\{"type":6\}$/.test(record)));
  }
}

/**
 * Opens a WebSocket without negotiating; resolves when it is open, and sends nothing.
 * @param hubUrl such as `http://127.0.0.1:7401/hubs/chat`, maybe with a query
 */
export async function openRaw(t: TestContext, hubUrl: string, token: string): Promise<RawClient> {
  const url = new URL(hubUrl);
  url.protocol = url.protocol.replace('http', 'ws');
  if (token !== '') url.searchParams.set('access_token', token);
  const client = new RawClient(new WebSocket(url, { perMessageDeflate: false }));
  t.after(() => client.socket.terminate());
  await until(() => client.socket.readyState !== WebSocket.CONNECTING, { what: `${url.pathname} to open` });
  if (client.socket.readyState !== WebSocket.OPEN) throw new Error(`${url.pathname} refused the WebSocket`);
  return client;
}
