// A native connection over server-sent events: some of our records are one event; the client's come by POSTs (posted-bytes.ts).
// Source: TransportProtocols.md ("Server-Sent Events", "HTTP Post").

import type { ServerResponse } from 'node:http';
import type { Prepared } from '../prepared.ts';
import { eventOf } from '../server-sent-events.ts';
import type { PostedBytes } from './posted-bytes.ts';
import type { NativeTransport, TransportListener } from './transport.ts';

const headers = {
  'Content-Type': 'text/event-stream',
  'Cache-Control': 'no-cache,no-store',
  Pragma: 'no-cache',
  'Content-Encoding': 'identity',
};

export class NativeEventStream implements NativeTransport {
  readonly takesBinary = false;
  readonly needsPings = true;
  readonly posted: PostedBytes;
  readonly #response: ServerResponse;

  /** @param response of the client's GET, with nothing written yet */
  constructor(response: ServerResponse, posted: PostedBytes) {
    this.posted = posted;
    this.#response = response;
  }

  start(listener: TransportListener): void {
    this.#response.on('error', () => this.#response.destroy());
    this.#response.once('close', () => {
      this.posted.end();
      listener.ended();
    });
    // Flushed at once: its head opens the client's stream.
    this.#response.writeHead(200, headers).write(':\r\n');
    this.posted.start((bytes) => listener.receive(bytes));
  }

  get waitingBytes(): number {
    return this.#response.writableLength;
  }

  send(records: Buffer): void {
    this.#response.write(eventOf(records));
  }

  write(prepared: Prepared): void {
    this.#response.write(prepared.serverSentEvent);
  }

  pause(): void {
    this.posted.pause();
  }

  resume(): void {
    this.posted.resume();
  }

  close(): void {
    this.#response.end();
  }

  terminate(): void {
    this.#response.destroy();
  }

  /** The connection's own pings tell whether the client is there. */
  sweep(): void {}
}
