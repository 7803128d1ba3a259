// The compare as a job of all replicas: in come a person's start and stop, out goes a run with its verdict, which stands in the log.
// Promises: every replica looks at its own clients and writes what it finds into the log, slice by slice; one, by a lock there, adds it up;
// whichever of them dies, the others go on, and what the dead one had not written is not judged. While no run is open nothing is looked at.

import type { Contract } from '../contract/contract.ts';
import type { Edge } from '../edge/edge.ts';
import { CrossfadeError } from '../errors.ts';
import { shadowStream } from '../lanes/mirror.ts';
import type { Log, Tail } from '../log/log.ts';
import { LogClock } from '../log/log-clock.ts';
import { newId } from '../new-id.ts';
import type { Outage } from '../rooms/outage.ts';
import type { RoomLanes } from '../rooms/room-lanes.ts';
import { type Clock, pause } from '../telemetry/clock.ts';
import type { Faults } from '../telemetry/faults.ts';
import { LogThrottle } from '../telemetry/log-throttle.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { Comparison } from './comparison.ts';
import { aroundSlices, type CompareRun, endedCompare, newCompareRun, readCompareRun, withSlice } from './run.ts';
import { reportShape, type SliceReport, sliceAt, sliceMs } from './slice.ts';
import { type CompareVerdict, objectionOf, verdictOf } from './verdict.ts';

export interface CompareParts {
  instance: string;
  version: string;
  hubs: 'proxy' | 'native';
  contract: Contract;
  log: Pick<Log, 'shared' | 'swap' | 'share' | 'openTail' | 'roster' | 'time'>;
  edge: Pick<Edge, 'watch' | 'watchedGroups'>;
  roomLanes: Pick<RoomLanes, 'state' | 'standalone' | 'decide' | 'mirrorsRoom' | 'onAdopted'>;
  outage: Pick<Outage, 'isOn'>;
  clock: Clock;
  faults: Faults;
  logger: Logger;
  metrics: Metrics;
}

interface KnownCompare {
  stored: string | undefined;
  run: CompareRun | undefined;
}

/** What this replica does while a run is open. */
interface Watching {
  id: string;
  comparison: Comparison;
  stop(): void;
}

const compareKey = 'compare';
const adderKey = 'compare-adder';
const tickMs = 1_000;
const lookMs = 250;
const adderMs = 5_000;
/** A run that has ended can be looked at for so long; a replica's reports. */
const keptMs = 90 * 24 * 3_600_000;
const reportKeptMs = 10 * 60_000;
/** A run ends by itself: what it has found would be stale. */
const longestRunMs = 24 * 3_600_000;
/** Slices, so that every replica looks before the first one. */
const slicesAhead = 3;
/** ms behind the end of a slice after which a replica's report is not waited for any more. */
const reportsMs = 15_000;
/** Slices that are added in one tick. */
const perTick = 30;
/** ms in which the bridge answers a call. */
const slowBridgeMs = 1_500;
const measureEveryMs = 1_000;
const sayEveryMs = 10_000;
const tries = 5;

export class Compare {
  readonly #parts: CompareParts;
  readonly #saysFailed: LogThrottle;
  readonly #saysForeign: LogThrottle;
  readonly #stops: (() => void)[];
  /** Reports of the next slices, by slice and replica. */
  readonly #reports = new Map<string, SliceReport>();
  #known: KnownCompare = { stored: undefined, run: undefined };
  #watching: Watching | undefined;
  #isBusy = false;
  /** See Lanes.oldestAtBridge. */
  #oldestAtBridge: () => number | undefined = () => undefined;

