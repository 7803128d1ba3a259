// A client of native hubs by plain requests: a connection's polls, posts and event stream, each as the test asks for it.

import type { TestContext } from 'node:test';
import { until } from '../../support/wait.ts';

export const separator = '\x1e';
export const handshake = `{"protocol":"json","version":1}${separator}`;

export interface Answer {
  status: number;
  type: string | null;
  body: string;
}

export class HttpClient {
  readonly #url: string;
  readonly #headers: Record<string, string>;
  readonly #id: string;
  readonly #left = new AbortController();

  private constructor(url: string, headers: Record<string, string>, id: string) {
    this.#url = url;
    this.#headers = headers;
    this.#id = id;
  }

  /** @param url of the hub */
  static async negotiate(t: TestContext, url: string, token: string): Promise<HttpClient> {
    const headers = { authorization: `Bearer ${token}` };
    const answer = await fetch(`${url}/negotiate?negotiateVersion=1`, { method: 'POST', headers });
    const { connectionToken } = (await answer.json()) as { connectionToken: string };
    const client = new HttpClient(url, headers, connectionToken);
    t.after(() => client.#left.abort());
    return client;
  }

  /** Over long polling, its handshake behind it. */
  static async polling(t: TestContext, url: string, token: string): Promise<HttpClient> {
    const client = await HttpClient.negotiate(t, url, token);
    await client.poll();
    await client.post(handshake);
    await client.pollUntil('{}');
    return client;
  }

  /** The same connection, asked for by somebody else. */
  as(token: string): HttpClient {
    return new HttpClient(this.#url, { authorization: `Bearer ${token}` }, this.#id);
  }

  get address(): string {
    return `${this.#url}?id=${this.#id}`;
  }

  poll(signal?: AbortSignal): Promise<Answer> {
    return this.#ask('GET', undefined, signal);
  }

  /** Polls until the answers hold this. Rejects where the connection is over before. */
  async pollUntil(text: string): Promise<string> {
    let all = '';
    while (!all.includes(text)) {
      const { status, body } = await this.poll();
      if (status !== 200) throw new Error(`a poll was answered ${status} before ${text} came, behind ${all}`);
      all += body;
    }
    return all;
  }

  post(body: string): Promise<Answer> {
    return this.#ask('POST', body);
  }

  invoke(target: string, ...args: unknown[]): Promise<Answer> {
    return this.post(JSON.stringify({ type: 1, invocationId: '0', target, arguments: args }) + separator);
  }

  remove(): Promise<Answer> {
    return this.#ask('DELETE');
  }

  async stream(): Promise<EventReader> {
    const headers = { ...this.#headers, accept: 'text/event-stream' };
    const response = await fetch(this.address, { headers, signal: this.#left.signal });
    return new EventReader(response);
  }

  async #ask(method: string, body?: string, signal = this.#left.signal): Promise<Answer> {
    const response = await fetch(this.address, { method, headers: this.#headers, signal, ...(body && { body }) });
    const { status, headers } = response;
    return { status, type: headers.get('content-type'), body: await response.text() };
  }
}

export class EventReader {
  readonly status: number;
  text = '';
  ended = false;

  constructor(response: Response) {
    this.status = response.status;
    this.#read(response).catch(() => {
      this.ended = true;
    });
  }

  until(text: string): Promise<unknown> {
    return until(() => this.text.includes(text), { what: () => `${text} in ${this.text}` });
  }

  async #read(response: Response): Promise<void> {
    const decoder = new TextDecoder();
    for await (const bytes of response.body!) this.text += decoder.decode(bytes, { stream: true });
    this.ended = true;
  }
}
