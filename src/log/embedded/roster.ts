// The roster of the embedded log: counters and facts come in and go out. There is one replica, so they live in its memory,
// and nobody outside could read presence keys, so none are written.

import type { LiveReplica, Roster } from '../log.ts';

export class EmbeddedRoster implements Roster {
  readonly #instance: string;
  readonly #counters = new Map<string, number>();
  #facts: Record<string, string> = {};

  constructor(instance: string) {
    this.#instance = instance;
  }

  set(counter: string, value: number): void {
    if (value === 0) this.#counters.delete(counter);
    else this.#counters.set(counter, value);
  }

  async read(): Promise<Map<string, number>[]> {
    return [new Map(this.#counters)];
  }

  describe(facts: Record<string, string>): void {
    this.#facts = { ...facts };
  }

  async replicas(names: string[] = []): Promise<LiveReplica[]> {
    const counters = new Map([...this.#counters].filter(([name]) => names.includes(name)));
    return [{ instance: this.#instance, facts: { ...this.#facts }, counters }];
  }

  holdPresence(): void {}

  keepPresence(): void {}

  releasePresence(): void {}
}
