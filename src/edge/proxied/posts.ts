// What one client sends to its hub where its transport carries the other direction only: POSTs, the client's and our own.
// Promises: one after the other, in the order in which they came; ours with the credentials of the client's last request
// that the bridge has accepted, and none of the client's whose credentials it has not.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { BridgeAddress } from '../../bridge/addresses.ts';
import { type BridgeClient, bodyOf } from '../../bridge/client.ts';
import type { HubProtocolName } from '../hub-protocol/protocol.ts';
import type { Admission } from './admission.ts';
import { forward, requestOf } from './forwarding.ts';

const contentTypes: Record<HubProtocolName, string> = {
  json: 'text/plain;charset=UTF-8',
  messagepack: 'application/octet-stream',
};

export class Posts {
  readonly #http: BridgeClient;
  readonly #address: BridgeAddress;
  readonly #admission: Admission;
  readonly #ended = new AbortController();
  #turn: Promise<unknown> = Promise.resolve();

  constructor(http: BridgeClient, address: BridgeAddress, admission: Admission) {
    this.#http = http;
    this.#address = address;
    this.#admission = admission;
  }

  /** @param show gets the bytes before the bridge does */
  async forward(
    request: IncomingMessage,
    response: ServerResponse,
    query: URLSearchParams,
    show: (bytes: Buffer) => void,
  ): Promise<void> {
    // Not in turn: who is not admitted must not make the client wait.
    if (!(await this.#admission.admits(request, response, query))) return;
    const body = bodyOf(request);
    const outgoing = { ...requestOf(request), body: body && shown(body, show) };
    await this.#inTurn(() => forward(this.#http, this.#address, outgoing, response));
    this.#admission.noteStatus(response.statusCode);
  }

  noteRefresh(request: IncomingMessage, query: URLSearchParams): void {
    this.#admission.noteRefresh(request, query);
  }

  /** A record of our own. If the bridge does not take it, the connection is about to end anyway. */
  send(record: Buffer, protocol: HubProtocolName): void {
    this.#own('POST', record, contentTypes[protocol]);
  }

  /** Ends the connection at the bridge; long polling only. */
  remove(): void {
    this.#own('DELETE', null, undefined);
  }

  /** Nothing of ours is sent any more. */
  end(): void {
    this.#ended.abort();
  }

  #own(method: string, body: Buffer | null, contentType: string | undefined): void {
    this.#inTurn(async () => {
      const { url, headers } = this.#admission.last;
      const typed = contentType === undefined ? headers : [...headers, 'Content-Type', contentType];
      const { signal } = this.#ended;
      const answer = await this.#http.request(this.#address, { method, url, headers: typed, body, signal });
      await answer.body.dump();
    }).catch(() => {});
  }

  #inTurn<Result>(run: () => Promise<Result>): Promise<Result> {
    const turn = this.#turn.then(run);
    this.#turn = turn.catch(() => {});
    return turn;
  }
}

async function* shown(body: AsyncIterable<Buffer>, show: (bytes: Buffer) => void): AsyncIterable<Buffer> {
  for await (const bytes of body) {
    show(bytes);
    yield bytes;
  }
}
