// The shared cutover state in Redis, one hash `crossfade:cutover`. In comes the next state with its note for the control
// stream; both are kept in one step, or neither. A commit without an answer is looked up by what the hash holds then.

import type { Redis } from 'ioredis';
import { encodeEntry, originOf } from '../entry.ts';
import { type CommitOptions, type CommitResult, maxStreamBytes, type StateCell, type StoredState } from '../log.ts';
import { attempt, type Finding, type WriteParts } from './attempt.ts';
import { ask } from './connections.ts';
import { keys, run } from './scripts.ts';

const answerMs = 2_000;

export class RedisStateCell implements StateCell {
  readonly #parts: WriteParts;

  constructor(parts: WriteParts) {
    this.#parts = parts;
  }

  async readState(): Promise<StoredState | undefined> {
    const { commands, options } = this.#parts;
    const question = () => commands.hmget(keys.cutover, 'epoch', 'value');
    const [epoch, value] = await ask(options.clock, answerMs, 'the cutover state could not be read', question);
    return epoch && value ? { epoch: Number(epoch), value } : undefined;
  }

  async commitState(next: StoredState, { over, note, withinMs }: CommitOptions): Promise<CommitResult> {
    const { commands, options } = this.#parts;
    const send = (deadline: number) =>
      run(
        commands,
        'commit',
        [keys.cutover, note.stream, keys.clock],
        [
          deadline,
          over,
          next.epoch,
          next.value,
          note.maxLength,
          options.maxStreamBytes ?? maxStreamBytes,
          ...encodeEntry(note, originOf(note, options.clock.now(), options)),
        ],
      );
    const lookUp = (redis: Redis) => lookUpState(redis, next);
    return (await attempt<CommitResult>(this.#parts, { withinMs, send, lookUp })) as CommitResult;
  }
}

/** A higher epoch may have followed ours: it is a conflict all the same, for another state stands there. */
async function lookUpState(redis: Redis, next: StoredState): Promise<Finding<CommitResult>> {
  const [epoch, value, nowMs] = (await run(redis, 'lookUpState', [keys.cutover])) as [string, string, string];
  const isOurs = Number(epoch) === next.epoch && value === next.value;
  const isTaken = Number(epoch) >= next.epoch;
  return { outcome: isOurs ? 'committed' : isTaken ? 'conflict' : undefined, isOurs, nowMs: Number(nowMs) };
}
