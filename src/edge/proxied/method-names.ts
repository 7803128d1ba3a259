// A cheap look at a client's record: in come a hub and the record's bytes, out goes whether it may invoke one of certain
// methods. Names count in any case, and may be escaped; so a yes is only a reason to read it.

import type { Effect, Hub } from '../../contract/contract.ts';

export class MethodNames {
  readonly #isWanted: (effect: Effect) => boolean;
  readonly #byHub = new WeakMap<Hub, RegExp>();

  /** @param isWanted says of which methods: those with such an effect */
  constructor(isWanted: (effect: Effect) => boolean) {
    this.#isWanted = isWanted;
  }

  mayBeIn(hub: Hub, record: Buffer): boolean {
    let names = this.#byHub.get(hub);
    if (names === undefined) {
      const wanted = hub.methods.filter(({ effects }) => effects.some(this.#isWanted));
      const patterns = wanted.map(({ name }) => RegExp.escape(name));
      // Without any, nothing matches.
      names = new RegExp(patterns.length > 0 ? [...patterns, '\\\\u'].join('|') : '(?!)', 'i');
      this.#byHub.set(hub, names);
    }
    return names.test(record.toString());
  }
}
