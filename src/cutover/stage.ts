// The cutover stage, put together: in come what it needs of the other stages, out go the lane choice for calls, the
// operator's hand, and the ends that the consumer feeds (notes, and what was read).

import type { BridgeState } from '../bridge/health.ts';
import type { BridgeLane } from '../bridge/lane.ts';
import type { Config } from '../config.ts';
import type { ReadMemory } from '../consumer/read-memory.ts';
import type { Contract } from '../contract/contract.ts';
import type { Event } from '../contract/event.ts';
import type { AcceptedId, Entry, Log } from '../log/log.ts';
import type { RoomSet } from '../room-set.ts';
import type { Clock } from '../telemetry/clock.ts';
import type { Faults } from '../telemetry/faults.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { watchSurplus } from './alarm.ts';
import { tellChanges } from './chronicle.ts';
import { type Note, readNote, tell } from './control.ts';
import { Coordinator } from './coordinator.ts';
import { Cutover } from './cutover.ts';
import type { Fences } from './fences.ts';
import { countAtBridges, Guard } from './guard.ts';
import { Handover } from './handover.ts';
import { HubTypings } from './hub-typing.ts';
import { Moves } from './moves.ts';
import { Operator } from './operator.ts';
import { Outage } from './outage.ts';
import { PeerSignature } from './peer-signature.ts';
import { adminFact, epochFact, Peers } from './peers.ts';
import { ReaderWatch } from './reader-watch.ts';
import { SharedState } from './shared-state.ts';
import { laneOf } from './state.ts';
import { Traffic } from './traffic.ts';
import { UncertainAppends, type UncertainParts } from './uncertain.ts';
import { Unfenced } from './unfenced.ts';
import { Wishes } from './wishes.ts';

export interface CutoverStageOptions {
  config: Config;
  contract: Contract;
  log: Log;
  bridge: BridgeLane | undefined;
  /** What each bridge last said. */
  bridgeStates(): BridgeState[];
  /** Whether several bridges share a backplane, so that a 200 of one says little of the others. */
  severalBridges(): boolean;
  edge: Fences & UncertainParts['edge'];
  /** What this replica has read of the log. */
  reads: Pick<ReadMemory, 'hasRead' | 'withhold' | 'silentMs'>;
  /** The event ids that this replica has accepted. */
  ids: { recent(withinMs: number): AcceptedId[] };
  faults: Faults;
  clock: Clock;
  logger: Logger;
  metrics: Metrics;
}

/** A backplane is given this long after a bridge's 200 until its events count as shown by all bridges. */
const settleMs = 500;

export class CutoverStage {
  /** Which lane a call takes. */
  readonly laneChoice: Cutover;
  readonly outage: Outage;
  readonly operator: Operator;
  readonly uncertain: UncertainAppends;
  readonly readerWatch: ReaderWatch;
  readonly signature: PeerSignature;
  readonly #options: CutoverStageOptions;
  readonly #traffic: Traffic;
  readonly #coordinator: Coordinator;
  readonly #handover: Handover;
  readonly #moves: Moves;
  readonly #shared: SharedState;
  readonly #wishes: Wishes;
  readonly #peers: Peers;
  readonly #stopWatching: () => void;
  readonly #typings: HubTypings;
  readonly #unfenced: Unfenced;
  readonly #standalone: boolean;
  #facts: Record<string, string> = {};

