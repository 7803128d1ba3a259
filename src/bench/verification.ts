// Measures what the success criteria are judged by: in comes a deployment whose percent may be moved, out go measurements. The loads are
// fixed here. Promises: both lanes carry the same loads in the same run; clients stay connected from one lane to the other.

import { createMetrics } from '../telemetry/metrics.ts';
import type { Kept, LaneComparison, Measurements } from './criteria.ts';
import { Crowd, evenly, type Measured, type RunOptions } from './crowd.ts';
import type { Wire } from './wire.ts';

export interface Deployment {
  wire: Wire;
  /** Why what the bridge lane measures is no baseline; undefined: it is one. */
  noBaseline: string | undefined;
  /** Resolves when it is in force everywhere. */
  setPercent(percent: number): Promise<void>;
  /** /metrics of each replica. */
  metricsTexts(): Promise<string[]>;
  /** Has it started anew with the kill switch, while percent 100 is set; or why that cannot be done here. */
  killSwitch: { on(): Promise<{ wire: Wire; metricsText(): Promise<string> }> } | { not: string };
}

export interface VerificationOptions {
  deployment: Deployment;
  /** How long one load lasts, by one lane. */
  seconds: number;
  /** Each lane's successes of `events_published_total` in a replica's metrics. */
  acceptedByLane(metricsText: string): { bridge: number; stream: number };
  /** @param share of the whole that is done */
  onProgress(what: string, share: number): void;
}

const senders = 100;
const warmUpSeconds = 1;
const messagesPerUser = 2;
const oneRoom = [500];
const twoInARoom = new Map([50, 100, 200, 500].map((users) => [users, evenly(users, users / 2)]));

/** In the order in which they are run, by each lane. */
const laneLoads = [
  { load: '100 users in 50 rooms, 200/s', members: inPairs(100), rate: 200 },
  { load: '100 users in 50 rooms, 1,000/s', members: inPairs(100), rate: 1_000 },
  { load: '500 users in one room, 20/s', members: oneRoom, rate: 20 },
];
const growthUsers = [50, 100, 200];
const growthRounds = 3;
const typists = 25;
const percentMoves = [0, 100, 40, 100];
/** What is on the way to a percent besides the runs, as a share of a run. */
const steps = 3 * laneLoads.length + growthUsers.length + 4;

export async function measureCriteria(options: VerificationOptions): Promise<Measurements> {
  return new Verification(options).run();
}

/** The same array each time: it stands for its crowd. */
function inPairs(users: number): number[] {
  return twoInARoom.get(users)!;
}

class Verification {
  readonly #options: VerificationOptions;
  /** Opened when they are first needed, and kept. */
  readonly #crowds = new Map<number[], Crowd>();
  readonly #runs: Measured[] = [];
  #wire: Wire;
  #done = 0;

  constructor(options: VerificationOptions) {
    this.#options = options;
    this.#wire = options.deployment.wire;
  }

  async run(): Promise<Measurements> {
    const { deployment } = this.#options;
    try {
      const lanes = await this.#bothLanes();
      const growth = await this.#grow();
      const fiveHundred = await this.#load('500 users', inPairs(500), { rate: 500 * messagesPerUser });
      const typing = await this.#load(`${typists} users type`, inPairs(100), { rate: 50, typists });
      await this.#move();
      const metrics = metricsFound(await deployment.metricsTexts());
      const kept = keptIn(this.#runs);
      return {
        lanes,
        noBaseline: deployment.noBaseline,
        hundredUsers: lanes[0]!.stream,
        growth,
        fiveHundredUsers: keptIn([fiveHundred]),
        typing: typing.typing,
        kept,
        percentMoves: percentMoves.length,
        killSwitch: await this.#kill(),
        metrics,
      };
    } finally {
      await this.#closeCrowds();
    }
  }

  /**
   * By the bridge lane, by the stream lane, and by the bridge lane once more, of which the better counts: what comes first has
   * code that is not compiled yet, and that must not make the stream lane look good.
   */
  async #bothLanes(): Promise<LaneComparison[]> {
    const before = await this.#byLane('bridge', 0);
    const stream = await this.#byLane('stream', 100);
    const behind = await this.#byLane('bridge', 0);
    await this.#options.deployment.setPercent(100);
    const betterOf = (n: number) => {
      const both = [before[n]!.endToEndMs, behind[n]!.endToEndMs].filter((each) => each !== undefined);
      return both.sort((one, other) => one.p95 - other.p95)[0];
    };
    return laneLoads.map(({ load }, n) => ({ load, bridge: betterOf(n), stream: stream[n]!.endToEndMs }));
  }

