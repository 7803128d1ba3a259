// Waiting in tests: a condition comes in, its first truthy value goes out.
// Promises to end: with the value as soon as it is there, or with an error that says what was waited for.

import { setTimeout as sleep } from 'node:timers/promises';

const pollMs = 5;

/**
 * @param condition asked every 5 ms until it is truthy
 * @param options.what completes the sentence "waited 5000 ms for …"; called at the end if it is a function
 */
export async function until<T>(
  condition: () => T | Promise<T>,
  { timeoutMs = 5_000, what = 'a condition' }: { timeoutMs?: number; what?: string | (() => string) } = {},
): Promise<Exclude<T, false | null | undefined | 0 | ''>> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const value = await condition();
    if (value) return value as Exclude<T, false | null | undefined | 0 | ''>;
    if (performance.now() > deadline) {
      throw new Error(`waited ${timeoutMs} ms for ${typeof what === 'string' ? what : what()}`);
    }
    await sleep(pollMs);
  }
}
