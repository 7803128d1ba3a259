// The roster of the embedded log: counters come in and go out. There is one replica, so they live in its memory, and
// nobody outside could read presence keys, so none are written.

import type { Roster } from '../log.ts';

export class EmbeddedRoster implements Roster {
  readonly #counters = new Map<string, number>();

  set(counter: string, value: number): void {
    if (value === 0) this.#counters.delete(counter);
    else this.#counters.set(counter, value);
  }

  async read(): Promise<Map<string, number>[]> {
    return [new Map(this.#counters)];
  }

  holdPresence(): void {}

  releasePresence(): void {}
}
