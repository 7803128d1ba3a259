// The other replicas, by HTTP: what must be said without the log. In come a path and a value, out go the replicas that
// have taken it and those that could not be reached.

import type { Roster } from '../log/log.ts';
import type { Clock } from '../telemetry/clock.ts';

export interface PeersOptions {
  instance: string;
  roster: Pick<Roster, 'replicas'>;
  /** Bearer token of the replicas' admin ports. */
  token: string | undefined;
  clock: Clock;
}

export interface Told {
  reached: string[];
  notReached: string[];
}

/** The fact of the roster that holds a replica's admin address. */
export const adminFact = 'admin';
const refreshMs = 2_000;

export class Peers {
  readonly #options: PeersOptions;
  readonly #stop: () => void;
  /** Instance -> base URL of its admin port, as last seen in the roster. */
  #known = new Map<string, string>();

  constructor(options: PeersOptions) {
    this.#options = options;
    this.#stop = options.clock.every(refreshMs, () => this.refresh());
  }

  /** Reads the roster again; without the log the last known replicas stay. */
  refresh(): Promise<void> {
    const { roster, instance } = this.#options;
    return roster.replicas().then(
      (replicas) => {
        const others = replicas.filter((each) => each.instance !== instance && each.facts[adminFact] !== undefined);
        this.#known = new Map(others.map((each) => [each.instance, each.facts[adminFact]!]));
      },
      () => {},
    );
  }

  /** POSTs to every other replica at once. @param ms how long one may take */
  async tell(path: string, value: unknown, ms: number): Promise<Told> {
    const body = JSON.stringify(value);
    const answers = await Promise.all(
      [...this.#known].map(async ([instance, url]) => ({ instance, ok: await this.#post(url + path, body, ms) })),
    );
    const named = (ok: boolean) => answers.filter((answer) => answer.ok === ok).map(({ instance }) => instance);
    return { reached: named(true), notReached: named(false) };
  }

  close(): void {
    this.#stop();
  }

  async #post(url: string, body: string, ms: number): Promise<boolean> {
    const { token } = this.#options;
    try {
      const answer = await fetch(url, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          ...(token !== undefined && { authorization: `Bearer ${token}` }),
        },
        body,
        signal: AbortSignal.timeout(ms),
      });
      await answer.arrayBuffer();
      return answer.ok;
    } catch {
      return false;
    }
  }
}
