// The fences of one connection: crossfade's own invocations of a method that no hub has. The hub answers each behind
// everything that it had sent before, so an answer proves that nothing older is on its way to this client.

import { randomBytes } from 'node:crypto';

/** Begins the id of every fence of this process and, as it is random, no other invocation's. */
const prefix = `${randomBytes(12).toString('base64url')}-`;
/** No method of a .NET hub can have this name. */
export const fenceMethod = 'crossfade.fence';
let lastFence = 0;

/** Who asks for a fence is told when it is sent, and when it is back, or its connection gone. */
export interface FenceAsked {
  onSent(): void;
  onEnd(): void;
}

export class OpenFences {
  #waiting: FenceAsked[] = [];
  readonly #out = new Map<string, (outcome: 'back' | 'gone') => void>();

  /** @returns the invocation id of a new fence @param onEnd called once: when it is back, or its connection gone */
  open(onEnd: (outcome: 'back' | 'gone') => void): string {
    const id = prefix + ++lastFence;
    this.#out.set(id, onEnd);
    return id;
  }

  /** It is sent when one of those that are out has come back, and the client is not within a record. */
  wait(asked: FenceAsked): void {
    this.#waiting.push(asked);
  }

  get waitingCount(): number {
    return this.#waiting.length;
  }

  /** Who has waited; one fence that is sent now is behind what each of them asked for. */
  takeWaiting(): FenceAsked[] {
    const waiting = this.#waiting;
    this.#waiting = [];
    return waiting;
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
    for (const { onEnd } of this.takeWaiting()) onEnd();
  }
}
