// Gives up a connection to Redis that owes an answer and says nothing. Waiting is counted in looks, not by the clock: a
// process that stood still (SIGSTOP, a paused machine) finds the answers in its socket when it goes on, and must not take its
// own absence for Redis' silence.

import type { Socket } from 'node:net';
import type { Redis } from 'ioredis';
import type { Clock } from '../../telemetry/clock.ts';

/** What ioredis keeps, and declares as its own: the socket, and the commands that were sent and not answered. */
interface Inside {
  stream: Socket;
  commandQueue: { length: number };
}

const lookMs = 250;

/** @param silenceMs how long an answer may be owed without a byte from Redis */
export function endSilence(redis: Redis, silenceMs: number, clock: Clock): void {
  const inside = redis as unknown as Inside;
  let looks = 0;
  redis.on('connect', () => {
    looks = 0;
    inside.stream.on('data', () => {
      looks = 0;
    });
  });
  const stop = clock.every(lookMs, () => {
    looks = inside.commandQueue.length === 0 ? 0 : looks + 1;
    if (looks * lookMs < silenceMs) return;
    looks = 0;
    inside.stream.destroy(new Error(`Redis owed an answer and said nothing for ${silenceMs} ms`));
  });
  redis.on('end', stop);
}
