// Runs fuzzers: in come slices (a target in a world, for some seconds) and a seed, out come what was run and the first find
// with its seed, its path and its input, as small as fast-check could make it. Judges after each input whether crossfade
// lives and has not stood still, and after each slice whether it serves a bystander and holds no more than before.

import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import type { Target } from './target.ts';
import { World, type WorldKind } from './world.ts';

export interface Slice {
  name: string;
  target: Target;
  /** None where the input alone is played. */
  kind: WorldKind | undefined;
  /** The bystander's connection outlives it: nothing in it ends a bridge. */
  steady: boolean;
  /** Its inputs come from the backend, or from a publisher: each MB of them may take its time. */
  mayBeLarge?: boolean;
}

export interface Find {
  slice: string;
  what: string;
  /** Replays it, with {@link path}; undefined where no one input is to blame. */
  seed?: number;
  path?: string;
  input?: string;
}

export interface Report {
  inputs: number;
  seconds: number;
  longestStallMs: number;
  longestWallStallMs: number;
  /** Until nothing was left behind. */
  settledMs: number;
  faults: string[];
  find?: Find;
}

/** Few, as the time is looked at in between. */
const runsPerCheck = 5;
/** ms of the event loop. */
const perMebibyteMs = 15;
const shrinkMs = 60_000;
const settleMs = 60_000;
/** What may stay: pooled connections to Redis and the bridge; ids, positions and counters that are bounded by themselves. */
const slack = { descriptors: 12, memory: 48 * 1024 * 1024 };

export interface Runner {
  run(slice: Slice, seconds: number, seed: number): Promise<Report>;
  replay(slice: Slice, seed: number, path: string): Promise<Report>;
  close(): Promise<void>;
}

/** @param maxStallMs a longer stall is a find when the same input causes it again */
export function createRunner({ maxStallMs }: { maxStallMs: number }): Runner {
  const worlds = new Map<WorldKind, World>();
  const worldOf = async (kind: WorldKind) => {
    const world = worlds.get(kind) ?? (await World.start(kind));
    worlds.set(kind, world);
    await world.revive();
    return world;
  };

  async function run(slice: Slice, limits: Limits): Promise<Report> {
    const report: Report = {
      inputs: 0,
      seconds: 0,
      longestStallMs: 0,
      longestWallStallMs: 0,
      settledMs: 0,
      faults: [],
    };
    const begun = performance.now();
    if (slice.kind === undefined) {
      report.find = await search(slice, limits, (input) => {
        report.inputs++;
        return slice.target.play(input, undefined);
      });
    } else {
      await runIn(await worldOf(slice.kind), slice, limits, report);
    }
    report.seconds = (performance.now() - begun) / 1000;
    return report;
  }

  async function runIn(world: World, slice: Slice, limits: Limits, report: Report): Promise<void> {
    await world.askBystander();
    const before = await world.vitals({ collect: true });
    world.takeCuts();
    const judged = new Judged(slice, world, maxStallMs, report);
    report.find = await search(slice, limits, (input) => judged.play(input));
    if (report.find === undefined) {
      const what = await settle(world, before!, report);
      if (what !== undefined) report.find = { slice: slice.name, what };
    }
    for (const [fault, count] of world.faults) report.faults.push(`${count} times ${fault}`);
    world.faults.clear();
  }

  return {
    run: (slice, seconds, seed) => run(slice, { seconds, seed }),
    replay: (slice, seed, path) => run(slice, { seconds: 1, seed, path }),
    async close() {
      for (const world of worlds.values()) await world.close();
    },
  };
}

interface Limits {
  seconds: number;
  seed: number;
  /** Of the one input to play. */
  path?: string;
}

