// Redis' own clock and whether Redis answers. In goes a connection, out comes a deadline in Redis' time that is never
// later than the same moment here: an append that Redis executes after its caller gave up is then refused by Redis.

import type { Redis } from 'ioredis';
import type { Clock } from '../../telemetry/clock.ts';
import type { LogOptions } from '../log.ts';
import { ask, isReady } from './connections.ts';

const probeMs = 1_000;
/** Clocks drift apart: a measurement is trusted this long before a slower one may replace it. */
const trustMs = 10_000;
/**
 * Redis counts as silent when so many probes in a row have no answer. They are counted, not timed: a process that stood still
 * must not take its own absence for Redis' silence.
 */
const silentProbes = 3;

export interface ServerClock {
  /** Redis' time in ms at the moment `ms` from now, at the latest; undefined while it is not known. */
  deadline(ms: number): number | undefined;
  /** Whether Redis answers at this moment. */
  readonly answers: boolean;
  /** Asks at once; rejects as the connection does. */
  measure(): Promise<void>;
  /** From then on nothing is known: every append is refused. */
  close(): void;
}

interface Measurement {
  /** Redis' clock minus ours. Redis read its clock before we got the answer, so the true value is this or more. */
  offsetMs: number;
  roundTripMs: number;
  takenAt: number;
}

/** Redis' time in ms, asked now. Error: LOG_UNAVAILABLE. */
export async function askTime(redis: Redis, { clock, publishTimeoutMs }: LogOptions): Promise<number> {
  const [seconds, micros] = await ask(clock, publishTimeoutMs, 'its time could not be read', () => redis.time());
  return Number(seconds) * 1000 + Number(micros) / 1000;
}

/** @param maxRoundTripMs a slower measurement says little; it is used only where there is no other */
export function watchServerClock(redis: Redis, clock: Clock, maxRoundTripMs: number): ServerClock {
  let best: Measurement | undefined;
  let hasAnswered = false;
  let unanswered = 0;

  async function measure(): Promise<void> {
    const sentAt = clock.monotonic();
    const [seconds, micros] = (await redis.time()) as unknown as [string, string];
    const takenAt = clock.monotonic();
    hasAnswered = true;
    unanswered = 0;
    const roundTripMs = takenAt - sentAt;
    if (best !== undefined && !isBetter(best, roundTripMs, takenAt)) return;
    best = { offsetMs: Number(seconds) * 1000 + Number(micros) / 1000 - takenAt, roundTripMs, takenAt };
  }

  function isBetter(known: Measurement, roundTripMs: number, takenAt: number): boolean {
    if (roundTripMs <= 2 * known.roundTripMs) return true;
    return roundTripMs <= maxRoundTripMs && takenAt - known.takenAt >= trustMs;
  }

  const measureIfConnected = () => {
    if (!isReady(redis)) return;
    unanswered += 1;
    measure().catch(() => {});
  };
  // Behind the same address there may be another Redis now.
  const forget = () => {
    best = undefined;
    hasAnswered = false;
    unanswered = 0;
  };
  redis.on('ready', measureIfConnected);
  redis.on('close', forget);
  const stop = clock.every(probeMs, measureIfConnected);
  measureIfConnected();

  return {
    deadline: (ms) => (best === undefined ? undefined : Math.floor(best.offsetMs + clock.monotonic() + ms)),
    get answers() {
      return isReady(redis) && hasAnswered && unanswered < silentProbes;
    },
    measure,
    close() {
      stop();
      redis.off('ready', measureIfConnected);
      redis.off('close', forget);
      forget();
    },
  };
}
