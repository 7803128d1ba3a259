// Who has really carried a message: in come the calls that the toy bridge gets, out goes whether it got one for a message.
// Promises a lane that is seen, not computed: what the bridge was never called for, a client can only have by stream.

import { keepNewest } from '../keep-newest.ts';
import type { RecordedCall } from './toy-bridge.ts';

export type ShownLane = 'bridge' | 'stream';

const maxIds = 10_000;

export class BridgeWitness {
  /** Message ids, oldest first. */
  readonly #ids = new Set<string>();

  /** Every request of the bridge passes here before it is handled. */
  see({ method, url, body }: RecordedCall): void {
    if (method !== 'POST' || !url.startsWith('/internal/')) return;
    const id = messageIdIn(body);
    if (id === undefined) return;
    this.#ids.add(id);
    keepNewest(this.#ids, maxIds);
  }

  /** @param messageId of a message whose call was answered, or that a client has shown */
  laneOf(messageId: string): ShownLane {
    return this.#ids.has(messageId) ? 'bridge' : 'stream';
  }
}

function messageIdIn(body: Buffer): string | undefined {
  try {
    return JSON.parse(body.toString('utf8')).message?.id;
  } catch {
    return undefined;
  }
}
