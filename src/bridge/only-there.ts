// What callers ask for that the bridge alone knows: in come requests which it has answered, out go the latest, with how often and when.
// Promise: bounded, however many different paths somebody asks for.

import { setNewest } from '../keep-newest.ts';

export interface OnlyAtBridge {
  /** Method and path, without a query. */
  request: string;
  count: number;
  /** ms since 1970, of the last one. */
  lastMs: number;
}

const maxRequests = 50;
const maxChars = 120;

export class OnlyThere {
  readonly #requests = new Map<string, OnlyAtBridge>();

  note(method: string, path: string, nowMs: number): void {
    const request = `${method} ${path}`.slice(0, maxChars);
    const count = (this.#requests.get(request)?.count ?? 0) + 1;
    setNewest(this.#requests, request, { request, count, lastMs: nowMs }, maxRequests);
  }

  get all(): OnlyAtBridge[] {
    return [...this.#requests.values()];
  }
}