  constructor(options: CutoverStageOptions) {
    this.#options = options;
    const { config, contract, log, bridge, edge, clock, logger, metrics } = options;
    const { instance, handoverTimeout: timeoutMs } = config;
    this.#standalone = bridge === undefined;
    this.#typings = new HubTypings(clock);
    const unfenced = new Unfenced({ instance, edge, logger, metrics });
    this.#unfenced = unfenced;
    const traffic = new Traffic(clock);
    this.#traffic = traffic;
    const settled = () => (options.severalBridges() ? settleMs : 0);
    this.laneChoice = new Cutover({
      standalone: this.#standalone,
      killSwitch: config.killSwitch,
      traffic,
      follow: { silentMs: () => options.reads.silentMs, reachable: () => log.reachable },
      timeoutMs,
      clock,
    });
    const cutover = this.laneChoice;
    const rememberRecentIds = (withinMs?: number) => this.#rememberRecentIds(withinMs);
    this.signature = new PeerSignature({ instance, secret: config.adminToken ?? config.apiKey, clock });
    this.#peers = new Peers({ instance, roster: log.roster, signature: this.signature, clock, logger });
    this.outage = new Outage({
      instance,
      cutover,
      traffic,
      unfenced,
      peers: this.#peers,
      log,
      fallback: config.fallback && !this.#standalone,
      follows: () => this.#shared.follows,
      rememberRecentIds,
      comeBack: () => this.#moves.comeBack(),
      showMs: () => timeoutMs + settled(),
      clock,
      logger,
    });
    this.#coordinator = new Coordinator({ log, cutover, timeoutMs, clock, logger });
    this.#handover = new Handover({
      instance,
      log,
      cutover,
      traffic,
      outage: this.outage,
      fences: edge,
      unfenced,
      timeoutMs,
      settleMs: settled,
      faults: options.faults,
      clock,
      logger,
    });
    this.readerWatch = new ReaderWatch({
      usesStream: () => cutover.usesStream,
      silentMs: () => options.reads.silentMs,
      logAnswers: () => log.reachable,
      peers: this.#peers,
      clock,
      logger,
    });
    const guard = new Guard({
      instance,
      countAtBridges: () => countAtBridges(bridge!, config.apiKey),
      callRoll: () => this.#coordinator.callRoll(),
      log,
      streams: [...contract.streams.keys()],
      clock,
    });
    this.uncertain = new UncertainAppends({
      log: options.reads,
      edge,
      peers: this.#peers,
      unfenced,
      settleMs: settled,
      faults: options.faults,
      clock,
      metrics,
    });
    this.#moves = new Moves({
      instance,
      cutover,
      coordinator: this.#coordinator,
      log,
      guard,
      rememberRecentIds,
      clock,
      logger,
    });
    this.#shared = new SharedState({
      cutover,
      outage: this.outage,
      unfenced,
      moves: this.#moves,
      log,
      rememberRecentIds,
      clock,
      logger,
    });
    const wish = { percent: config.percent, mirror: config.mirror };
    this.#wishes = new Wishes({
      instance,
      wish,
      killSwitch: config.killSwitch,
      cutover,
      moves: this.#moves,
      roster: log.roster,
      follows: () => this.#shared.follows,
      clock,
      logger,
    });
    // An edge alone decides no call's lane: what its flags say, or do not say, must not move those who do.
    if (config.listen === undefined) this.#wishes.drop();
    this.operator = new Operator({
      instance,
      wish,
      cutover,
      moves: this.#moves,
      shared: this.#shared,
      wishes: this.#wishes,
      outage: this.outage,
      guard,
      peers: this.#peers,
      readerWatch: this.readerWatch,
      bridgeStates: options.bridgeStates,
      log,
      clock,
      logger,
    });
    this.#stopWatching = this.#standalone ? () => {} : watchSurplus({ cutover, guard, log, clock, logger, metrics });
    this.#showState();
    tellChanges(this.laneChoice, logger);
    this.laneChoice.onAdopted(() => {
      this.#showState();
      this.#describe();
    });
  }

  /** The lanes are made from what is here: their coalescing windows come back. */
  connect(windows: { flushWindows(rooms: RoomSet): void }): void {
    this.#traffic.connect((rooms) => windows.flushWindows(rooms));
  }

  /** The share of rooms on the stream lane here and now. */
  get percent(): number {
    return this.laneChoice.percent;
  }

  /** What the other replicas shall know of this one. @param facts its admin address among them, see peers.ts */
  introduce(facts: { [adminFact]: string } & Record<string, string>): void {
    this.#facts = facts;
    this.#describe();
  }

  /** Calls `run` now and with every change of whether rooms may be on the stream lane. */
  onUse(run: (inUse: boolean) => void): void {
    run(this.laneChoice.usesStream);
    this.laneChoice.onAdopted(() => run(this.laneChoice.usesStream));
  }

  /** Reads the shared state as soon as the log answers, and until begin(): calls wait for it. Resolves after begin() or close(). */
  async learn(): Promise<void> {
    if (!this.#standalone) await this.#shared.learn();
  }

  /**
   * Whether the bridge carries, or a moment ago began to carry, this room's calls through other replicas while its windows here were
   * not waited for: typing that comes of them might be shown behind its sender's message.
   */
  hadElsewhere(room: string): boolean {
    return this.outage.isOn || this.#shared.hasLeftAtOnce(room);
  }

  /** Whether rooms may have been on the stream lane since `sinceMs` (ms since 1970), also if they are not any more. */
  mayHaveUsedStream(sinceMs: number): boolean {
    return this.#standalone || this.#shared.mayHaveUsedStream(sinceMs);
  }

  /** Brings this replica into the shared state, before it reads anything of the log, and keeps it there. */
  async begin(): Promise<void> {
    if (this.#standalone) return;
    const { logger } = this.#options;
    await this.#shared
      .follow()
      .catch((error) => logger.warn({ reason: (error as Error).message }, 'the shared state is not known yet'));
    this.#shared.start();
    this.#wishes.start();
    await this.#peers.refresh();
  }

  /** @returns why the entry is no note; undefined: it has had its effect */
  onNote(entry: Entry): string | undefined {
    let note: Note | undefined;
    try {
      note = readNote(entry);
    } catch (error) {
      return (error as Error).message;
    }
    if (note !== undefined) this.#take(note);
    return undefined;
  }

  onRead(entry: Entry): void {
    if (this.#standalone) return;
    const { state } = this.laneChoice;
    const { epoch, room } = entry;
    const lane = laneOf(state, room);
    // The bridge carries the room meanwhile: the two cannot be put in order any more.
    const isOvertaken = lane === 'bridge' ? epoch !== undefined && epoch < state.epoch : this.outage.isOn;
    this.#fenceTyping(entry);
    if (isOvertaken) this.#unfenced.read(entry);
  }

  /** A client types through its bridge hub, in a room whose messages go by stream: all replicas know before its next message. */
  onHubTyping(room: string | undefined, user: string): void {
    if (room === undefined ? !this.laneChoice.usesStream : this.laneChoice.decide(room).lane === 'bridge') return;
    const telling = this.#typings.typed(room, user);
    if (telling === 'unheard') this.#options.metrics.overBudget.inc({ budget: 'typing_notes' });
    if (room !== undefined && telling === 'room') this.#tellTyping({ kind: 'hub typing', room, user });
    if (telling === 'user') this.#tellTyping({ kind: 'hub typing anywhere', user });
  }

  /** An event goes to the bridge while it is not known whether others append to its room. */
  onBlind(event: Event): void {
    this.#unfenced.sentBlind(event);
  }

  close(): void {
    this.#stopWatching();
    this.readerWatch.close();
    this.#wishes.close();
    this.#shared.close();
    this.outage.close();
    this.#peers.close();
  }

  #take(note: Note): void {
    switch (note.kind) {
      case 'hub typing':
        return this.#typings.note(note.user, note.room);
      case 'hub typing anywhere':
        return this.#typings.note(note.user);
      case 'remembered':
        return this.#moves.onRemembered(note.epoch, note.instance);
      case 'restored':
        return this.#shared.onRestored(note.to);
      case 'here':
      case 'ready':
        return this.#coordinator.onAnswer(note);
      default:
        return this.#handover.onNote(note);
    }
  }

  #tellTyping(note: Note): void {
    // Without the log its messages go by the bridge, too.
    tell(this.#options.log, note).catch(() => {});
  }

  /** A message waits for its sender's typing where that may still be on its way from the bridge. */
  #fenceTyping({ room, endsTypingOf, deliveries }: Entry): void {
    if (endsTypingOf === undefined || deliveries === undefined) return;
    if (!this.#typings.mayBeOnItsWay(room, endsTypingOf)) return;
    this.#options.edge.fenceMembers(room, deliveries);
  }

  #describe(): void {
    this.#options.log.roster.describe({ ...this.#facts, [epochFact]: String(this.laneChoice.state.epoch) });
  }

  #rememberRecentIds(withinMs = Number.POSITIVE_INFINITY): Promise<void> {
    return this.#options.log.rememberIds(this.#options.ids.recent(withinMs));
  }

  #showState(): void {
    const { metrics } = this.#options;
    metrics.cutoverEpoch.set(this.laneChoice.state.epoch);
    metrics.cutoverPercent.set(this.laneChoice.percent);
  }
}
