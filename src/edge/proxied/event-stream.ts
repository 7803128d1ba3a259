// A connection over server-sent events: the bridge's stream goes through event by event, the client's POSTs beside it.
// Promises: what is injected stands between two events; a broken stream is broken off, an ended one ends; the bridge is
// read only as fast as the client takes it. Source: TransportProtocols.md ("Server-Sent Events", "HTTP Post").

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { BridgeResponse } from '../../bridge/client.ts';
import type { Faults } from '../../telemetry/faults.ts';
import type { HubProtocolName } from '../hub-protocol/protocol.ts';
import { hubProtocols } from '../native/protocols.ts';
import type { Prepared } from '../prepared.ts';
import { type EventPart, EventSplitter, eventOf } from '../server-sent-events.ts';
import { BridgeFeed } from './bridge-feed.ts';
import { maxMessageBytes, writeHead } from './forwarding.ts';
import type { Carrier, Tap } from './leg.ts';
import type { Posts } from './posts.ts';

const closeForReconnect = eventOf(hubProtocols.json.close({ allowReconnect: true }));

export class EventStream implements Carrier {
  readonly #answer: BridgeResponse;
  readonly #response: ServerResponse;
  readonly #posts: Posts;
  readonly #faults: Faults;
  readonly #splitter = new EventSplitter();
  #tap: Tap | undefined;
  readonly #feed: BridgeFeed<Buffer>;

  /** @param answer the bridge's 200, whose body has not been read */
  constructor(answer: BridgeResponse, response: ServerResponse, posts: Posts, faults: Faults) {
    this.#answer = answer;
    this.#response = response;
    this.#posts = posts;
    this.#faults = faults;
    this.#feed = new BridgeFeed({
      bridge: answer.body,
      untilReady: () => this.#tap?.untilReady(),
      pass: (chunk) => this.#passChunk(chunk),
      backlogBytes: () => this.backlogBytes,
      contain: (run) => faults.contain('bridge', run, () => this.cut()),
    });
  }

  start(tap: Tap): void {
    this.#tap = tap;
    writeHead(this.#response, this.#answer);
    this.#response.flushHeaders();
    const cut = () => this.cut();
    this.#response
      .on(
        'drain',
        this.#faults.contained('client', () => this.#feed.drained(), cut),
      )
      .once('close', this.#faults.contained('client', cut));
    this.#answer.body
      .on(
        'data',
        this.#faults.contained('bridge', (chunk: Buffer) => this.#feed.take(chunk), cut),
      )
      .once(
        'end',
        this.#faults.contained('bridge', () => this.#onBridgeEnd(), cut),
      )
      .on('error', this.#faults.contained('bridge', cut));
  }

  post(request: IncomingMessage, response: ServerResponse, query: URLSearchParams): Promise<void> {
    return this.#posts.forward(request, response, query, (bytes) => this.#tap?.fromClient(bytes));
  }

  noteRefresh(request: IncomingMessage, query: URLSearchParams): void {
    this.#posts.noteRefresh(request, query);
  }

  // The Leg.

  inject(prepared: Prepared, _protocol: HubProtocolName): void {
    this.#write(prepared.serverSentEvent);
  }

  sendToBridge(record: Buffer, protocol: HubProtocolName): void {
    this.#posts.send(record, protocol);
  }

  get backlogBytes(): number {
    return this.#response.writableLength;
  }

  get readsBridge(): boolean {
    return this.#feed.reads;
  }

  cut(): void {
    this.#end();
    this.#answer.body.destroy();
    this.#response.destroy();
  }

  closeForReconnect(): void {
    this.#write(closeForReconnect);
    this.#end();
    this.#answer.body.destroy();
    this.#response.end();
  }

  #passChunk(chunk: Buffer): void {
    for (const part of this.#splitter.push(chunk)) this.#pass(part);
    if (this.#splitter.pendingBytes > maxMessageBytes) this.cut();
  }

  #pass({ raw, data }: EventPart): void {
    if (data === undefined || this.#tap === undefined) return this.#write(raw);
    this.#tap.fromBridge(data, (shown) => this.#write(shown === data ? raw : eventOf(shown)));
  }

  #write(bytes: Buffer): void {
    if (!this.#response.writableEnded && !this.#response.destroyed) this.#response.write(bytes);
  }

  #onBridgeEnd(): void {
    this.#feed.passEarly();
    // What waited goes before the begin of an event that the bridge has not ended.
    this.#end();
    this.#write(this.#splitter.rest);
    this.#response.end();
  }

  #end(): void {
    const tap = this.#tap;
    this.#tap = undefined;
    if (tap === undefined) return;
    this.#posts.end();
    tap.ended();
  }
}
