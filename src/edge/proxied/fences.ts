// The fences of one connection: crossfade's own invocations of a method that no hub has. The hub answers each behind
// everything that it had sent before, so an answer proves that nothing older is on its way to this client.

import { randomBytes } from 'node:crypto';

/** Begins the id of every fence of this process and, as it is random, no other invocation's. */
const prefix = `${randomBytes(12).toString('base64url')}-`;
/** No method of a .NET hub can have this name. */
export const fenceMethod = 'crossfade.fence';
let lastFence = 0;

export class OpenFences {
  readonly #out = new Map<string, (outcome: 'back' | 'gone') => void>();

  /** @returns the invocation id of a new fence @param onEnd called once: when it is back, or its connection gone */
  open(onEnd: (outcome: 'back' | 'gone') => void): string {
    const id = prefix + ++lastFence;
    this.#out.set(id, onEnd);
    return id;
  }

  /** How many have not come back. */
  get count(): number {
    return this.#out.size;
  }

  /** Whether a message may hold the answer to a fence. */
  mayBeIn(message: Buffer): boolean {
    return this.#out.size > 0 && message.includes(prefix);
  }

  /** @returns undefined where the invocation is not one of ours, else what to call for it */
  take(invocationId: string | undefined): (() => void) | undefined {
    if (!invocationId?.startsWith(prefix)) return undefined;
    const onEnd = this.#out.get(invocationId);
    this.#out.delete(invocationId);
    return () => onEnd?.('back');
  }

  /** The connection is over: what is out will not come back. */
  end(): void {
    for (const onEnd of this.#out.values()) onEnd('gone');
    this.#out.clear();
  }
}
