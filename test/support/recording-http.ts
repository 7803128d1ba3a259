// Plain HTTP for the recording: requests go out exactly as written, with no header and no path made nicer.
// In come method, URL, headers and body; out come answers with their bodies, or streams that are still being written.

import { Agent, type ClientRequest, type IncomingMessage, request } from 'node:http';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';

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

/** Beyond what the bridge takes. It may say so and close while such a body is still being written: the answer is lost then. */
const tooLargeBytes = 30_000_000;
/** How long a server may take to refuse such a body by its length alone. */
const headStartMs = 1_000;

export class HttpClient {
  readonly #agent = new Agent({ keepAlive: true });

  async send(method: string, url: string, headers: Record<string, string>, body?: string): Promise<HttpAnswer> {
    return finish(await this.open(method, url, headers, body));
  }

  /** As send(), but resolves with the answer's head: the body is still to be read. */
  async open(method: string, url: string, headers: Record<string, string>, body = ''): Promise<IncomingMessage> {
    const { origin } = new URL(url);
    // The path as it is written: URL would change it.
    const path = url.slice(origin.length);
    const outgoing = request(origin, { method, path, headers, agent: this.#agent });
    const answer = answered(outgoing);
    const isRefused = body.length > tooLargeBytes && (await isAnsweredEarly(outgoing, answer, body));
    if (!isRefused) outgoing.end(body);
    return answer;
  }

  /** Asks for a WebSocket that is to be refused. */
  async upgrade(url: string): Promise<HttpAnswer> {
    return finish(await answered(request(url, { headers: upgradeHeaders, agent: false }).end()));
  }

  close(): void {
    this.#agent.destroy();
  }
}

/** Sends the head alone. */
async function isAnsweredEarly(outgoing: ClientRequest, answer: Promise<unknown>, body: string): Promise<boolean> {
  outgoing.setHeader('content-length', Buffer.byteLength(body)).flushHeaders();
  return (await Promise.race([answer, sleep(headStartMs, 'late')])) !== 'late';
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
