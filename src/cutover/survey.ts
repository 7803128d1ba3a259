// All replicas as they are now: each is asked by HTTP for what it says of itself, out go the answers beside what the roster
// has. Promises: however many look, each replica is asked a few times a second at most; one that does not answer holds nobody
// up for longer than the bound, and is seen not to.

import type { LiveReplica } from '../log/log.ts';
import type { Clock } from '../telemetry/clock.ts';
import { type ReplicaView, viewShape } from './own-view.ts';
import { type Peers, peerPaths } from './peers.ts';

export interface SurveyParts {
  instance: string;
  peers: Pick<Peers, 'refresh' | 'askEach'>;
  own(): Promise<ReplicaView>;
  clock: Clock;
}

/** One replica of the roster. */
export interface Seen {
  instance: string;
  facts: LiveReplica['facts'];
  /** undefined: it does not answer now. */
  view: ReplicaView | undefined;
  /** ms since it last answered; undefined: it never has, as far as this replica asked. */
  heardMs: number | undefined;
}

const answerMs = 400;
const freshMs = 400;

export class Survey {
  readonly #parts: SurveyParts;
  #views: Promise<Map<string, ReplicaView>> | undefined;
  /** ms, monotonic */
  #askedAt = 0;
  /** ms, monotonic; only of those in the roster. */
  #heardAt = new Map<string, number>();

  constructor(parts: SurveyParts) {
    this.#parts = parts;
  }

  /** What this replica says of itself. */
  ownView(): Promise<ReplicaView> {
    return this.#parts.own();
  }

  /** Every live replica, this one first. Never rejects. */
  async look(): Promise<Seen[]> {
    const { peers, clock } = this.#parts;
    const replicas = await peers.refresh();
    const now = clock.monotonic();
    if (this.#views === undefined || now - this.#askedAt > freshMs) {
      this.#askedAt = now;
      this.#views = this.#ask();
    }
    const views = await this.#views;
    this.#heardAt = new Map(
      [...this.#heardAt].filter(([known]) => replicas.some(({ instance }) => instance === known)),
    );
    return replicas.map(({ instance, facts }) => {
      const heardAt = this.#heardAt.get(instance);
      const heardMs = heardAt === undefined ? undefined : Math.max(0, Math.round(clock.monotonic() - heardAt));
      return { instance, facts, view: views.get(instance), heardMs };
    });
  }

  async #ask(): Promise<Map<string, ReplicaView>> {
    const { instance, peers, own, clock } = this.#parts;
    const [self, answers] = await Promise.all([own(), peers.askEach(peerPaths.look, {}, answerMs)]);
    const views = new Map([[instance, self]]);
    for (const [each, answer] of answers) {
      const { data } = viewShape.safeParse(answer);
      if (data !== undefined) views.set(each, data);
    }
    for (const each of views.keys()) this.#heardAt.set(each, clock.monotonic());
    return views;
  }
}
