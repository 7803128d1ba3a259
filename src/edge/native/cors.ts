// CORS with credentials for exactly the configured origins, on every answer, also on refusals (ASP.NET's middleware).

import type { IncomingMessage, ServerResponse } from 'node:http';

export class Cors {
  readonly #origins: ReadonlySet<string>;

  /** @param origins exact origins, such as `https://app.example` */
  constructor(origins: Iterable<string>) {
    this.#origins = new Set(origins);
  }

  /** Sets the headers of the actual answer. */
  apply(request: IncomingMessage, response: ServerResponse): void {
    const { origin } = request.headers;
    if (origin === undefined || !this.#origins.has(origin)) return;
    response.setHeader('Access-Control-Allow-Credentials', 'true');
    response.setHeader('Access-Control-Allow-Origin', origin);
    response.setHeader('Vary', 'Origin');
  }

  /** Answers a preflight; other origins get a bare 204. @returns whether it was one */
  answerPreflight(request: IncomingMessage, response: ServerResponse): boolean {
    const method = request.headers['access-control-request-method'];
    if (request.method !== 'OPTIONS' || method === undefined || request.headers.origin === undefined) return false;
    this.apply(request, response);
    if (response.hasHeader('Access-Control-Allow-Origin')) {
      const headers = request.headers['access-control-request-headers'];
      if (headers !== undefined) response.setHeader('Access-Control-Allow-Headers', headers);
      response.setHeader('Access-Control-Allow-Methods', method);
    }
    response.writeHead(204).end();
    return true;
  }
}
