// What was started for a benchmark ends with it. The tests' helpers start processes, and want of a test no more than to be told when it ends.

import type { TestContext } from 'node:test';

export type Cleanups = (() => unknown)[];

export function contextOf(cleanups: Cleanups): TestContext {
  return { after: (run: () => unknown) => cleanups.unshift(run) } as unknown as TestContext;
}

export async function end(cleanups: Cleanups): Promise<void> {
  for (const run of cleanups.splice(0)) await run();
}
