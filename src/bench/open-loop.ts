// An open loop: whatever the server does, things happen at their times. In come a rate and a duration, out go calls of `act`, each with
// the time from which its latency counts.

import type { LatencyHistogram } from './ledger.ts';
import { sharedNow } from './shared-clock.ts';

export interface OpenLoopOptions {
  /** Each second; may be less than 1. */
  rate: number;
  seconds: number;
  /**
   * @param n from 0
   * @param from when it was due. Node's timers have a grain of up to 2 ms, which is no server's fault: where only that is between, it
   * is `now`; later than that it counts from the time it was due, so that a generator that is held up hides nothing
   */
  act(n: number, from: number, now: number): void;
  /** How late the generator itself was. */
  lateness?: LatencyHistogram;
}

const timerGrainMs = 2;

/** @returns how many times it will act */
export function countOf({ rate, seconds }: Pick<OpenLoopOptions, 'rate' | 'seconds'>): number {
  return Math.floor(rate * seconds);
}

/** Resolves when the last one has been acted. */
export function openLoop({ rate, seconds, act, lateness }: OpenLoopOptions): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const total = countOf({ rate, seconds });
  const startedAt = sharedNow();
  const dueAt = (n: number) => startedAt + (n * 1_000) / rate;
  let n = 0;
  const turn = () => {
    for (; n < total; n++) {
      const now = sharedNow();
      if (now < dueAt(n)) break;
      const late = now - dueAt(n);
      lateness?.record(late);
      act(n, late <= timerGrainMs ? now : dueAt(n), now);
    }
    if (n >= total) return resolve();
    setTimeout(guarded, Math.max(1, Math.floor(dueAt(n) - sharedNow())));
  };
  const guarded = () => {
    try {
      turn();
    } catch (error) {
      reject(error);
    }
  };
  guarded();
  return promise;
}
