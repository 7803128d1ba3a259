// Whether something happened a short while ago: in come keys, out goes whether one came within a fixed time. Bounded, see
// expiring-map.ts.

import { ExpiringMap, type ExpiryOptions } from './expiring-map.ts';

export class Recent {
  readonly #keys: ExpiringMap<undefined>;

  constructor(options: ExpiryOptions) {
    this.#keys = new ExpiringMap(options);
  }

  get size(): number {
    return this.#keys.size;
  }

  has(key: string): boolean {
    return this.#keys.has(key);
  }

  /** The keys that count, oldest first, with the ms for which they still do. */
  remaining(): { key: string; leftMs: number }[] {
    return this.#keys.remaining();
  }

  /** From now on it counts for the whole time, known or not. */
  renew(key: string): void {
    this.#keys.set(key, undefined);
  }

  /** Remembers a new key; one that is known counts no longer for it. @returns whether it is new */
  add(key: string): boolean {
    if (this.has(key)) return false;
    this.renew(key);
    return true;
  }
}
