// Redis' own clock and whether Redis answers. In goes a connection, out comes a deadline in Redis' time that is never
// later than the same moment here: an append that Redis executes after its caller gave up is then refused by Redis.

import type { Redis } from 'ioredis';
import type { Clock } from '../../telemetry/clock.ts';
import { isReady } from './connections.ts';

const probeMs = 1_000;
/** Clocks drift apart: a measurement is trusted this long before a slower one may replace it. */
const trustMs = 10_000;
/**
 * Redis counts as silent when so many probes in a row have no answer. They are counted, not timed: a process that stood still
 * must not take its own absence for Redis' silence.
 */
const silentProbes = 3;

interface Measurement {
  /** Redis' clock minus ours. Redis read its clock before we got the answer, so the true value is this or more. */
  offsetMs: number;
  roundTripMs: number;
  takenAt: number;
}

/** Redis' time in ms, with a fraction. Rejects as the connection does. */
export async function readTime(redis: Redis): Promise<number> {
  const [seconds, micros] = await redis.time();
  return Number(seconds) * 1000 + Number(micros) / 1000;
}

export class ServerClock {
  readonly #redis: Redis;
  readonly #clock: Clock;
  readonly #maxRoundTripMs: number;
  readonly #stopProbing: () => void;
  readonly #onReady = () => this.#probe();
  /** Behind the same address there may be another Redis when the connection is back. */
  readonly #onClose = () => this.#forget();
  #best: Measurement | undefined;
  #hasAnswered = false;
  #unanswered = 0;

  /** @param maxRoundTripMs a slower measurement says little; it is used only where there is no other */
  constructor(redis: Redis, clock: Clock, maxRoundTripMs: number) {
    this.#redis = redis;
    this.#clock = clock;
    this.#maxRoundTripMs = maxRoundTripMs;
    redis.on('ready', this.#onReady);
    redis.on('close', this.#onClose);
    this.#stopProbing = clock.every(probeMs, () => this.#probe());
    this.#probe();
  }

  /** Redis' time in ms at the moment `ms` from now, at the latest; undefined while it is not known. */
  deadline(ms: number): number | undefined {
    return this.#best && Math.floor(this.#best.offsetMs + this.#clock.monotonic() + ms);
  }

  /** Whether Redis answers at this moment. */
  get answers(): boolean {
    return isReady(this.#redis) && this.#hasAnswered && this.#unanswered < silentProbes;
  }

  /** Asks at once; rejects as the connection does. */
  async measure(): Promise<void> {
    const sentAt = this.#clock.monotonic();
    const serverMs = await readTime(this.#redis);
    const takenAt = this.#clock.monotonic();
    this.#hasAnswered = true;
    this.#unanswered = 0;
    const measured = { offsetMs: serverMs - takenAt, roundTripMs: takenAt - sentAt, takenAt };
    if (this.#best === undefined || this.#isBetter(measured, this.#best)) this.#best = measured;
  }

  /** From then on nothing is known: every append is refused. */
  close(): void {
    this.#stopProbing();
    this.#redis.off('ready', this.#onReady);
    this.#redis.off('close', this.#onClose);
    this.#forget();
  }

  #probe(): void {
    if (!isReady(this.#redis)) return;
    this.#unanswered += 1;
    this.measure().catch(() => {});
  }

  #isBetter({ roundTripMs, takenAt }: Measurement, known: Measurement): boolean {
    if (roundTripMs <= 2 * known.roundTripMs) return true;
    return roundTripMs <= this.#maxRoundTripMs && takenAt - known.takenAt >= trustMs;
  }

  #forget(): void {
    this.#best = undefined;
    this.#hasAnswered = false;
    this.#unanswered = 0;
  }
}
