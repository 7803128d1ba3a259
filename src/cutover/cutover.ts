// The cutover, put together: in come what it needs of the other stages, out go the lane choice for calls, the
// operator's hand, and the ends that the consumer feeds (notes, and what was read).

import type { BridgeState } from '../bridge/health.ts';
import type { BridgeAnswer, BridgeLane } from '../bridge/lane.ts';
import type { Config } from '../config.ts';
import type { ReadMemory } from '../consumer/read-memory.ts';
import type { Contract } from '../contract/contract.ts';
import type { Event } from '../contract/event.ts';
import type { ClientsOfHub } from '../edge/both-hubs.ts';
import type { RelayPeers } from '../edge/relay/relay.ts';
import type { FailureReason } from '../errors.ts';
import type { LaneFailures } from '../lanes/call.ts';
import type { AcceptedId, Entry, Log } from '../log/log.ts';
import { PeerSignature } from '../peers/peer-signature.ts';
import { type adminFact, epochFact, Peers, relaysFact } from '../peers/peers.ts';
import type { RoomSet } from '../room-set.ts';
import type { Fences } from '../rooms/fences.ts';
import { HubTypings } from '../rooms/hub-typing.ts';
import { Outage } from '../rooms/outage.ts';
import { RoomLanes } from '../rooms/room-lanes.ts';
import { type CutoverState, isAllByStream, laneOf } from '../rooms/state.ts';
import { Traffic } from '../rooms/traffic.ts';
import { UncertainAppends, type UncertainParts } from '../rooms/uncertain.ts';
import { Unfenced } from '../rooms/unfenced.ts';
import type { Clock } from '../telemetry/clock.ts';
import type { Faults } from '../telemetry/faults.ts';
import { LaneRates } from '../telemetry/lane-rates.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { watchSurplus } from './alarm.ts';
import { Changes } from './changes.ts';
import { type CutoverCheckParts, cutoverFindings } from './check.ts';
import { tellChanges } from './chronicle.ts';
import { Completion } from './completion.ts';
import { type Note, readNote, tell } from './control.ts';
import { Coordinator } from './coordinator.ts';
import { DryRuns, type DryRunsParts } from './dry-runs.ts';
import { forecastHere } from './forecast.ts';
import { countAtBridges, Guard } from './guard.ts';
import { Handover } from './handover.ts';
import { HubMoveRules } from './hub-moves.ts';
import { Operator, type OperatorParts } from './operator.ts';
import { OwnFlags } from './own-flags.ts';
import { type OwnViewParts, ownView } from './own-view.ts';
import { ReaderWatch } from './reader-watch.ts';
import { Rollback, type RollbackParts } from './rollback.ts';
import { SharedState } from './shared-state.ts';
import { cutoverStatus, type StatusParts } from './status.ts';
import { Survey, type SurveyParts } from './survey.ts';

export interface CutoverOptions {
  config: Config;
  contract: Contract;
  log: Log;
  bridge: BridgeLane | undefined;
  /** The state by which the bridge was left for good, where this replica has started after that; it has none then. */
  completed: CutoverState | undefined;
  /** What each bridge last said. */
  bridgeStates(): BridgeState[];
  edge: Fences &
    UncertainParts['edge'] & { groups: OwnViewParts['groups']; clientsByHub: Record<string, ClientsOfHub> };
  aroundClients: OwnViewParts['aroundClients'];
  /** What this replica has read of the log. */
  reads: Pick<ReadMemory, 'hasRead' | 'withhold' | 'stalenessMs'>;
  /** The event ids that this replica has accepted. */
  ids: { recent(withinMs: number): AcceptedId[] };
  faults: Faults;
  clock: Clock;
  logger: Logger;
  metrics: Metrics;
}

/** ms beyond the publish timeout, and the 500 ms of `RoomLanes.hears`, for which a reader may hear nothing. */
const deafSlackMs = 1_000;
/** A backplane is given this long after a bridge's 200 until its events count as shown by all bridges. */
const settleMs = 500;