  constructor(parts: CompareParts) {
    this.#parts = parts;
    const { clock, roomLanes } = parts;
    this.#saysFailed = new LogThrottle(clock, sayEveryMs);
    this.#saysForeign = new LogThrottle(clock, sayEveryMs);
    this.#stops = [clock.every(tickMs, () => this.tick()), clock.every(lookMs, () => this.#look())];
    roomLanes.onAdopted(() => this.#watching?.comparison.moved());
  }

  connect(lanes: { readonly oldestAtBridge: number | undefined }): void {
    this.#oldestAtBridge = () => lanes.oldestAtBridge;
  }

  /** The one that is open, or the last one; undefined: there is none. */
  get run(): CompareRun | undefined {
    return this.#known.run;
  }

  get verdict(): CompareVerdict | undefined {
    return this.run && verdictOf(this.run, this.#parts.clock.now());
  }

  /** Why no room should come to the stream lane yet, by what was compared; undefined: nothing speaks against it. */
  get objection(): string | undefined {
    return objectionOf(this.run, this.#parts.clock.now());
  }

  /** Begins a run; all replicas look within seconds. Errors: CUTOVER_INVALID, CUTOVER_CONFLICT, LOG_UNAVAILABLE. */
  async start(who: string): Promise<CompareRun> {
    const { roomLanes, hubs, clock, version, contract } = this.#parts;
    if (roomLanes.standalone || hubs === 'native')
      throw new CrossfadeError('CUTOVER_INVALID', 'no client is connected to a bridge through this replica');
    return this.#change((before) => {
      if (isOpenRun(before))
        throw new CrossfadeError(
          'CUTOVER_CONFLICT',
          `${before.by} compares already: \`crossfade compare stop\` ends it`,
        );
      const firstSlice = sliceAt(clock.now()) + slicesAhead;
      const made = { id: newId(), by: who, version, contract: contract.fingerprint, firstSlice };
      return newCompareRun(made, clock.now());
    });
  }

  /** Ends it; its last slices are judged within half a minute. Errors: CUTOVER_CONFLICT, LOG_UNAVAILABLE. */
  async stop(): Promise<CompareRun> {
    const { clock } = this.#parts;
    return this.#change((run) => {
      if (run?.state !== 'running') throw new CrossfadeError('CUTOVER_CONFLICT', 'nothing is compared');
      return stopped(run, '', clock.now());
    });
  }

  /** The bridge may show what no shadow tells of, see lanes/call.ts. */
  onUnshadowed(why: string, sinceMs: number): void {
    this.#watching?.comparison.onUnshadowed(why, sinceMs);
  }

  /** The bridge was given a call past the contract. */
  onForwarded(): void {
    this.#watching?.comparison.disturb('a call went past the contract', this.#parts.clock.monotonic() - tickMs);
  }

  close(): void {
    for (const stop of this.#stops) stop();
    this.#watching?.stop();
  }

  /** Looks what there is to be done; a second later again. Never rejects. */
  async tick(): Promise<void> {
    if (this.#isBusy) return;
    this.#isBusy = true;
    try {
      await this.#refresh();
      this.#watch();
      await this.#watching?.comparison.witnesses.choose();
      // Taken before anything is waited for: a stop that comes meanwhile is newer, and what is added here is refused then.
      const known = this.#known;
      if (isOpenRun(known.run) && (await this.#mayAdd())) await this.#add(known, known.run);
    } catch (error) {
      if (isOpenRun(this.#known.run) && this.#saysFailed.isDue())
        this.#parts.logger.warn({ reason: (error as Error).message }, 'the compare could not be looked after');
    } finally {
      this.#isBusy = false;
    }
  }

  // What this replica sees.

  #watch(): void {
    const { run } = this.#known;
    if (isOpenRun(run) && this.#watching?.id === run.id) return;
    this.#watching?.stop();
    this.#watching = undefined;
    if (!isOpenRun(run)) return;
    const { edge, roomLanes, clock, logger } = this.#parts;
    logger.info({ compare: run.id, by: run.by }, 'the lanes are compared');
    const logClock = new LogClock(this.#parts.log, this.#parts.clock);
    const comparison = new Comparison({
      ...this.#parts,
      logClock,
      watchedGroups: () => edge.watchedGroups(),
      wayOf(room) {
        if (roomLanes.decide(room).lane === 'stream') return 'stream';
        return roomLanes.mirrorsRoom(room) ? 'mirrored' : 'unwatched';
      },
    });
    edge.watch(comparison.witnesses);
    void logClock.measure();
    const stopMeasuring = clock.every(measureEveryMs, () => logClock.measure());
    const reading = { goesOn: true };
    this.#parts.faults.contain('entry', () => this.#readAlong(comparison, reading));
    this.#watching = {
      id: run.id,
      comparison,
      stop() {
        reading.goesOn = false;
        stopMeasuring();
        edge.watch(undefined);
      },
    };
  }

  async #readAlong(comparison: Comparison, reading: { goesOn: boolean }): Promise<void> {
    const { contract, log, clock } = this.#parts;
    const streams = [...contract.streams.keys()].map(shadowStream);
    let tail: Tail | undefined;
    while (reading.goesOn) {
      const since = clock.monotonic();
      try {
        tail ??= await log.openTail(streams);
        const entries = await tail.read();
        await comparison.read(entries, entries.length < allReadBelow);
      } catch (error) {
        // What comes meanwhile is not seen; the next tail begins behind it.
        tail?.close();
        tail = undefined;
        await pause(clock, lookMs);
        comparison.disturb('the log was not read', since);
        if (this.#saysFailed.isDue())
          this.#parts.logger.warn({ reason: (error as Error).message }, 'shadow streams are not read');
      }
    }
    tail?.close();
  }

  #look(): void {
    if (this.#watching === undefined) return;
    const { clock, outage, log, instance } = this.#parts;
    const { comparison, id } = this.#watching;
    const oldest = this.#oldestAtBridge();
    if (oldest !== undefined && clock.monotonic() - oldest > slowBridgeMs)
      comparison.disturb('the bridge answers late', oldest);
    if (outage.isOn) comparison.disturb('an outage of the log', clock.monotonic() - tickMs);
    for (const report of comparison.look())
      void log.share(reportKey(id, report.slice, instance), JSON.stringify(report), reportKeptMs);
  }

  // Adding up.

  async #mayAdd(): Promise<boolean> {
    const { log, instance } = this.#parts;
    const take = (from: string | undefined) => log.swap(adderKey, from, instance, adderMs);
    return (await take(instance)) || (await take(undefined));
  }

  async #add({ stored }: KnownCompare, given: CompareRun): Promise<void> {
    const { clock, log } = this.#parts;
    const roster = (await log.roster.replicas()).map(({ instance }) => instance);
    let run = given;
    for (let added = 0; added < perTick; added++) {
      if (run.lastSlice !== null && run.nextSlice > run.lastSlice) break;
      const next = await this.#withNext(run, roster);
      if (next === undefined) break;
      run = next;
    }
    const now = clock.now();
    if (run.state === 'running' && now - Date.parse(run.startedAt) > longestRunMs)
      run = stopped(run, 'it has ended by itself after 24 h', now);
    if (run.lastSlice !== null && run.nextSlice > run.lastSlice) run = endedCompare(run, '', now);
    if (run === given) return;
    if (await this.#write(stored, run)) this.#tell(given, run);
  }

  /** @returns undefined while a replica may still report the slice, or those around it */
  async #withNext(run: CompareRun, roster: string[]): Promise<CompareRun | undefined> {
    const { nextSlice: slice } = run;
    const wanted = (at: number) =>
      new Set([...roster, ...Object.keys(run.replicas).filter((each) => run.replicas[each]! >= at - 1 - aroundSlices)]);
    const around: SliceReport[] = [];
    const missing = new Set<string>();
    for (let at = slice - aroundSlices; at <= slice + aroundSlices; at++) {
      if (at < run.firstSlice) continue;
      for (const instance of wanted(slice)) {
        const report = await this.#report(run.id, at, instance);
        if (report !== undefined) around.push(report);
        else missing.add(instance);
      }
    }
    const isWhole = missing.size === 0 && around.every(({ isJudged }) => isJudged);
    if (!isWhole && !this.#isLate(slice + aroundSlices)) return undefined;
    const reasons = around.flatMap(({ disturbed }) => disturbed);
    const silent = [...missing].map((instance) => `${instance.slice(0, 100)} did not report`);
    const own = around.filter((report) => report.slice === slice);
    for (const key of this.#reports.keys())
      if (this.#reports.get(key)!.slice < slice - aroundSlices) this.#reports.delete(key);
    return withSlice(run, own, [...new Set([...reasons, ...silent])]);
  }

  #isLate(slice: number): boolean {
    return this.#parts.clock.now() > (slice + 1) * sliceMs + reportsMs;
  }

  async #report(id: string, slice: number, instance: string): Promise<SliceReport | undefined> {
    const key = reportKey(id, slice, instance);
    const known = this.#reports.get(key);
    if (known !== undefined) return known;
    const text = await this.#parts.log.shared(key);
    const report = text === undefined ? undefined : reportShape.safeParse(JSON.parse(text)).data;
    if (report?.isJudged) this.#reports.set(key, report);
    return report;
  }

  #tell(before: CompareRun, after: CompareRun): void {
    const { metrics, logger } = this.#parts;
    for (const [kind, number] of Object.entries(differencesOf(after))) {
      const more = number - (differencesOf(before)[kind] ?? 0);
      if (more > 0) metrics.compareDifferences.inc({ kind }, more);
    }
    if (after.messages.foreign === before.messages.foreign || !this.#saysForeign.isDue()) return;
    const sample = after.samples.findLast(({ kind }) => kind === 'foreign');
    logger.warn(
      { messages: after.messages.foreign, hub: sample?.hub, method: sample?.method, rooms: sample?.rooms },
      'somebody else writes to the bridge, in rooms of the stream lane',
    );
  }

  // The run in the log.

  /** Error: LOG_UNAVAILABLE. */
  async #refresh(): Promise<void> {
    const text = await this.#parts.log.shared(compareKey);
    if (text === this.#known.stored) return;
    this.#known = { stored: text, run: text === undefined ? undefined : readCompareRun(text) };
  }

  /** @param stored what it follows @returns whether that stood there. Error: LOG_UNAVAILABLE */
  async #write(stored: string | undefined, run: CompareRun): Promise<boolean> {
    const text = JSON.stringify(run);
    const isWritten = await this.#parts.log.swap(compareKey, stored, text, keptMs);
    if (isWritten) this.#known = { stored: text, run };
    return isWritten;
  }

  async #change(change: (run: CompareRun | undefined) => CompareRun): Promise<CompareRun> {
    for (let attempt = 1; attempt <= tries; attempt++) {
      await this.#refresh();
      const { stored, run: before } = this.#known;
      const run = change(before);
      if (await this.#write(stored, run)) return run;
    }
    throw new CrossfadeError('CUTOVER_CONFLICT', 'others change the compare at this moment');
  }
}

/** A read of fewer entries has brought all that there were. */
const allReadBelow = 100;

function isOpenRun(run: CompareRun | undefined): run is CompareRun {
  return run !== undefined && run.state !== 'ended';
}

function stopped(run: CompareRun, why: string, nowMs: number): CompareRun {
  const lastSlice = Math.max(run.nextSlice, sliceAt(nowMs));
  return { ...run, state: 'stopping', why, lastSlice, endedAt: new Date(nowMs).toISOString() };
}

function reportKey(id: string, slice: number, instance: string): string {
  return `compare ${id} ${slice} ${instance}`;
}

/** Kind -> how many, as the metric names them. */
function differencesOf({ types, messages }: CompareRun): Record<string, number> {
  const found: Record<string, number> = { missing: 0, changed: 0, order: 0 };
  for (const each of Object.values(types))
    for (const kind of ['missing', 'changed', 'order'] as const) found[kind]! += each[kind];
  const { alone, foreign, twice, outsider } = messages;
  return { ...found, alone, foreign, twice, outsider };
}
