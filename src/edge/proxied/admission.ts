// Who may use a connection that comes by many requests. In come these requests, out goes whether the bridge has accepted the
// credentials that they bring; those that it has not seen on this connection are shown to it first.
// Promises: nothing is answered from here, and nothing that a client sends is believed, on the strength of a connection token
// alone, which stands in URLs. An expired token lasts here until the bridge is asked next: one poll (90 s) at most.

import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { BridgeAddress } from '../../bridge/addresses.ts';
import type { BridgeClient } from '../../bridge/client.ts';
import { forwardedHeaders, withoutHeaders } from '../../bridge/headers.ts';
import { hubUrlOf, queryValue } from '../hub-path.ts';
import { goneSignal, passAnswer } from './forwarding.ts';

/** How a client addresses its connection: path and query as on the wire, and its headers with the credentials. */
interface Addressing {
  url: string;
  headers: string[];
}

export class Admission {
  readonly #http: BridgeClient;
  readonly #address: BridgeAddress;
  /** Digest of what the bridge has accepted last; undefined once it has refused that. */
  #accepted: string | undefined;
  #last: Addressing;

  /** @param opening the request that made the connection: the bridge has accepted it */
  constructor(http: BridgeClient, address: BridgeAddress, opening: IncomingMessage, query: URLSearchParams) {
    this.#http = http;
    this.#address = address;
    this.#accepted = credentialsDigest(opening, query);
    this.#last = addressing(opening);
  }

  /** The latest admitted request; access tokens are renewed from request to request. */
  get last(): Addressing {
    return this.#last;
  }

  /** @returns false where the bridge has refused it, which is the answer that it got */
  async admits(request: IncomingMessage, response: ServerResponse, query: URLSearchParams): Promise<boolean> {
    const digest = credentialsDigest(request, query);
    if (digest !== this.#accepted && !(await this.#bridgeAccepts(request, response))) return false;
    this.#accepted = digest;
    this.#last = addressing(request);
    return true;
  }

  /** The bridge has taken new credentials for this connection: our own requests bring them from now on. */
  noteRefresh(request: IncomingMessage, query: URLSearchParams): void {
    const url = hubUrlOf(request.url!);
    if (url === undefined) return;
    this.#accepted = credentialsDigest(request, query);
    this.#last = { ...addressing(request), url };
  }

  /** The bridge has answered an admitted request with this status. */
  noteStatus(status: number): void {
    if (status === 401 || status === 403) this.#accepted = undefined;
  }

  /** Asks with a POST of nothing, which the hub does not get to see. */
  async #bridgeAccepts(request: IncomingMessage, response: ServerResponse): Promise<boolean> {
    const question = { method: 'POST', ...addressing(request), body: null, signal: goneSignal(response) };
    const answer = await this.#http.request(this.#address, question);
    if (answer.statusCode < 300) {
      await answer.body.dump();
      return true;
    }
    await passAnswer(answer, response);
    return false;
  }
}

function addressing(request: IncomingMessage): Addressing {
  // What speaks of the client's own body, or asks for a kind of answer, is not ours to repeat.
  const headers = withoutHeaders(forwardedHeaders(request), (name) =>
    /^(content-.*|accept|accept-encoding)$/.test(name),
  );
  return { url: request.url!, headers };
}

/** Of the tokens by which a bridge knows a client; of its cookies (which balancers change all the time) where it has none. */
function credentialsDigest({ headers }: IncomingMessage, query: URLSearchParams): string {
  const tokens = [headers.authorization, queryValue(query, 'access_token')];
  const credentials = tokens.some((token) => token !== undefined) ? tokens : [headers.cookie];
  return createHash('sha256').update(JSON.stringify(credentials)).digest('base64');
}
