// The server of the demo's page: in come the page's requests, out go its files, its events (server-sent) and what the demo
// answers. Promises: only the page itself is answered, so that no other site in the visitor's browser moves the percent or
// reads the demo's tokens.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { assetText } from '../assets.ts';
import { addressOf, listenOn } from '../listen.ts';

export interface PageOptions {
  /** What the page asks for, by `METHOD /path`; the body is the request's JSON. The result is answered as JSON. */
  routes: Record<string, (body: Body, query: URLSearchParams) => Promise<PageAnswer> | PageAnswer>;
  /** What a page that has just opened its events gets to know first. */
  greeting(): object;
  /** The first page has come, or the last one has gone. */
  onWatched(watched: boolean): void;
}

// biome-ignore lint/suspicious/noExplicitAny: the demo's own page writes these bodies.
type Body = any;

export interface PageAnswer {
  status: number;
  body: unknown;
}

const host = '127.0.0.1';
const maxBodyBytes = 64 * 1024;
const files: Record<string, () => { type: string; text: string }> = {
  '/': () => ({ type: 'text/html; charset=utf-8', text: assetText('page.html') }),
  '/page.js': () => ({ type: 'text/javascript; charset=utf-8', text: assetText('page.js') }),
  '/signalr.js': () => ({ type: 'text/javascript; charset=utf-8', text: assetText('signalr.min.js') }),
};

export class PageServer {
  readonly #server: Server;
  readonly #watchers = new Set<ServerResponse>();

  private constructor(server: Server) {
    this.#server = server;
  }

  /** Errors: CONFIG_INVALID where the port is taken. */
  static async listen(port: number): Promise<PageServer> {
    const server = createServer();
    await listenOn(server, { host, port }, '--port');
    return new PageServer(server);
  }

  get url(): string {
    return `http://${host}:${addressOf(this.#server).port}`;
  }

  /** From now on requests are answered. */
  serve(options: PageOptions): void {
    this.#server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      this.#answer(request, response, options).catch((error: Error) => {
        if (!response.headersSent) writeAnswer(response, { status: 502, body: { message: error.message } });
      });
    });
  }

  /** Tells every open page. */
  tell(kind: string, value: object): void {
    for (const watcher of this.#watchers) watcher.write(eventText(kind, value));
  }

  get isWatched(): boolean {
    return this.#watchers.size > 0;
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  async #answer(request: IncomingMessage, response: ServerResponse, options: PageOptions): Promise<void> {
    const { pathname, searchParams } = new URL(request.url!, this.url);
    // By another name (localhost) this is another origin, which the bridge would not let in.
    if (`http://${request.headers.host}` !== this.url)
      return void response.writeHead(307, { Location: this.url }).end();
    if (!this.#isFromPage(request))
      return writeAnswer(response, { status: 403, body: { message: 'not the demo’s page' } });
    const file = request.method === 'GET' ? files[pathname] : undefined;
    if (file !== undefined) return writeFile(response, file());
    if (request.method === 'GET' && pathname === '/events') return this.#watch(response, options);
    const route = options.routes[`${request.method} ${pathname}`];
    if (route === undefined) return writeAnswer(response, { status: 404, body: { message: 'not found' } });
    writeAnswer(response, await route(await readJson(request), searchParams));
  }

  /** Browsers name the origin with whatever changes something, and with whatever another origin asks for. */
  #isFromPage({ method, headers }: IncomingMessage): boolean {
    return method === 'GET' ? (headers.origin ?? this.url) === this.url : headers.origin === this.url;
  }

  #watch(response: ServerResponse, { greeting, onWatched }: PageOptions): void {
    response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
    response.write(eventText('greeting', greeting()));
    this.#watchers.add(response);
    if (this.#watchers.size === 1) onWatched(true);
    response.on('close', () => {
      this.#watchers.delete(response);
      if (this.#watchers.size === 0) onWatched(false);
    });
  }
}

/** Error: what is no JSON, or too long. */
async function readJson(request: IncomingMessage): Promise<unknown> {
  let text = '';
  for await (const chunk of request.setEncoding('utf8')) {
    text += chunk;
    if (text.length > maxBodyBytes) throw new Error('the body is too long');
  }
  return text === '' ? {} : JSON.parse(text);
}

function eventText(kind: string, value: object): string {
  return `event: ${kind}\ndata: ${JSON.stringify(value)}\n\n`;
}

function writeFile(response: ServerResponse, { type, text }: { type: string; text: string }): void {
  response.writeHead(200, { 'Content-Type': type, 'Cache-Control': 'no-store' }).end(text);
}

function writeAnswer(response: ServerResponse, { status, body }: PageAnswer): void {
  response
    .writeHead(status, { 'Content-Type': 'application/json; charset=utf-8', 'Cache-Control': 'no-store' })
    .end(JSON.stringify(body));
}
