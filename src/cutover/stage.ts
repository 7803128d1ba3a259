// The cutover stage, put together: in come what it needs of the other stages, out go the lane choice for calls, the
// operator's hand, and the ends that the consumer feeds (notes, and what was read).

import type { Config } from '../config.ts';
import type { Contract } from '../contract/contract.ts';
import type { BridgeLane } from '../lanes/bridge.ts';
import type { Twin } from '../lanes/lanes.ts';
import type { AcceptedId, Entry, Log } from '../log/log.ts';
import type { Clock } from '../telemetry/clock.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { readNote } from './control.ts';
import { Cutover } from './cutover.ts';
import { Detour } from './detour.ts';
import { Flights } from './flights.ts';
import { Gate } from './gate.ts';
import { Guard } from './guard.ts';
import { type Fences, Handover } from './handover.ts';
import { Operator } from './operator.ts';
import { adminFact, Peers } from './peers.ts';
import { laneOf } from './state.ts';

export interface CutoverStageOptions {
  config: Config;
  contract: Contract;
  log: Log;
  bridge: BridgeLane | undefined;
  /** Whether several bridges share a backplane, so that a 200 of one says little of the others. */
  severalBridges(): boolean;
  fences: Fences;
  flush(covers: (room: string) => boolean): Promise<void>;
  /** The event ids that this replica has accepted in the last `withinMs`. */
  recentIds(withinMs: number): AcceptedId[];
  silentMs(): number;
  clock: Clock;
  logger: Logger;
  metrics: Metrics;
}

/** A backplane is given this long after a bridge's 200 until its events count as shown by all bridges. */
const settleMs = 500;
/** ms that telling the other replicas of a twin may hold its call up: one that learns of it later may show both copies. */
const twinMs = 500;
const detourMs = 500;

export class CutoverStage {
  /** Which lane a call takes. */
  readonly lanes: Cutover;
  readonly detour: Detour;
  readonly operator: Operator;
  readonly #options: CutoverStageOptions;
  readonly #handover: Handover;
  readonly #peers: Peers;
  readonly #standalone: boolean;
  #untold: string[] = [];
  #facts: Record<string, string> = {};

  constructor(options: CutoverStageOptions) {
    this.#options = options;
    const { config, contract, log, bridge, clock, logger, metrics } = options;
    const { instance, handoverTimeout: timeoutMs } = config;
    this.#standalone = bridge === undefined;
    const gate = new Gate();
    const flights = new Flights();
    const follow = { silentMs: options.silentMs, reachable: () => log.reachable };
    this.lanes = new Cutover({
      standalone: this.#standalone,
      killSwitch: config.killSwitch,
      gate,
      flights,
      detourOf: (room) => this.detour.reasonOf(room),
      follow,
      timeoutMs,
      clock,
    });
    this.#peers = new Peers({ instance, roster: log.roster, token: config.adminToken, clock });
    this.#handover = new Handover({
      instance,
      log,
      fences: options.fences,
      gate,
      flights,
      flush: options.flush,
      state: () => this.lanes.state,
      adopt: (state) => this.lanes.adopt(state),
      timeoutMs,
      settleMs: () => (options.severalBridges() ? settleMs : 0),
      clock,
      logger,
    });
    this.detour = new Detour({
      instance,
      gate,
      flights,
      flush: options.flush,
      logAnswers: () => log.reachable && this.lanes.isFresh,
      beforeReturn: (sinceMs) => this.#rememberRecentIds(sinceMs),
      tell: (note) => this.#handover.tell(note),
      tellPeers: (room) => this.#tellDetour(room),
      timeoutMs,
      clock,
      logger,
      metrics,
    });
    this.operator = new Operator({
      instance,
      wish: { percent: config.percent, mirror: config.mirror },
      killSwitch: config.killSwitch,
      cutover: this.lanes,
      handover: this.#handover,
      detour: this.detour,
      guard: new Guard({
        instance,
        countAtBridges: () => this.#countAtBridges(),
        callRoll: () => this.#handover.callRoll(),
        log,
        streams: [...contract.streams.keys()],
        clock,
      }),
      peers: this.#peers,
      log,
      rememberRecentIds: (withinMs) => this.#rememberRecentIds(withinMs),
      clock,
      logger,
      metrics,
    });
    this.lanes.onAdopted(() => this.#describe());
  }

  /** The share of rooms on the stream lane here and now. */
  get percent(): number {
    return this.lanes.percent;
  }

  /** What the other replicas shall know of this one. @param facts its admin address among them, see peers.ts */
  introduce(facts: { [adminFact]: string } & Record<string, string>): void {
    this.#facts = facts;
    this.#describe();
  }

  /** Calls `run` now and with every change of whether rooms may be on the stream lane. */
  onUse(run: (inUse: boolean) => void): void {
    run(this.lanes.usesStream);
    this.lanes.onAdopted(() => run(this.lanes.usesStream));
  }

  /** Brings this replica into the shared state; before it reads anything of the log. Error: LOG_UNAVAILABLE. */
  async begin(): Promise<void> {
    if (this.#standalone) return;
    await this.operator.follow();
    await this.#peers.refresh();
  }

  onNote(entry: Entry): void {
    const note = readNote(entry);
    if (note.kind === 'fence') this.detour.onFence(note.id, note.rooms);
    this.#handover.onNote(note);
    this.operator.onNote(note);
  }

  onRead(entry: Entry): void {
    if (this.#standalone) return;
    const { state } = this.lanes;
    const wasOvertaken =
      entry.epoch !== undefined && entry.epoch < state.epoch && laneOf(state, entry.room) === 'bridge';
    this.detour.noteRead(entry, wasOvertaken);
  }

  /** Tells the other replicas of an event that may be on both lanes. */
  async tellTwin(twin: Twin): Promise<void> {
    await this.#peers.tell('/cutover/twin', twin, twinMs);
  }

  tellNoTwin(eventId: string): void {
    void this.#peers.tell('/cutover/untwin', { eventId }, detourMs);
  }

  close(): void {
    this.operator.close();
    this.detour.close();
    this.#peers.close();
  }

  /** Many rooms fail at once: they are told in one go. */
  #tellDetour(rooms: string[]): void {
    this.#untold.push(...rooms);
    if (this.#untold.length > rooms.length) return;
    this.#options.clock.after(10, () => {
      void this.#peers.tell('/cutover/detour', { rooms: this.#untold.splice(0) }, detourMs);
    });
  }

  #describe(): void {
    this.#options.log.roster.describe({ ...this.#facts, epoch: String(this.lanes.state.epoch) });
  }

  #rememberRecentIds(withinMs = Number.POSITIVE_INFINITY): Promise<void> {
    return this.#options.log.rememberIds(this.#options.recentIds(withinMs));
  }

  async #countAtBridges(): Promise<number> {
    const { bridge, config } = this.#options;
    const key = config.apiKey === undefined ? [] : ['X-Internal-Api-Key', config.apiKey];
    const answers = await bridge!.askAll('/internal/stats', key);
    return answers.reduce((sum, { status, body }) => sum + connectionsIn(status, body), 0);
  }
}

function connectionsIn(status: number, body: Buffer): number {
  const connections = status === 200 ? JSON.parse(body.toString('utf8')).connections : undefined;
  if (typeof connections === 'number') return connections;
  throw new Error(`GET /internal/stats of the bridge answered ${status} without a count`);
}
