// All replicas as they are now: each is asked by HTTP for what it says of itself, out go the answers beside what the roster
// has. Promises: however many look, each replica is asked a few times a second at most; one that does not answer holds nobody
// up for longer than the bound, and is seen not to.

import { z } from 'zod';
import type { LiveReplica } from '../log/log.ts';
import { type Peers, peerPaths } from '../peers/peers.ts';
import type { CutoverState } from '../rooms/state.ts';
import type { Clock } from '../telemetry/clock.ts';
import { addForecasts, type Forecast, forecastShape, type ReplicaForecast } from './forecast.ts';
import { type ReplicaView, viewShape } from './own-view.ts';

export interface SurveyParts {
  instance: string;
  peers: Pick<Peers, 'refresh' | 'askEach'>;
  own(): Promise<ReplicaView>;
  ownForecast(change: StateChange): Promise<ReplicaForecast>;
  clock: Clock;
}

export interface StateChange {
  from: CutoverState;
  to: CutoverState;
}

/** One replica of the roster. */
export interface Seen {
  instance: string;
  facts: LiveReplica['facts'];
  /** undefined: it does not answer now. */
  view: ReplicaView | undefined;
  /** ms since it last answered; undefined: it never has, as far as this replica asked. */
  heardMs: number | undefined;
  /** ms that its clock is ahead of this replica's, to within the time that its answer took; undefined as {@link view}. */
  offsetMs: number | undefined;
}

interface Answer {
  view: ReplicaView;
  offsetMs: number;
}

const answerMs = 400;
const freshMs = 400;
/** ms for what takes longer than a look: every room, or every other replica. */
const longMs = 3_000;
const pingMs = 1_000;
const reachShape = z.object({ notReached: z.array(z.string()) });

export class Survey {
  readonly #parts: SurveyParts;
  #views: Promise<Map<string, Answer>> | undefined;
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
      const { view, offsetMs } = views.get(instance) ?? {};
      return { instance, facts, view, heardMs, offsetMs };
    });
  }

  /** What would move here. */
  ownForecast(change: StateChange): Promise<ReplicaForecast> {
    return this.#parts.ownForecast(change);
  }

  /** What would move at all replicas that answer. Never rejects. */
  async forecast(change: StateChange): Promise<Forecast> {
    const { peers, ownForecast } = this.#parts;
    const [own, answers] = await Promise.all([ownForecast(change), peers.askEach(peerPaths.forecast, change, longMs)]);
    const others = [...answers.values()].map((answer) => forecastShape.safeParse(answer).data);
    return addForecasts([own, ...others.filter((each) => each !== undefined)]);
  }

  /** The replicas that this one does not reach by HTTP. Never rejects. */
  async ownReach(): Promise<string[]> {
    const { instance, peers } = this.#parts;
    const replicas = await peers.refresh();
    const reached = await peers.askEach(peerPaths.reading, {}, pingMs);
    return replicas.map((each) => each.instance).filter((each) => each !== instance && !reached.has(each));
  }

  /** Replica -> those that it does not reach; undefined: it does not answer itself. Never rejects. */
  async reach(): Promise<Map<string, string[] | undefined>> {
    const { instance, peers } = this.#parts;
    const own = await this.ownReach();
    const answers = await peers.askEach(peerPaths.reach, {}, longMs);
    const replicas = await peers.refresh();
    return new Map(
      replicas.map((each) => {
        if (each.instance === instance) return [instance, own] as const;
        return [each.instance, reachShape.safeParse(answers.get(each.instance)).data?.notReached] as const;
      }),
    );
  }

  async #ask(): Promise<Map<string, Answer>> {
    const { instance, peers, own, clock } = this.#parts;
    const [self, answers] = await Promise.all([own(), peers.askEach(peerPaths.look, {}, answerMs)]);
    const views = new Map([[instance, { view: self, offsetMs: 0 }]]);
    for (const [each, answer] of answers) {
      const { data } = viewShape.safeParse(answer);
      if (data !== undefined) views.set(each, { view: data, offsetMs: data.nowMs - clock.now() });
    }
    for (const each of views.keys()) this.#heardAt.set(each, clock.monotonic());
    return views;
  }
}
