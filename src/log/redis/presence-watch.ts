// Presence keys that another program changes or removes, told at once: in come Redis' own invalidations of every key with the prefixes of
// presence, out go their names. Source: https://redis.io/docs/latest/develop/reference/client-side-caching/ (broadcasting, RESP2).

import type { Redis } from 'ioredis';
import { keys } from './scripts.ts';

const channel = '__redis__:invalidate';

export interface PresenceWatchParts {
  redis: Redis;
  /** The key was written or removed by somebody, this replica included. */
  onChanged(key: string): void;
  /** Changes may have been missed. */
  onMissed(): void;
  onFailed(error: unknown): void;
}

export class PresenceWatch {
  readonly #parts: PresenceWatchParts;
  readonly #redis: Redis;

  /** @param redis whose address and credentials the watch's own connection takes */
  constructor(parts: PresenceWatchParts) {
    this.#parts = parts;
    this.#redis = parts.redis.duplicate({
      connectionName: 'crossfade:presence',
      // In RESP3 they come as a kind of push that ioredis passes over.
      protocol: 2,
      enableAutoPipelining: false,
      autoResubscribe: false,
    });
    // The commands' connection says that Redis is away.
    this.#redis.on('error', () => {});
    this.#redis.on('ready', () => this.#begin().catch((error) => this.#parts.onFailed(error)));
    this.#redis.on('messageBuffer', (_channel: Buffer, names: unknown) => this.#take(names));
  }

  stop(): void {
    this.#redis.disconnect();
  }

  async #begin(): Promise<void> {
    const id = await this.#redis.client('ID');
    const prefixes = [keys.presenceDesktopPrefix, keys.presenceUser('')].flatMap((prefix) => ['PREFIX', prefix]);
    await this.#redis.call('CLIENT', 'TRACKING', 'ON', 'REDIRECT', String(id), 'BCAST', ...prefixes);
    await this.#redis.subscribe(channel);
    this.#parts.onMissed();
  }

  /** ioredis hands the message on as Redis has it: an array of names; null where all keys are gone. */
  #take(names: unknown): void {
    if (!Array.isArray(names)) return this.#parts.onMissed();
    for (const name of names) this.#parts.onChanged(String(name));
  }
}
