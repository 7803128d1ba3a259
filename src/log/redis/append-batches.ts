// Appends on their way to Redis: what one turn of the event loop brings travels as one script call, with an answer for each. In comes one
// append's part of the call, out goes what Redis says of it. Promises: appends go in the order in which they came; what fails one of
// them fails no other, unless the whole call had no answer: then none of them has one.

import { type Redis, ReplyError } from 'ioredis';
import { keys, run } from './scripts.ts';

/** What one append adds to the call: see the script `append`. */
export interface AppendPart {
  keys: string[];
  args: (string | number)[];
  /** About how much it adds. */
  chars: number;
}

interface WaitingAppend {
  part: AppendPart;
  resolve(answer: unknown): void;
  reject(error: unknown): void;
}

/** Redis does nothing else while it runs a script: 64 appends take it about 1 ms. */
const maxAppends = 64;
const maxChars = 256 * 1024;

export class AppendBatches {
  readonly #redis: Redis;
  readonly #maxStreamBytes: number;
  #waiting: WaitingAppend[] = [];

  /** @param redis a connection that writes each command at once */
  constructor(redis: Redis, maxStreamBytes: number) {
    this.#redis = redis;
    this.#maxStreamBytes = maxStreamBytes;
  }

  /** @returns the script's answer to this append. Rejects as the connection does, or with Redis' refusal of this append. */
  send(part: AppendPart): Promise<unknown> {
    if (this.#waiting.length === 0) setImmediate(() => this.#sendAll());
    return new Promise((resolve, reject) => this.#waiting.push({ part, resolve, reject }));
  }

  #sendAll(): void {
    const all = this.#waiting;
    this.#waiting = [];
    let first = 0;
    let chars = 0;
    for (const [index, { part }] of all.entries()) {
      const isFull = index - first === maxAppends || chars + part.chars > maxChars;
      if (isFull && index > first) {
        this.#sendOne(all.slice(first, index));
        first = index;
        chars = 0;
      }
      chars += part.chars;
    }
    this.#sendOne(all.slice(first));
  }

  #sendOne(batch: WaitingAppend[]): void {
    const keyNames = [keys.clock, keys.cutover];
    const args: (string | number)[] = [this.#maxStreamBytes];
    for (const { part } of batch) {
      for (const key of part.keys) keyNames.push(key);
      for (const arg of part.args) args.push(arg);
    }
    run(this.#redis, 'append', keyNames, args).then(
      (answers) => {
        for (const [index, { resolve, reject }] of batch.entries()) {
          const answer = (answers as unknown[])[index];
          if (answer instanceof ReplyError) reject(answer);
          else resolve(answer);
        }
      },
      (error) => {
        for (const { reject } of batch) reject(error);
      },
    );
  }
}
