// Plain HTTP for the recording: requests go out exactly as written, with no header and no path made nicer.
// In come method, URL, headers and body; out come answers with their bodies, or streams that are still being written.

import { Agent, type ClientRequest, type IncomingMessage, request } from 'node:http';
import { text } from 'node:stream/consumers';

export interface HttpAnswer {
  status: number;
  headers: Record<string, string>;
  body: string;
}

const upgradeHeaders = {
  connection: 'Upgrade',
  upgrade: 'websocket',
  'sec-websocket-version': '13',
  'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
};

export class HttpClient {
  readonly #agent = new Agent({ keepAlive: true });

  async send(method: string, url: string, headers: Record<string, string>, body?: string): Promise<HttpAnswer> {
    return finish(await this.open(method, url, headers, body));
  }

  /** As send(), but resolves with the answer's head: the body is still to be read. */
  open(method: string, url: string, headers: Record<string, string>, body?: string): Promise<IncomingMessage> {
    const { origin } = new URL(url);
    // The path as it is written: URL would change it.
    const path = url.slice(origin.length);
    const outgoing = request(origin, { method, path, headers, agent: this.#agent });
    outgoing.end(body);
    return answered(outgoing);
  }

  /** Asks for a WebSocket that is to be refused. */
  async upgrade(url: string): Promise<HttpAnswer> {
    return finish(await answered(request(url, { headers: upgradeHeaders, agent: false }).end()));
  }

  close(): void {
    this.#agent.destroy();
  }
}

function answered(outgoing: ClientRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    outgoing.on('response', resolve).on('error', reject);
    outgoing.on('upgrade', (_, socket) => {
      socket.destroy();
      reject(new Error('the WebSocket was not refused'));
    });
  });
}

async function finish(answer: IncomingMessage): Promise<HttpAnswer> {
  return { status: answer.statusCode!, headers: answer.headers as Record<string, string>, body: await text(answer) };
}