/** Plays inputs until one fails or the time is up. */
async function search(
  { name, target }: Slice,
  { seconds, seed: firstSeed, path }: Limits,
  play: (input: unknown) => Promise<void>,
): Promise<Find | undefined> {
  const endsAt = performance.now() + seconds * 1000;
  for (let seed = firstSeed; performance.now() < endsAt; seed++) {
    const replay = path === undefined ? {} : { path, endOnFailure: true };
    const details = await fc.check(fc.asyncProperty(target.inputs, play), { seed, numRuns: runsPerCheck, ...replay });
    if (details.failed) {
      const error = details.errorInstance;
      return {
        slice: name,
        what: error instanceof Suffered ? error.message : error instanceof Error ? error.stack! : String(error),
        seed,
        path: details.counterexamplePath ?? '',
        input: JSON.stringify(details.counterexample?.[0]),
      };
    }
    if (path !== undefined) return undefined;
  }
  return undefined;
}

/** What an input did to crossfade: the stack is the fuzzer's own, and says nothing. */
class Suffered extends Error {}

/** Plays inputs and says of each what it did to crossfade. */
class Judged {
  readonly #slice: Slice;
  readonly #world: World;
  readonly #maxStallMs: number;
  readonly #report: Report;
  #shrinksUntil: number | undefined;

  constructor(slice: Slice, world: World, maxStallMs: number, report: Report) {
    this.#slice = slice;
    this.#world = world;
    this.#maxStallMs = maxStallMs;
    this.#report = report;
  }

  async play(input: unknown): Promise<void> {
    // fast-check has no time limit for shrinking alone: what is too late counts as harmless, which ends it.
    if (this.#shrinksUntil !== undefined && performance.now() > this.#shrinksUntil) return;
    try {
      await this.#world.revive();
      this.#report.inputs++;
      const large = this.#slice.mayBeLarge ? perMebibyteMs * (JSON.stringify(input).length / 2 ** 20) : 0;
      const maxStallMs = this.#maxStallMs + large;
      const stallMs = await this.#playOnce(input);
      if (stallMs <= maxStallMs) return;
      // A collection of garbage, or an optimisation of code, falls on some input; it is that input's fault if it comes back.
      const again = [await this.#playOnce(input), await this.#playOnce(input)];
      const least = Math.min(stallMs, ...again);
      if (least > maxStallMs) throw new Suffered(`the event loop stood still for ${least.toFixed(0)} ms, three times`);
    } catch (error) {
      this.#shrinksUntil ??= performance.now() + shrinkMs;
      throw error;
    }
  }

  /** @returns the longest stall, in ms */
  async #playOnce(input: unknown): Promise<number> {
    await this.#slice.target.play(input, this.#world);
    const vitals = await this.#world.vitals();
    if (!this.#world.isAlive) throw new Suffered(this.#world.lastWords);
    if (vitals === undefined) throw new Suffered('crossfade lives and does not answer');
    const [cut] = this.#world.takeCuts();
    if (this.#slice.steady && cut !== undefined) throw new Suffered(`the bystander was cut off: ${cut}`);
    this.#report.longestStallMs = Math.max(this.#report.longestStallMs, vitals.stallMs);
    this.#report.longestWallStallMs = Math.max(this.#report.longestWallStallMs, vitals.wallStallMs);
    return vitals.stallMs;
  }
}

/** Waits until crossfade holds no more than before. @returns what is not as it should be */
async function settle(
  world: World,
  before: { descriptors: number; memory: number },
  report: Report,
): Promise<string | undefined> {
  const trouble = await world.askBystander();
  if (!world.isAlive) return world.lastWords;
  if (trouble !== undefined) return trouble;
  const begun = performance.now();
  for (;;) {
    const now = await world.vitals({ collect: true });
    if (now === undefined) return world.isAlive ? 'crossfade lives and does not answer' : world.lastWords;
    const descriptors = now.descriptors - before.descriptors;
    const memory = now.memory - before.memory;
    report.settledMs = performance.now() - begun;
    if (descriptors <= slack.descriptors && memory <= slack.memory) return undefined;
    if (report.settledMs > settleMs) {
      return `after 60 s there are ${descriptors} descriptors and ${(memory / 2 ** 20).toFixed(0)} MiB more than before`;
    }
    await sleep(500);
  }
}
