// One write to Redis with its outcome. In comes a script that refuses itself after a deadline in Redis' own time; out goes
// its answer. A missing answer is looked up over another connection; what is refused can never be written later.

import type { Redis } from 'ioredis';
import { CrossfadeError, type FailureReason } from '../../errors.ts';
import { pause } from '../../telemetry/clock.ts';
import type { LogOptions } from '../log.ts';
import { isReady, isServerError, noAnswer, wasNeverSent, within, withoutArguments } from './connections.ts';
import type { ServerClock } from './server-clock.ts';

export interface WriteParts {
  /** Pipelined automatically. */
  commands: Redis;
  /** Separate, so that a look-up never waits behind the write that has no answer. */
  lookUps: Redis;
  serverClock: ServerClock;
  options: LogOptions;
}

export interface Attempt<Outcome> {
  /** ms that Redis may take; the look-up has as many, and what the write has left of its own. */
  withinMs: number;
  /** @param deadline Redis' time in ms after which the script must refuse */
  send(deadline: number): Promise<unknown>;
  lookUp(redis: Redis): Promise<Finding<Outcome>>;
}

/** What a look-up found. */
export interface Finding<Outcome> {
  /** undefined: nothing of the write is there, and nothing that forbids it. */
  outcome: Outcome | undefined;
  /** Whether the write itself was found: then no later moment can change the outcome. */
  isOurs: boolean;
  /** Redis' time in ms. */
  nowMs: number;
}

/**
 * @returns the script's own answer, or what the look-up found in its place
 * Errors: LOG_APPEND_REFUSED (certainly not written), LOG_APPEND_UNKNOWN.
 */
export async function attempt<Outcome>(parts: WriteParts, write: Attempt<Outcome>): Promise<unknown> {
  const deadline = parts.serverClock.deadline(write.withinMs);
  if (deadline === undefined) throw refused('connection_lost', 'there is no connection to Redis');
  const { clock } = parts.options;
  const endsAt = clock.monotonic() + 2 * write.withinMs;
  let reason: FailureReason = 'timeout';
  try {
    const answer = await within(clock, write.withinMs, write.send(deadline));
    if (answer !== noAnswer) return answer;
  } catch (error) {
    if (isServerError(error)) throw refused('redis_error', withoutArguments(error).message, error);
    if (wasNeverSent(error)) throw refused('connection_lost', 'there is no connection to Redis', error);
    reason = 'connection_lost';
  }
  // Where the process has stood still meanwhile, the look-up still gets its time.
  const giveUpAt = Math.max(endsAt, clock.monotonic() + write.withinMs);
  return find(parts, write, { deadline, giveUpAt, reason });
}

export function refused(reason: FailureReason, why: string, cause?: unknown): CrossfadeError {
  return new CrossfadeError('LOG_APPEND_REFUSED', `the log kept nothing: ${why}`, {
    reason,
    ...(cause !== undefined && { cause: withoutArguments(cause) }),
  });
}

/** Asks until Redis says either that the write is there or that it is too late for it. */
async function find<Outcome>(
  { lookUps, options: { clock } }: WriteParts,
  write: Attempt<Outcome>,
  { deadline, giveUpAt, reason }: { deadline: number; giveUpAt: number; reason: FailureReason },
): Promise<Outcome> {
  // Behind the same address there may be another Redis by then, one that never had what the first one has shown to its readers.
  let mayBeAnother = false;
  for (;;) {
    const leftMs = giveUpAt - clock.monotonic();
    const finding = await findOnce(lookUps, write, clock, leftMs);
    if (finding === 'no connection') mayBeAnother = true;
    const isFinal = typeof finding === 'object' && (finding.isOurs || finding.nowMs > deadline);
    if (isFinal && finding.outcome !== undefined) return finding.outcome;
    if (isFinal && !mayBeAnother) throw refused(reason, 'Redis did not answer in time');
    const pauseMs = finding === 'no connection' ? 10 : leftMs / 8;
    if (isFinal || finding === 'no answer' || leftMs <= pauseMs) {
      throw new CrossfadeError(
        'LOG_APPEND_UNKNOWN',
        'Redis did not answer, and what it was sent could not be looked up',
        {
          reason,
        },
      );
    }
    await pause(clock, pauseMs);
  }
}

async function findOnce<Outcome>(
  lookUps: Redis,
  write: Attempt<Outcome>,
  clock: LogOptions['clock'],
  ms: number,
): Promise<Finding<Outcome> | 'no connection' | 'no answer'> {
  if (!isReady(lookUps)) return 'no connection';
  try {
    const finding = await within(clock, ms, write.lookUp(lookUps));
    return finding === noAnswer ? 'no answer' : finding;
  } catch (error) {
    // What broke the connection of the write breaks this one as well, perhaps a moment later: the look-up is made again.
    return isServerError(error) ? 'no answer' : 'no connection';
  }
}