  async #byLane(lane: string, percent: number): Promise<Measured[]> {
    const { deployment, seconds } = this.#options;
    await deployment.setPercent(percent);
    const runs: Measured[] = [];
    for (const { load, members, rate } of laneLoads) {
      // What comes first is counted, and no measure of latency.
      await this.#load('warming up', members, { rate, seconds: Math.min(warmUpSeconds, seconds) }, 0);
      runs.push(await this.#load(`${load}, by the ${lane} lane`, members, { rate }));
    }
    return runs;
  }

  /** In rounds, so that a slow moment of the machine hits all of them. */
  async #grow(): Promise<Measurements['growth']> {
    const rounds: Measured[][] = [];
    for (let round = 0; round < growthRounds; round++) {
      const runs: Measured[] = [];
      for (const users of growthUsers) {
        const load = { rate: users * messagesPerUser, seconds: this.#options.seconds / growthRounds };
        runs.push(await this.#load(`${users} users`, inPairs(users), load, 1 / growthRounds));
      }
      rounds.push(runs);
    }
    const median = (n: number, of: 'p50' | 'p95') =>
      rounds.map((runs) => runs[n]!.endToEndMs?.[of] ?? Number.POSITIVE_INFINITY).sort((a, b) => a - b)[1]!;
    return growthUsers.map((users, n) => ({ users, p50: median(n, 'p50'), p95: median(n, 'p95') }));
  }

  /** The percent moves while the messages go on. */
  async #move(): Promise<void> {
    const { deployment, seconds } = this.#options;
    const moving = (async () => {
      for (const percent of percentMoves) await deployment.setPercent(percent);
    })();
    let isMoving = true;
    moving.then(
      () => {
        isMoving = false;
      },
      () => {
        isMoving = false;
      },
    );
    do await this.#load('the percent moves', inPairs(100), { rate: 200, seconds: Math.min(seconds, 2) }, 0);
    while (isMoving);
    await moving;
    this.#done++;
  }

  async #kill(): Promise<Measurements['killSwitch']> {
    const { deployment, acceptedByLane } = this.#options;
    if ('not' in deployment.killSwitch) return deployment.killSwitch;
    await this.#closeCrowds();
    const { wire, metricsText } = await deployment.killSwitch.on();
    this.#wire = wire;
    const before = acceptedByLane(await metricsText());
    const earlier = this.#runs.length;
    await this.#load('the kill switch', inPairs(100), { rate: 200 });
    const after = acceptedByLane(await metricsText());
    return {
      ...keptIn(this.#runs.slice(earlier)),
      byBridge: after.bridge - before.bridge,
      byStream: after.stream - before.stream,
    };
  }

  /** @param weight how much of the whole it is, in loads */
  async #load(
    what: string,
    members: number[],
    load: Partial<RunOptions> & { rate: number },
    weight = 1,
  ): Promise<Measured> {
    const { seconds, onProgress } = this.#options;
    const crowd = await this.#crowd(members);
    const run = await crowd.run({
      seconds,
      ...load,
      onProgress: (share) => onProgress(what, Math.min(1, (this.#done + share * weight) / steps)),
    });
    this.#done += weight;
    this.#runs.push(run);
    return run;
  }

  async #crowd(members: number[]): Promise<Crowd> {
    const known = this.#crowds.get(members);
    if (known !== undefined) return known;
    const crowd = await Crowd.open({ wire: this.#wire, members, senders });
    this.#crowds.set(members, crowd);
    return crowd;
  }

  async #closeCrowds(): Promise<void> {
    for (const crowd of this.#crowds.values()) await crowd.close();
    this.#crowds.clear();
  }
}

function keptIn(runs: Measured[]): Kept {
  const kept: Kept = { owed: 0, delivered: 0, lost: 0, doubled: 0, outOfOrder: 0, refused: 0 };
  for (const { deliveries, calls } of runs) {
    for (const key of ['owed', 'delivered', 'lost', 'doubled', 'outOfOrder'] as const) kept[key] += deliveries[key];
    kept.refused += calls.sent - calls.accepted;
  }
  return kept;
}

/** Every metric that the program has must stand in each scrape, and the durations with both lanes. */
function metricsFound(texts: string[]): Measurements['metrics'] {
  const names = createMetrics()
    .registry.getMetricsAsArray()
    .map(({ name }) => name);
  const durations = ['event_publish_duration_seconds', 'event_delivery_duration_seconds'];
  const lanes = durations.flatMap((name) => ['http', 'redis_streams'].map((lane) => `${name}{transport="${lane}"}`));
  const missing = [
    ...names.filter((name) => !texts.every((text) => text.includes(`# TYPE ${name} `))),
    ...durations.flatMap((name) =>
      ['http', 'redis_streams']
        .filter((lane) => !texts.some((text) => new RegExp(`^${name}_count\\{.*transport="${lane}"`, 'm').test(text)))
        .map((lane) => `${name}{transport="${lane}"}`),
    ),
  ];
  return { replicas: texts.length, expected: names.length + lanes.length, missing };
}
