// The cutover stage, put together: in come what it needs of the other stages, out go the lane choice for calls, the
// operator's hand, and the ends that the consumer feeds (notes, and what was read).

import type { BridgeState } from '../bridge/health.ts';
import type { BridgeLane } from '../bridge/lane.ts';
import type { Config } from '../config.ts';
import type { ReadMemory } from '../consumer/read-memory.ts';
import type { Contract } from '../contract/contract.ts';
import type { Event } from '../contract/event.ts';
import type { AcceptedId, Entry, Log } from '../log/log.ts';
import type { Clock } from '../telemetry/clock.ts';
import type { Faults } from '../telemetry/faults.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { watchSurplus } from './alarm.ts';
import { tellChanges } from './chronicle.ts';
import { type Note, readNote } from './control.ts';
import { Cutover } from './cutover.ts';
import { Detour } from './detour.ts';
import type { Fences } from './fences.ts';
import { Flights } from './flights.ts';
import { Gate } from './gate.ts';
import { countAtBridges, Guard } from './guard.ts';
import { Handover } from './handover.ts';
import { HubTypings } from './hub-typing.ts';
import { Moves } from './moves.ts';
import { Operator } from './operator.ts';
import { PeerSignature } from './peer-signature.ts';
import { adminFact, epochFact, Peers, peerPaths } from './peers.ts';
import { ReaderWatch } from './reader-watch.ts';
import { SharedState } from './shared-state.ts';
import { laneOf } from './state.ts';
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

/** The coalescing windows of the lanes. */
export interface Windows {
  /** Ends those of these rooms; resolves when what was in them is in the log, or at the bridge. */
  flush(covers: (room: string) => boolean): Promise<void>;
  /** The rooms of whose windows something is still on its way. */
  readonly emittingRooms: string[];
}

/** A backplane is given this long after a bridge's 200 until its events count as shown by all bridges. */
const settleMs = 500;
/** ms that telling the other replicas of a detour may hold a call up, beyond what they wait for. */
const detourMs = 1_000;

export class CutoverStage {
  /** Which lane a call takes. */
  readonly laneChoice: Cutover;
  readonly detour: Detour;
  readonly operator: Operator;
  readonly uncertain: UncertainAppends;
  readonly readerWatch: ReaderWatch;
  readonly signature: PeerSignature;
  readonly #options: CutoverStageOptions;
  readonly #handover: Handover;
  readonly #moves: Moves;
  readonly #shared: SharedState;
  readonly #wishes: Wishes;
  readonly #peers: Peers;
  readonly #stopWatching: () => void;
  readonly #typings: HubTypings;
  readonly #unfenced: Unfenced;
  readonly #standalone: boolean;
  #windows: Windows | undefined;
  #facts: Record<string, string> = {};

  constructor(options: CutoverStageOptions) {
    this.#options = options;
    const { config, contract, log, bridge, edge, clock, logger, metrics } = options;
    const { instance, handoverTimeout: timeoutMs } = config;
    this.#standalone = bridge === undefined;
    this.#typings = new HubTypings(clock);
    const unfenced = new Unfenced({ instance, edge, logger, metrics });
    this.#unfenced = unfenced;
    const gate = new Gate();
    const flush: Windows['flush'] = (covers) => this.#windows!.flush(covers);
    const flights = new Flights();
    const settled = () => (options.severalBridges() ? settleMs : 0);
    const follow = { silentMs: () => options.reads.silentMs, reachable: () => log.reachable };
    this.laneChoice = new Cutover({
      standalone: this.#standalone,
      killSwitch: config.killSwitch,
      gate,
      flights,
      detourOf: (room) => this.detour.of(room),
      follow,
      timeoutMs,
      clock,
    });
    this.signature = new PeerSignature({ instance, secret: config.adminToken ?? config.apiKey, clock });
    this.#peers = new Peers({ instance, roster: log.roster, signature: this.signature, clock, logger });
    this.#handover = new Handover({
      instance,
      log,
      fences: edge,
      gate,
      flights,
      unfenced,
      flush,
      state: () => this.laneChoice.state,
      adopt: (state) => this.laneChoice.adopt(state),
      timeoutMs,
      settleMs: settled,
      faults: options.faults,
      clock,
      logger,
    });
    this.readerWatch = new ReaderWatch({
      usesStream: () => this.laneChoice.usesStream,
      silentMs: () => options.reads.silentMs,
      logAnswers: () => log.reachable,
      peers: this.#peers,
      clock,
      logger,
    });
    const showMs = () => timeoutMs + settled();
    const guard = new Guard({
      instance,
      countAtBridges: () => countAtBridges(bridge!, config.apiKey),
      callRoll: () => this.#handover.callRoll(),
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
    this.detour = new Detour({
      instance,
      gate,
      flights,
      unfenced,
      flush,
      emitting: () => this.#windows!.emittingRooms,
      logAnswers: () => log.reachable && this.laneChoice.isFresh,
      beforeReturn: (sinceMs) => this.#rememberRecentIds(sinceMs),
      tell: (note) => this.#handover.tell(note),
      post: async (news) => void (await this.#peers.tell(peerPaths.detour, news, showMs() + detourMs)),
      timeoutMs,
      showMs,
      clock,
      logger,
    });
    this.#moves = new Moves({
      instance,
      cutover: this.laneChoice,
      handover: this.#handover,
      guard,
      rememberRecentIds: () => this.#rememberRecentIds(),
      clock,
      logger,
    });
    this.#shared = new SharedState({
      cutover: this.laneChoice,
      detour: this.detour,
      unfenced,
      moves: this.#moves,
      log,
      rememberRecentIds: (withinMs) => this.#rememberRecentIds(withinMs),
      clock,
      logger,
    });
    const wish = { percent: config.percent, mirror: config.mirror };
    this.#wishes = new Wishes({
      instance,
      wish,
      killSwitch: config.killSwitch,
      cutover: this.laneChoice,
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
      cutover: this.laneChoice,
      moves: this.#moves,
      shared: this.#shared,
      wishes: this.#wishes,
      detour: this.detour,
      guard,
      peers: this.#peers,
      readerWatch: this.readerWatch,
      bridgeStates: options.bridgeStates,
      log,
      clock,
      logger,
    });
    this.#stopWatching = this.#standalone
      ? () => {}
      : watchSurplus({ cutover: this.laneChoice, guard, log, clock, logger, metrics });
    this.#showState();
    tellChanges(this.laneChoice, logger);
    this.laneChoice.onAdopted(() => {
      this.#showState();
      this.#describe();
    });
  }

  /** The lanes are made from what is here: their windows come back. */
  connect(windows: Windows): void {
    this.#windows = windows;
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
    return this.detour.hadElsewhere(room) || this.#shared.hasLeftAtOnce(room);
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
    const wasOvertaken =
      entry.epoch !== undefined && entry.epoch < state.epoch && laneOf(state, entry.room) === 'bridge';
    this.#fenceTyping(entry);
    this.detour.noteRead(entry, wasOvertaken);
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
    this.detour.close();
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
      case 'fence':
        this.detour.onFence(note.id, note.rooms);
        return this.#handover.onNote(note);
      default:
        return this.#handover.onNote(note);
    }
  }

  #tellTyping(note: Note): void {
    // Without the log its messages go by the bridge, too.
    this.#handover.tell(note).catch(() => {});
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
