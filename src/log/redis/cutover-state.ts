// The shared cutover state in Redis, one hash `crossfade:cutover`. In comes the next state with its note for the control
// stream; both are kept in one step, or neither. A commit without an answer is looked up by what the hash holds then.

import type { Redis } from 'ioredis';
import { encodeEntry, originOf } from '../entry.ts';
import { type CommitResult, type Log, maxStreamBytes, type SharedState } from '../log.ts';
import { attempt, type Finding, type WriteParts } from './attempt.ts';
import { ask } from './connections.ts';
import { keys, run } from './scripts.ts';

const answerMs = 2_000;

export function createCutoverState(parts: WriteParts): Pick<Log, 'readState' | 'commitState'> {
  const { commands, options } = parts;
  const { clock } = options;

  return {
    async readState() {
      const question = () => commands.hmget(keys.cutover, 'epoch', 'value');
      const [epoch, value] = await ask(clock, answerMs, 'the cutover state could not be read', question);
      return epoch && value ? { epoch: Number(epoch), value } : undefined;
    },

    async commitState(next, { over, note, withinMs }) {
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
            ...encodeEntry(note, originOf(note, clock.now(), options)),
          ],
        );
      const lookUp = (redis: Redis) => lookUpState(redis, next);
      return (await attempt<CommitResult>(parts, { withinMs, send, lookUp })) as CommitResult;
    },
  };
}

/** A higher epoch may have followed ours: it is a conflict all the same, for another state stands there. */
async function lookUpState(redis: Redis, next: SharedState): Promise<Finding<CommitResult>> {
  const [epoch, value, nowMs] = (await run(redis, 'lookUpState', [keys.cutover])) as [string, string, string];
  const isOurs = Number(epoch) === next.epoch && value === next.value;
  const isTaken = Number(epoch) >= next.epoch;
  return { outcome: isOurs ? 'committed' : isTaken ? 'conflict' : undefined, isOurs, nowMs: Number(nowMs) };
}
