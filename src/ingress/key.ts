// The key check, as the bridge does it: before the route, for everything under /internal, in constant time. In comes a request, out
// goes what to refuse it with, if anything.

import type { IncomingMessage } from 'node:http';
import { isSecret } from '../secret.ts';

export interface Refusal {
  status: 401 | 403;
  body: { error: string };
}

export class KeyCheck {
  readonly #key: string | undefined;

  /** @param key undefined: everyone is let in */
  constructor(key: string | undefined) {
    this.#key = key;
  }

  /** @returns what to answer, or undefined for a request with the right `X-Internal-Api-Key` */
  refuse(request: IncomingMessage): Refusal | undefined {
    if (this.#key === undefined) return undefined;
    const given = request.headers['x-internal-api-key'];
    if (given === undefined) return { status: 401, body: { error: 'API key required' } };
    if (isSecret(String(given), this.#key)) return undefined;
    return { status: 403, body: { error: 'Invalid API key' } };
  }
}
