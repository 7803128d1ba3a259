// The cutover live, for the operator's page: in come watchers of `GET /cutover/live`, out goes to each of them, once a second, what
// `GET /cutover` says, with the plan and what this replica says of itself, and first the lanes' last ten minutes, as far as somebody watched.
// Promises: nobody watches, nothing is looked at; watchers are bounded in number, and one that does not read in bytes.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { CompareView } from '../compare/report.ts';
import type { PastVerdict } from '../cutover/guard.ts';
import type { LaneStatus, Status } from '../cutover/status.ts';
import type { StreamState } from '../log/log.ts';
import type { PlanRun } from '../plan/run.ts';
import type { Clock } from '../telemetry/clock.ts';
import type { Faults } from '../telemetry/faults.ts';
import { writeJson } from './answers.ts';

/** What one replica says of itself, beside what all say of the cutover. */
export interface Around {
  /** How old the newest probe is that has arrived, ms; null: none comes here. */
  probeMs: number | null;
  /** The contract's streams; null: the log does not say. */
  streams: StreamState[] | null;
  /** Faults caught at a boundary since the start. */
  faults: number;
}

export interface LiveOptions {
  instance: string;
  status(): Promise<Status>;
  /** The plan that runs, or ran last. */
  run(): PlanRun | undefined;
  /** What was compared. */
  compare(): CompareView;
  around(): Promise<Around>;
  /** undefined where there is no bridge to count clients at. */
  guard(): { last: PastVerdict | undefined; read(): Promise<unknown> } | undefined;
  clock: Clock;
  faults: Faults;
}

/** Seconds since 1970; then of the bridge lane and of the stream lane: events per second, P50, P95, P99 (ms; null: nothing was delivered). */
export type Point = (number | null)[];

const everyMs = 1_000;
/** Each look of the guard asks every bridge. */
const guardEveryMs = 5_000;
const keptMs = 10 * 60_000;
/** People who look at one replica at a time; each costs a few kB a second. */
const maxWatchers = 16;
const maxWaitingBytes = 1024 * 1024;

export class Live {
  readonly #options: LiveOptions;
  readonly #watchers = new Set<ServerResponse>();
  /** Oldest first. */
  #points: Point[] = [];
  #last: string | undefined;
  #isLooking = false;
  #isGuardLooking = false;
  #stop = () => {};

  constructor(options: LiveOptions) {
    this.#options = options;
  }

  /** Answers until the watcher has gone, or the port closes. @param mayChange whether who watches may change anything */
  watch(request: IncomingMessage, response: ServerResponse, mayChange: boolean): void {
    if (this.#watchers.size >= maxWatchers) {
      writeJson(response, 503, { error: `${maxWatchers} watch it already` });
      return;
    }
    response.writeHead(200, ['Content-Type', 'text/event-stream', 'Cache-Control', 'no-store']);
    if (request.method === 'HEAD') {
      response.end();
      return;
    }
    const { instance } = this.#options;
    response.write(eventBlock('greeting', JSON.stringify({ instance, mayChange, points: this.#points })));
    if (this.#last !== undefined && this.#watchers.size > 0) response.write(eventBlock('state', this.#last));
    this.#watchers.add(response);
    response.on('close', () => this.#leave(response));
    if (this.#watchers.size > 1) return;
    const { clock, faults } = this.#options;
    this.#stop = clock.every(everyMs, () => this.#look());
    faults.contain('admin', () => this.#look());
  }

  #leave(response: ServerResponse): void {
    this.#watchers.delete(response);
    if (this.#watchers.size === 0) this.#stop();
  }

  async #look(): Promise<void> {
    if (this.#isLooking) return;
    this.#isLooking = true;
    try {
      const { status, around, run, compare, clock, faults } = this.#options;
      faults.contain('admin', () => this.#readGuard());
      const [cutover, here] = await Promise.all([status(), around()]);
      const point = pointOf(clock.now(), cutover.lanes);
      this.#keep(point);
      this.#last = JSON.stringify({ cutover, here, point, run: run() ?? null, compare: compare() });
      this.#tell(eventBlock('state', this.#last));
    } finally {
      this.#isLooking = false;
    }
  }

  /** Who is about to raise sees what the guard would find, before the button. */
  async #readGuard(): Promise<void> {
    const { clock } = this.#options;
    const guard = this.#options.guard();
    if (guard === undefined || this.#isGuardLooking) return;
    const { last } = guard;
    if (last !== undefined && clock.now() - Date.parse(last.at) < guardEveryMs) return;
    this.#isGuardLooking = true;
    await guard.read().finally(() => {
      this.#isGuardLooking = false;
    });
  }

  #keep(point: Point): void {
    const oldest = point[0]! - keptMs / 1_000;
    this.#points = [...this.#points.filter(([at]) => at! > oldest), point];
  }

  #tell(text: string): void {
    for (const watcher of this.#watchers) {
      if (watcher.writableLength > maxWaitingBytes) watcher.destroy();
      else watcher.write(text);
    }
  }
}

function pointOf(nowMs: number, { bridge, stream }: Status['lanes']): Point {
  const ofLane = ({ perSecond, p50, p95, p99 }: LaneStatus) => [perSecond, p50, p95, p99];
  return [Math.round(nowMs / 100) / 10, ...ofLane(bridge), ...ofLane(stream)];
}

function eventBlock(kind: string, json: string): string {
  return `event: ${kind}\ndata: ${json}\n\n`;
}
