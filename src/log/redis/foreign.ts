// Who else reads the streams. In come their names, out go the consumer groups that crossfade did not make and that somebody
// reads. In doubt a group counts as read: an event that a bridge shows as well would reach its clients twice.

import type { Redis } from 'ioredis';
import { comparePositions, type ForeignReader, type LogOptions, type Position } from '../log.ts';
import { ask } from './connections.ts';
import { keys, run } from './scripts.ts';

const answerMs = 2_000;

/** A group as the script `foreignGroups` replies it. */
interface ForeignGroup extends ForeignReader {
  /** Since its latest consumer last did something, in ms; Infinity where it has none. */
  idleMs: number;
  isAtTail: boolean;
}

/**
 * Redis notes when a consumer was last active (XINFO CONSUMERS), but not its waits: before 7.2 a read that brings nothing
 * leaves no trace, and no version notes a BLOCK that goes on. On a quiet stream a live reader then looks like a dead one, at
 * the tail and idle. There a connection tells: one that is not crossfade's and whose last command was a reader's.
 */
export async function foreignReaders(
  redis: Redis,
  streams: string[],
  withinMs: number,
  { clock }: LogOptions,
): Promise<ForeignReader[]> {
  const groups = await ask(clock, answerMs, 'the consumer groups could not be looked at', async () => {
    const found = (await run(redis, 'foreignGroups', [keys.groups, ...streams])) as RawGroup[];
    return found.map(readGroup);
  });
  const isActive = ({ idleMs }: ForeignGroup) => idleMs < withinMs;
  const mayWait = (group: ForeignGroup) => !isActive(group) && group.isAtTail;
  const somebodyWaits = groups.some(mayWait) && (await hasForeignReader(redis, withinMs));
  return groups
    .filter((group) => isActive(group) || (somebodyWaits && mayWait(group)))
    .map(({ stream, group }) => ({ stream, group }));
}

type RawGroup = [stream: string, group: string, readTo: Position, top: Position, idleMs: number];

function readGroup([stream, group, readTo, top, idleMs]: RawGroup): ForeignGroup {
  return {
    stream,
    group,
    idleMs: idleMs < 0 ? Number.POSITIVE_INFINITY : idleMs,
    isAtTail: comparePositions(top || '0-0', readTo) <= 0,
  };
}

const readersCommand = /^(xreadgroup|xack|xautoclaim|xclaim|xpending)$/;

/** Whether a connection that is not crossfade's reads by groups. A user without the right to CLIENT LIST cannot tell. */
async function hasForeignReader(redis: Redis, withinMs: number): Promise<boolean> {
  let list: string;
  try {
    list = (await redis.client('LIST', 'TYPE', 'NORMAL')) as string;
  } catch {
    return true;
  }
  return list.split('\n').some((line) => {
    const fields = new Map(line.split(' ').map((field) => field.split('=', 2) as [string, string]));
    if (!readersCommand.test(fields.get('cmd') ?? '') || fields.get('name')?.startsWith('crossfade:')) return false;
    return fields.get('flags')!.includes('b') || Number(fields.get('idle')) * 1000 < withinMs;
  });
}
