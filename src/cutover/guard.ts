// The guard: whether a room may come to the stream lane without a client missing it or seeing it twice. In come the
// bridges' and the replicas' counts of connections, what the replicas run, the streams' foreign consumer groups, and what else is required
// (a compare); out go the reasons against it.

import type { BridgeLane } from '../bridge/lane.ts';
import { counterNames } from '../log/counters.ts';
import type { Log } from '../log/log.ts';
import { type Clock, pause } from '../telemetry/clock.ts';
import { differencesAmong } from './alike.ts';

export interface GuardParts {
  /** This replica, which is there whether it answers its own roll call in time or not. */
  instance: string;
  /** The connections that all bridge instances count, summed. Rejects where one does not say. */
  countAtBridges(): Promise<number>;
  /** The replicas that are there for certain: the roster counts one that has died for up to 30 s. */
  callRoll(): Promise<{ here: string[] }>;
  log: Pick<Log, 'roster' | 'foreignReaders'>;
  /** The contract's streams. */
  streams: string[];
  clock: Clock;
}

export interface Verdict {
  ok: boolean;
  /** In words for the operator; empty where it is ok. */
  reasons: string[];
  /** Connections at the bridges beyond those of the replicas, in the last reading; absent where it failed. */
  surplus?: number;
}

/** A verdict and when it was given, ISO 8601. */
export type PastVerdict = Verdict & { at: string };

const readings = 3;
const betweenReadingsMs = 1_500;
/** A connection that ends is counted down here and at the bridge a moment apart. */
const samples = 3;
const betweenSamplesMs = 100;
const foreignWithinMs = 60_000;
/** Whose sum is the connections that a replica has at the bridges. */
const ownCounters = [counterNames.proxied, counterNames.standIns];

export class Guard {
  readonly #parts: GuardParts;
  /** The verdict that was given last. */
  last: PastVerdict | undefined;
  /** What else speaks against it, in words; undefined: nothing. */
  #objection: () => string | undefined = () => undefined;

  constructor(parts: GuardParts) {
    this.#parts = parts;
  }

  /** From now on rooms are raised only where this says nothing, too. */
  require(objection: () => string | undefined): void {
    this.#objection = objection;
  }

  /** Three readings over 3 s, all of which must pass; ends with the first that does not. */
  async check(): Promise<Verdict> {
    const { instance, callRoll } = this.#parts;
    const here = [instance, ...(await callRoll()).here];
    let verdict = await this.read(here);
    for (let reading = 1; verdict.ok && reading < readings; reading++) {
      await pause(this.#parts.clock, betweenReadingsMs);
      verdict = await this.read(here);
    }
    return verdict;
  }

  /** One reading. @param counted the replicas whose connections count; all that the roster has where it is not given */
  async read(counted?: string[]): Promise<Verdict> {
    const reasons: string[] = [];
    const surplus = await this.#surplus(counted).catch((error: Error) => {
      reasons.push(`the connections at the bridge could not be compared with those here: ${error.message}`);
      return undefined;
    });
    if (surplus !== undefined && surplus > 0) {
      reasons.push(
        `${surplus} ${surplus === 1 ? 'client is' : 'clients are'} connected to the bridge directly, not through crossfade: they would miss the stream lane`,
      );
    }
    reasons.push(...(await this.#differences()), ...(await this.#foreignReaders()));
    const objection = this.#objection();
    if (objection !== undefined) reasons.push(objection);
    const verdict = { ok: reasons.length === 0, reasons, ...(surplus !== undefined && { surplus }) };
    this.last = { ...verdict, at: new Date(this.#parts.clock.now()).toISOString() };
    return verdict;
  }

  async #surplus(counted: string[] | undefined): Promise<number> {
    let least = Number.POSITIVE_INFINITY;
    for (let sample = 1; sample <= samples && least > 0; sample++) {
      if (sample > 1) await pause(this.#parts.clock, betweenSamplesMs);
      // The bridges first: who connects meanwhile is then counted here at least.
      const atBridges = await this.#parts.countAtBridges();
      const live = await this.#parts.log.roster.replicas(ownCounters);
      const replicas = live.filter(({ instance }) => counted?.includes(instance) ?? true);
      const here = replicas.reduce((sum, { counters }) => sum + countIn(counters), 0);
      least = Math.min(least, atBridges - here);
    }
    return least;
  }

  /** During a rollout one release would have to show what another one decides. Who missed the roll call may come back, and counts too. */
  async #differences(): Promise<string[]> {
    try {
      return differencesAmong(await this.#parts.log.roster.replicas());
    } catch (error) {
      return [`what the other replicas run could not be asked: ${(error as Error).message}`];
    }
  }

  async #foreignReaders(): Promise<string[]> {
    try {
      const found = await this.#parts.log.foreignReaders(this.#parts.streams, foreignWithinMs);
      const groups = [...new Set(found.map(({ group }) => group))];
      return groups.map(
        (group) =>
          `the consumer group '${group}' has read the streams in the last 60 s: its clients would see the stream lane twice`,
      );
    } catch (error) {
      return [`the streams' consumer groups could not be looked at: ${(error as Error).message}`];
    }
  }
}

function countIn(counters: Map<string, number>): number {
  return ownCounters.reduce((sum, name) => sum + (counters.get(name) ?? 0), 0);
}

/** What the bridges say of themselves at `GET /internal/stats`, summed. Rejects where one does not say. */
export async function countAtBridges(bridge: BridgeLane, apiKey: string | undefined): Promise<number> {
  const answers = await bridge.askAll('/internal/stats', apiKey === undefined ? [] : ['X-Internal-Api-Key', apiKey]);
  return answers.reduce((sum, { status, body }) => sum + connectionsIn(status, body), 0);
}

function connectionsIn(status: number, body: Buffer): number {
  const connections = status === 200 ? JSON.parse(body.toString('utf8')).connections : undefined;
  if (typeof connections === 'number') return connections;
  throw new Error(`GET /internal/stats of the bridge answered ${status} without a count`);
}
