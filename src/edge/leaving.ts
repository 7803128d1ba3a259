// How clients leave because this replica wants them to: all at once where they have missed something, paced where it ends or their hub
// moves, so that whoever takes them gets them a few at a time (most clients come back at once). In come the hubs' clients, out go their
// closes, each with the word that it may come back. Promises: who does not answer a close is cut off; in no second much more than the
// rate are closed, however this process was held up; of a replica that ends those whom it hurts least go first, of a hub that moves
// those who belong together go together, wherever they are connected.

import { hash } from 'node:crypto';

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

export interface LeavingParts {
  clock: Clock;
  faults: Faults;
  /** Resolves when a client whose hub has moved may be closed, after two seconds at most. Never rejects. */
  untilMayMove(client: Client): Promise<void>;
}

export class Leaving {
  readonly #hubs: Pick<HubsSide, 'clients'>;
  readonly #guests: Pick<HubsSide, 'clients'>;
  readonly #clock: Clock;
  readonly #faults: Faults;
  readonly #untilMayMove: LeavingParts['untilMayMove'];

  /** @param guests those who have missed nothing here, but cannot stay either where this replica ends */
  constructor(
    hubs: Pick<HubsSide, 'clients'>,
    { clock, faults, untilMayMove }: LeavingParts,
    guests: Pick<HubsSide, 'clients'> = { clients: new Set() },
  ) {
    this.#hubs = hubs;
    this.#guests = guests;
    this.#clock = clock;
    this.#faults = faults;
    this.#untilMayMove = untilMayMove;
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
    const bucket = this.#bucket(perSecond ?? standardRate(this.count));
    while (this.count > 0) {
      const gone: Promise<void>[] = [];
      for (const client of idleFirst([...this.#hubs.clients, ...this.#guests.clients])) {
        while (this.#isHere(client) && !bucket.take(1)) await pause(this.#clock, stepMs);
        if (this.#isHere(client)) gone.push(this.#close(client, 'shutdown'));
      }
      await Promise.all(gone);
    }
  }

  /**
   * Lets go, over so many ms, whom `goes` names now and still names when its turn comes. Its turn depends on its company alone. Resolves
   * when all of them are gone.
   * @param overMs 0: at once
   */
  async move(goes: (client: Client) => boolean, overMs: number): Promise<void> {
    const { clients } = this.#hubs;
    const startedAt = this.#clock.monotonic();
    const leaving = [...clients].filter(goes);
    const rate = Math.max(standardRate(leaving.length), (leaving.length * 1_000) / overMs);
    const bucket = overMs === 0 ? undefined : this.#bucket(rate);
    const stays = (client: Client) => !clients.has(client) || !goes(client);
    // Whom a bridge has held up do not go all at once, either.
    const close = async (client: Client) => {
      await this.#untilMayMove(client);
      while (!stays(client) && bucket?.take(1) === false) await pause(this.#clock, stepMs);
      if (!stays(client)) await this.#close(client, 'moved');
    };
    const turns = leaving.map((client) => ({ client, at: startedAt + turnOf(client.company) * overMs }));
    const gone: Promise<void>[] = [];
    for (const { client, at } of turns.sort((a, b) => a.at - b.at)) {
      while (!stays(client) && this.#clock.monotonic() < at) await pause(this.#clock, stepMs);
      gone.push(close(client));
    }
    await Promise.all(gone);
  }

  /** How many have still to leave where this replica ends. */
  get count(): number {
    return this.#hubs.clients.size + this.#guests.clients.size;
  }

  #isHere(client: Client): boolean {
    return this.#hubs.clients.has(client) || this.#guests.clients.has(client);
  }

  #bucket(perSecond: number): TokenBucket {
    const rate = { burst: Math.max(1, perSecond * burst), perSecond };
    return new TokenBucket(rate, () => this.#clock.monotonic());
  }

  async #close(client: Client, reason: CloseReason): Promise<void> {
    const cut = () => this.#faults.contain('client', () => client.terminate(reason));
    this.#faults.contain('client', () => client.closeForReconnect(reason), cut);
    const cancel = this.#clock.after(closeLimitMs, cut);
    await client.gone;
    cancel();
  }
}

/** How long so many clients of one replica take to leave, ms. @param perSecond see {@link Leaving.drain} */
export function leaveMs(count: number, perSecond?: number): number {
  return Math.ceil((count * 1_000) / (perSecond ?? standardRate(count)));
}

function standardRate(count: number): number {
  return Math.max(leastPerSecond, count / standardSeconds);
}

/** From 0 to 1, the same at every replica. */
function turnOf(company: string): number {
  return Number.parseInt(hash('sha1', company).slice(0, 8), 16) / 2 ** 32;
}

function idleFirst(clients: Iterable<Client>): Client[] {
  return [...clients].sort((a, b) => a.lastUse - b.lastUse);
}
