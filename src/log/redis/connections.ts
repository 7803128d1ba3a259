// A connection to Redis with the settings that the log's promises need: in comes an address, out goes a client that
// connects again forever and never sends a command twice, or later than it was asked to.

import { type ChainableCommander, Redis, type RedisOptions, ReplyError } from 'ioredis';
import { VerbatimString } from 'ioredis/built/resp/verbatim-string.js';
import { CrossfadeError, type FailureReason } from '../../errors.ts';
import type { RedisAddress } from '../../redis-url.ts';
import { type Clock, pause } from '../../telemetry/clock.ts';
import type { Logger } from '../../telemetry/logger.ts';
import { scriptOptions } from './scripts.ts';
import { endSilence } from './silence.ts';

// This class of ioredis extends String. As long as it has no instance, V8 finds no method of any string in the process at once:
// reading a text of 1 MiB character by character takes 150 ms in place of 20.
new VerbatimString('txt', '');

/** A Redis that is silent this long while it owes an answer is given up; what was not answered fails then. */
const silenceMs = 2_000;
/** Below the time after which a holder of an instance name that is not connected counts as dead, see lease.ts. */
const maxRetryDelayMs = 250;

/**
 * ioredis repeats what was under way when a connection broke; an entry would be written twice. Here it fails instead.
 * @param role what it is for, as log lines and `CLIENT LIST` show it
 */
export function connect(
  address: RedisAddress,
  role: string,
  { clock, logger }: { clock: Clock; logger: Logger },
  options: RedisOptions = {},
): Redis {
  const { host, port, db, username, password } = address;
  const redis = new Redis({
    host,
    port,
    db,
    ...(username && { username }),
    ...(password && { password }),
    ...(address.tls && { tls: {} }),
    connectionName: `crossfade:${role}`,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    retryStrategy: (attempt) => Math.min(25 * 2 ** attempt, maxRetryDelayMs),
    connectTimeout: silenceMs,
    scripts: scriptOptions,
    ...options,
  });
  endSilence(redis, silenceMs, clock);
  logOutages(redis, role, logger);
  return redis;
}

/** One line when it breaks and one when it is back, however many attempts lie between. */
function logOutages(redis: Redis, role: string, logger: Logger): void {
  let broken = false;
  redis.on('error', (error: Error) => {
    if (broken) return;
    broken = true;
    logger.warn({ role, reason: error.message }, 'no connection to Redis');
  });
  redis.on('ready', () => {
    if (broken) logger.info({ role }, 'connected to Redis again');
    broken = false;
  });
}

export function isReady(redis: Redis): boolean {
  return redis.status === 'ready';
}

const readyPollMs = 10;

/** @param goesOn asked between looks; waiting ends when it says no */
export async function untilReady(redis: Redis, clock: Clock, goesOn: () => boolean): Promise<void> {
  while (!isReady(redis) && goesOn()) await pause(clock, readyPollMs);
}

/** Redis' own refusal, such as OOM or READONLY: certainly nothing was done. */
export function isServerError(error: unknown): boolean {
  return error instanceof ReplyError;
}

/** The client refused to send it, for want of a connection: certainly nothing was done. */
export function wasNeverSent(error: unknown): boolean {
  return error instanceof Error && error.message.startsWith("Stream isn't writeable");
}

export const noAnswer = Symbol('no answer');

/**
 * The promise's value, or `noAnswer` after `ms`. A later failure of the promise is ignored. What is in the socket by then
 * counts as answered: a process that stood still must not take its own absence for Redis' silence.
 */
export function within<T>(clock: Clock, ms: number, promise: Promise<T>): Promise<T | typeof noAnswer> {
  return new Promise((resolve, reject) => {
    const cancel = clock.after(ms, () => setImmediate(() => resolve(noAnswer)));
    promise.then(
      (value) => {
        cancel();
        resolve(value);
      },
      (error) => {
        cancel();
        reject(error);
      },
    );
  });
}

/** ioredis hangs the command with its arguments on its errors: payloads, which no log line may hold. */
export function withoutArguments(error: unknown): Error {
  return new Error(error instanceof Error ? error.message : String(error));
}

export function unavailable(what: string, reason: FailureReason, cause?: unknown): CrossfadeError {
  return new CrossfadeError('LOG_UNAVAILABLE', what, {
    reason,
    ...(cause !== undefined && { cause: withoutArguments(cause) }),
  });
}

/** Asks Redis something that needs an answer within `ms`. Error: LOG_UNAVAILABLE, whose message begins with `what`. */
export async function ask<T>(clock: Clock, ms: number, what: string, question: () => Promise<T>): Promise<T> {
  let answer: T | typeof noAnswer;
  try {
    answer = await within(clock, ms, question());
  } catch (error) {
    throw unavailable(
      `${what}: ${withoutArguments(error).message}`,
      isServerError(error) ? 'redis_error' : 'connection_lost',
      error,
    );
  }
  if (answer === noAnswer) throw unavailable(`${what}: no answer within ${ms} ms`, 'timeout');
  return answer;
}

/** Several commands written as one, whose first error counts. */
export async function runAll(pipeline: ChainableCommander): Promise<unknown[]> {
  const results = (await pipeline.exec()) ?? [];
  return results.map(([error, value]) => {
    if (error) throw error;
    return value;
  });
}
