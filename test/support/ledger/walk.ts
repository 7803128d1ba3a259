// What is done to the system while the calls run: steps, one after the other, spread over the calls' time.
// Promises that each step begins when its share of the calls was made, and that half a share is made while it is under way
// and as much when it is done, however long it takes.

import { until } from '../wait.ts';

export interface Step {
  name: string;
  run(): Promise<unknown>;
}

/** Longer than any step and its share of the calls take. */
const stepTimeoutMs = 120_000;

export class Walk {
  readonly #steps: Step[];
  /** How many steps are done. */
  #doneCount = 0;
  #failure: Error | undefined;
  /** Those that are done; times are ms of performance.now(). */
  readonly report: { name: string; startedAt: number; endedAt: number }[] = [];

  constructor(steps: Step[]) {
    this.#steps = steps;
  }

  /** @param progress the share of the calls that have been made, from 0 to 1 */
  async run(progress: () => number): Promise<void> {
    for (const [i, step] of this.#steps.entries()) {
      await until(() => progress() >= this.#beginOf(i), { timeoutMs: stepTimeoutMs, what: `the turn of ${step.name}` });
      const startedAt = performance.now();
      await step.run().catch((cause) => {
        this.#failure = new Error(`the step "${step.name}" failed: ${cause.message}`, { cause });
        throw this.#failure;
      });
      this.report.push({ name: step.name, startedAt, endedAt: performance.now() });
      this.#doneCount++;
    }
  }

  /** Resolves when a call of this progress may be made. Error: a step has failed. */
  async admit(progress: number): Promise<void> {
    const isAdmitted = () => this.#failure ?? progress < (this.#doneCount + 1) / this.#steps.length;
    if (isAdmitted() !== true) await until(isAdmitted, { timeoutMs: stepTimeoutMs, what: 'the walk to go on' });
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** In the middle of its share. */
  #beginOf(step: number): number {
    return (step + 0.5) / this.#steps.length;
  }
}