export class Cutover implements LaneFailures {
  /** Which lane a call takes. */
  readonly roomLanes: RoomLanes;
  readonly outage: Outage;
  /** What people, and programs, may ask of the cutover, and see of it. */
  readonly answers: Answers;
  readonly uncertain: UncertainAppends;
  readonly readerWatch: ReaderWatch;
  readonly signature: PeerSignature;
  readonly survey: Survey;
  readonly guard: Guard;
  readonly #options: CutoverOptions;
  readonly #made: ReturnType<typeof makeCutoverParts>;
  /** Whether there is a shared state to follow: there was a bridge at some time. */
  readonly #follows: boolean;
  readonly #stopWatching: () => void;
  #onSurplus: (surplus: number) => void = () => {};
  /** From the first word on: who is taken for an older release keeps the others from giving out what it would not know. */
  #facts: Record<string, string> = { [relaysFact]: 'yes' };

  constructor(options: CutoverOptions) {
    this.#options = options;
    this.#follows = options.bridge !== undefined || options.completed !== undefined;
    this.#made = makeCutoverParts(options);
    const { roomLanes, guard, outage, answers, uncertain, readerWatch, signature, survey } = this.#made;
    this.roomLanes = roomLanes;
    this.outage = outage;
    this.answers = answers;
    this.uncertain = uncertain;
    this.readerWatch = readerWatch;
    this.signature = signature;
    this.survey = survey;
    this.guard = guard;
    if (options.completed !== undefined) roomLanes.adopt(options.completed, 'alone');
    this.#stopWatching = roomLanes.standalone
      ? () => {}
      : watchSurplus({ ...options, roomLanes, guard, onLasting: (surplus) => this.#onSurplus(surplus) });
    this.#showState();
    this.#describe();
    tellChanges(roomLanes, options.logger);
    roomLanes.onAdopted(() => {
      this.#showState();
      this.#describe();
    });
  }

  /** The lanes are made from what is here: their coalescing windows come back. */
  connect(windows: { flushWindows(rooms: RoomSet): void }): void {
    this.#made.traffic.connect((rooms) => windows.flushWindows(rooms));
  }

  /** What the other replicas shall know of this one. @param facts its admin address among them, see peers.ts */
  async introduce(facts: { [adminFact]: string } & Record<string, string>): Promise<void> {
    Object.assign(this.#facts, facts);
    this.#describe();
    await this.#made.peers.refresh();
  }

  /** Calls `run` when clients of the bridge have missed the stream lane for 30 s, and every 30 s from then on. */
  onSurplus(run: (surplus: number) => void): void {
    this.#onSurplus = run;
  }

  /** The other replicas, as the edge needs them. */
  get others(): RelayPeers {
    return this.#made;
  }

  /** Calls `run` now and with every change of whether rooms may be on the stream lane. */
  onUse(run: (inUse: boolean) => void): void {
    run(this.roomLanes.usesStream);
    this.roomLanes.onAdopted(() => run(this.roomLanes.usesStream));
  }

  /** Calls `run` with every change of the state, and now where there is none: which hubs end at crossfade, and how long those who are elsewhere may take (ms). */
  onHubs(run: (native: string[], overMs?: number) => void): void {
    const runNow = () => {
      const { state } = this.roomLanes;
      // Who waits for its turn while the bridge carries a room misses what the bridge shows.
      run(this.roomLanes.nativeHubs, isAllByStream(state) ? state.hubs?.overMs : 0);
    };
    if (this.roomLanes.standalone) runNow();
    this.roomLanes.onAdopted(runNow);
  }

  /** Calls `run` when the bridge is left for good. */
  onComplete(run: () => void): void {
    this.roomLanes.onAdopted(({ completed }, before) => {
      if (!completed || before.completed) return;
      this.#stopWatching();
      run();
    });
  }

  /** Reads the shared state as soon as the log answers, and until begin(): calls wait for it. Resolves after begin() or close(). */
  async learn(): Promise<void> {
    if (this.#follows) await this.#made.shared.learn();
  }

  /** An outage is on, or the room may have left the stream lane here alone a moment ago, see {@link LaneFailures.othersMayBeAtBridge}. */
  othersMayBeAtBridge(room: string): boolean {
    return this.outage.isOn || this.roomLanes.hasLeftAlone(room);
  }

  /** Whether rooms may have been on the stream lane since `sinceMs` (ms since 1970), also if they are not any more. */
  mayHaveUsedStream(sinceMs: number): boolean {
    return this.roomLanes.standalone || this.#made.shared.mayHaveUsedStream(sinceMs);
  }

  /** Brings this replica into the shared state, before it reads anything of the log, and keeps it there. */
  async begin(): Promise<void> {
    if (!this.#follows) return;
    const { logger } = this.#options;
    await this.#made.shared
      .follow()
      .catch((error) => logger.warn({ reason: (error as Error).message }, 'the shared state is not known yet'));
    this.#made.shared.start();
    this.#made.ownFlags.start();
    await this.#made.peers.refresh();
    if (this.roomLanes.standalone) return;
    // One that does not answer does not keep the clients waiting.
    this.#options.faults.contain('peer', () => this.#made.outage.ask());
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
    if (this.roomLanes.standalone) return;
    const { state } = this.roomLanes;
    const { epoch, room } = entry;
    const lane = laneOf(state, room);
    // The bridge carries the room meanwhile: the two cannot be put in order any more.
    const isOvertaken = lane === 'bridge' ? epoch !== undefined && epoch < state.epoch : this.outage.isOn;
    this.#fenceTyping(entry);
    if (isOvertaken) this.#made.unfenced.wasRead(entry);
  }

  /** A client types through its bridge hub, in a room whose messages go by stream: all replicas are told, so that they fence its next message. */
  onHubTyping(room: string | undefined, user: string): void {
    if (room === undefined ? !this.roomLanes.usesStream : this.roomLanes.decide(room).lane === 'bridge') return;
    const telling = this.#made.typings.typed(room, user);
    if (telling === 'unheard') this.#options.metrics.overBudget.inc({ budget: 'typing_notes' });
    if (room !== undefined && telling === 'room') this.#tellTyping({ kind: 'hub typing', room, user });
    if (telling === 'user') this.#tellTyping({ kind: 'hub typing anywhere', user });
  }

  /** The log could not take an event: all rooms go to the bridge. Resolves when this one may, see CurrentOutage. */
  onLogFailure(reason: FailureReason): Promise<void> {
    return this.outage.begin(reason);
  }

  /** An append may be in the log, and its call is about to go to the bridge. @returns `kept` where it is in the log */
  settleUncertain(
    event: { room: string; eventId: string },
    callBridge: () => Promise<BridgeAnswer>,
  ): Promise<BridgeAnswer | 'kept'> {
    return this.uncertain.settle(event, callBridge);
  }

  /** An event goes to the bridge while it is not known whether others append to its room. */
  onBlind(event: Event): void {
    this.#made.unfenced.sentBlind(event);
  }

  close(): void {
    this.#stopWatching();
    this.#made.rates.close();
    this.readerWatch.close();
    this.#made.ownFlags.close();
    this.#made.shared.close();
    this.outage.close();
    this.#made.peers.close();
  }

  #take(note: Note): void {
    switch (note.kind) {
      case 'hub typing':
        return this.#made.typings.note(note.user, note.room);
      case 'hub typing anywhere':
        return this.#made.typings.note(note.user);
      case 'remembered':
        return this.#made.changes.onRemembered(note.epoch, note.instance);
      case 'restored':
        return this.#made.shared.onRestored(note.to);
      case 'here':
      case 'ready':
        return this.#made.coordinator.onAnswer(note);
      default:
        return this.#made.handover.onNote(note);
    }
  }

  #tellTyping(note: Note): void {
    // Without the log its messages go by the bridge, too.
    tell(this.#options.log, note).catch(() => {});
  }

  /** A message waits for its sender's typing where that may still be on its way from the bridge. */
  #fenceTyping({ room, endsTypingOf, deliveries }: Entry): void {
    if (endsTypingOf === undefined || deliveries === undefined) return;
    if (!this.#made.typings.mayBeOnItsWay(room, endsTypingOf)) return;
    this.#options.edge.fenceMembers(room, deliveries);
  }

  #describe(): void {
    this.#options.log.roster.describe({ ...this.#facts, [epochFact]: String(this.roomLanes.state.epoch) });
  }

  #showState(): void {
    const { metrics } = this.#options;
    metrics.cutoverEpoch.set(this.roomLanes.state.epoch);
    metrics.cutoverPercent.set(this.roomLanes.percent);
  }
}

/** What the parts of the cutover need of the flags and of the other stages. */
function settingsOf({ config, contract, log, bridge, ids }: CutoverOptions) {
  const { instance, handoverTimeout: timeoutMs, killSwitch, hubs } = config;
  return {
    ...{ instance, timeoutMs, killSwitch, hubs },
    hubNames: contract.hubs.map(({ name }) => name),
    standalone: bridge === undefined,
    settleMs: () => (bridge?.hasBackplane ? settleMs : 0),
    rememberRecentIds: (withinMs = Number.POSITIVE_INFINITY) => log.rememberIds(ids.recent(withinMs)),
    wish: config.listen === undefined ? null : { percent: config.percent, mirror: config.mirror },
  };
}

/** What the cutover is made of, each from what stands above it: where rooms stand, how they change lane, who says that they do. */
function makeCutoverParts(options: CutoverOptions) {
  const { config, contract, log, bridge, edge, reads, clock } = options;
  const given = { ...options, ...settingsOf(options) };
  const { instance, timeoutMs, standalone, settleMs: settled } = given;

  const typings = new HubTypings(clock);
  const unfenced = new Unfenced(given);
  const traffic = new Traffic(clock);
  const follow = { stalenessMs: () => reads.stalenessMs, reachable: () => log.reachable };
  const roomLanes = new RoomLanes({ ...given, traffic, follow });
  const common = { ...given, unfenced, traffic, roomLanes, roster: log.roster };

  const signature = new PeerSignature({ instance, secret: config.adminToken ?? config.apiKey, clock });
  const peers = new Peers({ ...common, signature });
  const outage: Outage = new Outage({
    ...common,
    peers,
    fallback: config.fallback && !standalone,
    deafMs: config.publishTimeout + deafSlackMs,
    logAnswers: () => log.reachable && roomLanes.hears && shared.follows,
    comeBack: (needs) => changes.comeBack(needs),
    showMs: () => timeoutMs + settled(),
  });
  const uncertain = new UncertainAppends({ ...common, peers });
  const readerWatch = new ReaderWatch({ ...common, peers });

  const coordinator = new Coordinator(common);
  const handover = new Handover({ ...common, outage, fences: edge });
  const guard = new Guard({
    ...common,
    countAtBridges: () => countAtBridges(bridge!, config.apiKey),
    callRoll: () => coordinator.callRoll(),
    streams: [...contract.streams.keys()],
  });
  const changes: Changes = new Changes({ ...common, coordinator, guard });
  const shared: SharedState = new SharedState({ ...common, outage, changes });
  const ownFlags = new OwnFlags({ ...common, changes, follows: () => shared.follows });

  const rates = new LaneRates(options);
  const around = { groups: edge.groups, clientsByHub: () => edge.clientsByHub };
  const survey = makeSurvey({ ...common, ...around, peers, rates });
  const hubMoves = new HubMoveRules({ ...common, outage, survey, drainRate: config.drainRate });
  const known = { peers, outage, readerWatch, guard, changes, shared, ownFlags, survey, hubMoves };
  const completion = new Completion({ ...common, ...known });
  return {
    ...{ typings, unfenced, traffic, roomLanes, signature, peers, outage, uncertain, readerWatch, rates, survey },
    ...{ coordinator, handover, guard, changes, shared, ownFlags },
    answers: makeAnswers({ ...common, ...known, completion, callRoll: () => coordinator.callRoll() }),
  };
}

function makeSurvey(parts: Omit<SurveyParts, 'own' | 'ownForecast'> & OwnViewParts): Survey {
  return new Survey({
    ...parts,
    own: () => ownView(parts),
    ownForecast: (change) => forecastHere(parts, change),
  });
}

type Answers = ReturnType<typeof makeAnswers>;

function makeAnswers(
  parts: OperatorParts & { completion: Completion } & RollbackParts & DryRunsParts & StatusParts & CutoverCheckParts,
) {
  return {
    operator: new Operator(parts),
    rollback: new Rollback(parts),
    dryRuns: new DryRuns(parts),
    completion: parts.completion,
    status: () => cutoverStatus(parts),
    findings: () => cutoverFindings(parts),
  };
}
