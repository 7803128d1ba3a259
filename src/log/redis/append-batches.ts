// Appends on their way to Redis: what one turn of the event loop brings travels as one script call, with an answer for each. In comes one
// append's part of the call, out goes what Redis says of it. Promises: appends go, and are read, in the order in which they came; what
// fails one of them fails no other, unless the whole call had no answer: then none of them has one.

import { type Redis, ReplyError } from 'ioredis';
import { keys, run } from './scripts.ts';

/** What one append adds to the call: see the script `append`. */
export interface AppendPart {
  stream: string;
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

/** The appends of one script call. */
class ScriptCall {
  readonly appends: WaitingAppend[] = [];
  readonly #streams = new Set<string>();
  #chars = 0;

  hasRoomFor({ stream, chars }: AppendPart): boolean {
    const last = this.appends.at(-1)?.part;
    if (last === undefined) return true;
    // Redis before 7.2 gives a reader that waits on several streams the first that a script has written, with all that it wrote there: of
    // chat, ticket, chat the reader would be given the second chat before the ticket.
    const comesBack = stream !== last.stream && this.#streams.has(stream);
    return !comesBack && this.appends.length < maxAppends && this.#chars + chars <= maxChars;
  }

  add(append: WaitingAppend): void {
    this.appends.push(append);
    this.#streams.add(append.part.stream);
    this.#chars += append.part.chars;
  }
}

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
    const waiting = this.#waiting;
    this.#waiting = [];
    let call = new ScriptCall();
    for (const append of waiting) {
      if (!call.hasRoomFor(append.part)) {
        this.#sendOne(call.appends);
        call = new ScriptCall();
      }
      call.add(append);
    }
    this.#sendOne(call.appends);
  }

  #sendOne(batch: readonly WaitingAppend[]): void {
    const keyNames = [keys.clock, keys.cutover];
    const args: (string | number)[] = [this.#maxStreamBytes];
    for (const { part } of batch) {
      keyNames.push(part.stream, ...part.keys);
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
