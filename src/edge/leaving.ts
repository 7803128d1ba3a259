// How clients leave because this replica wants them to: all at once where they have missed something, paced where it ends, so
// that the others get them a few at a time (most clients come back at once). In come the hubs' clients, out go their closes,
// each with the word that it may come back. Promises: who does not answer a close is cut off; in no second much more than the
// rate are closed, however this process was held up; those whom it hurts least go first.

import { type Clock, pause } from '../telemetry/clock.ts';
import type { Faults } from '../telemetry/faults.ts';
import { TokenBucket } from '../token-bucket.ts';
import type { Client, CloseReason, HubsSide } from './hubs-side.ts';

/** ms for which a client may take to answer a close. */
const closeLimitMs = 2_000;
/** Where no rate is given, all are closed within this time; fewer clients go at this rate. */
const standardSeconds = 60;
const leastPerSecond = 50;
/** Of a second's share, what may go at once. */
const burst = 0.1;
const stepMs = 20;

export class Leaving {
  readonly #hubs: Pick<HubsSide, 'clients'>;
  readonly #clock: Clock;
  readonly #faults: Faults;

  constructor(hubs: Pick<HubsSide, 'clients'>, { clock, faults }: { clock: Clock; faults: Faults }) {
    this.#hubs = hubs;
    this.#clock = clock;
    this.#faults = faults;
  }

  /** Resolves when all who are there now are gone. */
  async closeAll(reason: CloseReason): Promise<void> {
    await Promise.all(Array.from(this.#hubs.clients, (client) => this.#close(client, reason)));
  }

  /**
   * Resolves when nobody is left. Nobody new must be let in meanwhile; who was on the way in leaves, too.
   * @param perSecond clients; without it as many as it takes for all to be closed within 60 s
   */
  async drain(perSecond?: number): Promise<void> {
    const { clients } = this.#hubs;
    const rate = perSecond ?? Math.max(leastPerSecond, clients.size / standardSeconds);
    const bucket = new TokenBucket({ burst: Math.max(1, rate * burst), perSecond: rate }, () =>
      this.#clock.monotonic(),
    );
    while (clients.size > 0) {
      const gone: Promise<void>[] = [];
      for (const client of idleFirst(clients)) {
        while (clients.has(client) && !bucket.take(1)) await pause(this.#clock, stepMs);
        if (clients.has(client)) gone.push(this.#close(client, 'shutdown'));
      }
      await Promise.all(gone);
    }
  }

  async #close(client: Client, reason: CloseReason): Promise<void> {
    const cut = () => this.#faults.guard('client', () => client.terminate(reason));
    this.#faults.guard('client', () => client.closeForReconnect(reason), cut);
    const cancel = this.#clock.after(closeLimitMs, cut);
    await client.gone;
    cancel();
  }
}

function idleFirst(clients: Iterable<Client>): Client[] {
  return [...clients].sort((a, b) => a.lastUse - b.lastUse);
}
