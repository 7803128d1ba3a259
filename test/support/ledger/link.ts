// A connection to a hub as a reader sees it: it comes back by itself whenever it was lost, and says when. Two kinds:
// the real client (@microsoft/signalr) on any transport, and a bare WebSocket with the real client's protocol classes.

import {
  type HttpTransportType,
  type HubConnection,
  HubConnectionBuilder,
  type IHubProtocol,
  JsonHubProtocol,
  LogLevel,
  MessageType,
  NullLogger,
} from '@microsoft/signalr';
import { MessagePackHubProtocol } from '@microsoft/signalr-protocol-msgpack';
import { WebSocket } from 'ws';
import { recordSeparator } from '../signalr.ts';

export type ProtocolName = 'json' | 'messagepack';

/** What a link tells its reader. */
export interface Listener {
  message(method: string, args: unknown[]): void;
  /** The connection is over; the link goes on trying until it is back. */
  ended(): void;
  /** Connected again, with nothing joined. */
  back(): void;
}

export interface Link {
  /** Connects for the first time. */
  start(): Promise<void>;
  /** Error: whatever the hub's completion says, or that the connection is over. */
  invoke(method: string, ...args: unknown[]): Promise<void>;
  /** Reads nothing more, for ever, and leaves the connection open. */
  stall(): void;
  stop(): Promise<void>;
}

export interface Place {
  /** Such as `http://127.0.0.1:7401/hubs/chat`. */
  hubUrl: string;
  token: string;
  protocol: ProtocolName;
}

const retryMs = 300;

function protocolOf(name: ProtocolName): IHubProtocol {
  return name === 'json' ? new JsonHubProtocol() : new MessagePackHubProtocol();
}

/** The real client. It reconnects by itself; where it gives up (a Close without allowReconnect), it is started anew. */
export class RealLink implements Link {
  readonly #connection: HubConnection;
  readonly #listener: Listener;
  #isStopped = false;

  /** @param methods those that are listened to */
  constructor({ hubUrl, token, protocol }: Place, transport: HttpTransportType, methods: string[], listener: Listener) {
    this.#listener = listener;
    this.#connection = new HubConnectionBuilder()
      .withUrl(hubUrl, { transport, accessTokenFactory: () => token })
      .withHubProtocol(protocolOf(protocol))
      .withAutomaticReconnect({ nextRetryDelayInMilliseconds: () => retryMs })
      .configureLogging(LogLevel.None)
      .build();
    for (const method of methods) this.#connection.on(method, (...args) => listener.message(method, args));
    this.#connection.onreconnecting(() => listener.ended());
    this.#connection.onreconnected(() => listener.back());
    this.#connection.onclose(() => this.#onClose());
  }

  start(): Promise<void> {
    return this.#connection.start();
  }

  async invoke(method: string, ...args: unknown[]): Promise<void> {
    await this.#connection.invoke(method, ...args);
  }

  stall(): void {
    throw new Error('the real client cannot stop reading');
  }

  stop(): Promise<void> {
    this.#isStopped = true;
    return this.#connection.stop();
  }

  #onClose(): void {
    if (this.#isStopped) return;
    this.#listener.ended();
    this.#startAgain();
  }

  #startAgain(): void {
    if (this.#isStopped) return;
    this.#connection.start().then(
      () => this.#listener.back(),
      () => setTimeout(() => this.#startAgain(), retryMs),
    );
  }
}

interface Pending {
  resolve(): void;
  reject(error: Error): void;
}

/** A bare WebSocket without negotiation, for the many: no timers, no pings, and it can stop reading. */
export class RawLink implements Link {
  readonly #url: string;
  readonly #protocol: IHubProtocol;
  readonly #listener: Listener;
  readonly #pending = new Map<string, Pending>();
  #socket: WebSocket | undefined;
  #invocations = 0;
  #isStopped = false;

  constructor({ hubUrl, token, protocol }: Place, listener: Listener) {
    this.#url = `${hubUrl.replace(/^http/, 'ws')}?access_token=${token}`;
    this.#protocol = protocolOf(protocol);
    this.#listener = listener;
  }

  start(): Promise<void> {
    const socket = new WebSocket(this.#url, { perMessageDeflate: false });
    socket.binaryType = 'arraybuffer';
    this.#socket = socket;
    return new Promise((resolve, reject) => {
      let isOpen = false;
      socket.on('open', () => socket.send(handshake(this.#protocol)));
      socket.once('message', (data, isBinary) => {
        const { error, rest } = readHandshake(data, isBinary);
        if (error !== undefined) return reject(new Error(error));
        isOpen = true;
        socket.on('message', (message, isBinary) => this.#read(isBinary ? message : String(message)));
        resolve();
        if (rest !== undefined) this.#read(rest);
      });
      socket.on('error', () => socket.terminate());
      socket.on('close', (code) => {
        const error = new Error(`the WebSocket is closed (${code})`);
        for (const pending of this.#pending.values()) pending.reject(error);
        this.#pending.clear();
        reject(error);
        if (isOpen) this.#onEnd();
      });
    });
  }

  invoke(method: string, ...args: unknown[]): Promise<void> {
    const invocationId = String(this.#invocations++);
    const message = { type: MessageType.Invocation, target: method, arguments: args, invocationId } as const;
    return new Promise((resolve, reject) => {
      if (this.#socket?.readyState !== WebSocket.OPEN) return reject(new Error('the WebSocket is not open'));
      this.#pending.set(invocationId, { resolve, reject });
      this.#socket.send(this.#protocol.writeMessage(message));
    });
  }

  stall(): void {
    this.#socket!.pause();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#socket?.terminate();
  }

  #read(data: unknown): void {
    for (const message of this.#protocol.parseMessages(data as string | ArrayBuffer, NullLogger.instance)) {
      if (message.type === MessageType.Invocation) this.#listener.message(message.target, message.arguments);
      if (message.type === MessageType.Completion) this.#complete(message.invocationId, message.error);
      // The connection ends with it, as the real client has it, and not when the socket is gone.
      if (message.type === MessageType.Close) this.#socket!.terminate();
    }
  }

  #complete(invocationId: string, error: string | undefined): void {
    const pending = this.#pending.get(invocationId);
    this.#pending.delete(invocationId);
    if (error === undefined) pending?.resolve();
    else pending?.reject(new Error(error));
  }

  #onEnd(): void {
    if (this.#isStopped) return;
    this.#listener.ended();
    this.#startAgain();
  }

  #startAgain(): void {
    if (this.#isStopped) return;
    this.start().then(
      () => this.#listener.back(),
      () => setTimeout(() => this.#startAgain(), retryMs),
    );
  }
}

function handshake({ name, version }: IHubProtocol): string {
  return JSON.stringify({ protocol: name, version }) + recordSeparator;
}

/** The handshake's reply is JSON in either protocol; other records may lie behind it in the same message. */
function readHandshake(data: unknown, isBinary: boolean): { error?: string; rest?: string | ArrayBuffer } {
  const bytes = Buffer.from(data as ArrayBuffer);
  const end = bytes.indexOf(recordSeparator);
  const { error } = JSON.parse(bytes.subarray(0, end).toString());
  const rest = bytes.subarray(end + 1);
  if (error !== undefined || rest.length === 0) return { error };
  return { rest: isBinary ? new Uint8Array(rest).buffer : rest.toString() };
}
