// The key check, as the bridge does it: before the route, for everything under /internal, in constant time.

import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

export interface Refusal {
  status: 401 | 403;
  body: { error: string };
}

export class KeyCheck {
  readonly #digest: Buffer | undefined;

  /** @param key undefined: everyone is let in */
  constructor(key: string | undefined) {
    if (key !== undefined) this.#digest = digest(key);
  }

  /** @returns what to answer, or undefined for a request with the right `X-Internal-Api-Key` */
  refuse(request: IncomingMessage): Refusal | undefined {
    if (this.#digest === undefined) return undefined;
    const given = request.headers['x-internal-api-key'];
    if (given === undefined) return { status: 401, body: { error: 'API key required' } };
    // Digests have one length, so that the comparison tells nothing of the key's.
    if (timingSafeEqual(digest(String(given)), this.#digest)) return undefined;
    return { status: 403, body: { error: 'Invalid API key' } };
  }
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
