// Appends without an answer: the event may be in the log. In comes such an event before its call goes to the bridge, out goes the
// bridge's answer, or that the log has kept it. The event's id decides, never its content.
//
//     asker             has anybody read it? ------> bridge -----------> its answer: withhold, or show
//     each replica      read: the append is proven     the room waits    the log's copy is withheld from then on (200), or
//                       not read: the room waits       at connections    shown if it comes (anything else: perhaps twice)
//
// Promises: where the bridge answers 200, one copy is shown at every replica that was reached, the log's or the bridge's; what follows the
// event in its room is shown behind it; a replica that was not reached, or whose asker ended before its verdict, may show both: the event
// is counted.

import type { BridgeAnswer } from '../bridge/lane.ts';
import type { ReadMemory } from '../consumer/read-memory.ts';
import { keepNewest } from '../keep-newest.ts';
import { newId } from '../new-id.ts';
import { type Peers, peerPaths } from '../peers/peers.ts';
import { type Clock, pause } from '../telemetry/clock.ts';
import type { Faults } from '../telemetry/faults.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { lateLimitMs } from './bounds.ts';
import { type Fences, fenceSettled } from './fences.ts';
import type { Unfenced } from './unfenced.ts';

/** What is asked of every replica. */
export interface Question {
  /** Of this call to the bridge. */
  id: string;
  eventId: string;
  room: string;
}

/** What becomes of the log's copy. */
export interface Settlement {
  id: string;
  verdict: 'withhold' | 'show';
}

export interface UncertainParts {
  /** What this replica has read of the log, and what it shall not show if it reads it later. */
  reads: Pick<ReadMemory, 'hasRead' | 'withhold'>;
  edge: Pick<Fences, 'queue' | 'fence'> & {
    /** Of what was read already, but is not shown yet at every connection. */
    withhold(eventId: string): void;
  };
  peers: Pick<Peers, 'tell' | 'ask'>;
  unfenced: Pick<Unfenced, 'inDoubt'>;
  /** ms between the answer of a bridge and the fence: several bridges on one backplane deliver after their 200. */
  settleMs(): number;
  faults: Faults;
  clock: Clock;
  metrics: Pick<Metrics, 'uncertain'>;
}

/** ms that asking may hold a call up: a replica that hears of it later may show both copies. */
const askMs = 1_000;
/**
 * A replica that has not heard the verdict waits lateLimitMs for it, and is told again meanwhile: so often that tellings without an answer,
 * of askMs each, and the pauses between them fill that time.
 */
const tellTimes = lateLimitMs / (2 * askMs);
/** Verdicts that are known: a question, or the verdict once more, may come behind it. */
const maxPast = 1_000;

export class UncertainAppends {
  readonly #parts: UncertainParts;
  /** Question -> what ends the wait for its verdict. */
  readonly #waiting = new Map<string, (verdict: Settlement['verdict']) => void>();
  readonly #past = new Set<string>();

  constructor(parts: UncertainParts) {
    this.#parts = parts;
  }

  /** Errors: those of `callBridge`. @returns `kept` where a replica has read the event: the bridge was not called */
  async settle(
    event: Pick<Question, 'eventId' | 'room'>,
    callBridge: () => Promise<BridgeAnswer>,
  ): Promise<BridgeAnswer | 'kept'> {
    const { peers, unfenced, metrics } = this.#parts;
    const question = { id: newId(), ...event };
    const { answers, notReached } = await this.#ask(question, peers);
    if (answers.some(({ read }) => read)) {
      metrics.uncertain.inc({ outcome: 'read' });
      this.#conclude({ id: question.id, verdict: 'show' });
      return 'kept';
    }
    if (notReached.length > 0) unfenced.inDoubt(event);
    let verdict: Settlement['verdict'] = 'show';
    try {
      const answer = await callBridge();
      if (answer.status === 200) verdict = 'withhold';
      return answer;
    } finally {
      metrics.uncertain.inc({ outcome: verdict === 'withhold' ? 'bridge' : 'in_doubt' });
      this.#conclude({ id: question.id, verdict });
    }
  }

  /** This replica or another one asks, perhaps twice. What is read of the room from now on waits, unless the event was read. */
  hear(question: Question): { read: boolean } {
    const read = this.#parts.reads.hasRead(question.eventId);
    if (!read && !this.#past.has(question.id) && !this.#waiting.has(question.id)) {
      this.#parts.faults.contain('peer', () => this.#queue(question));
    }
    return { read };
  }

  /** This replica or another one knows what becomes of the log's copy, perhaps twice, or before it was asked. */
  decided({ id, verdict }: Settlement): void {
    this.#past.add(id);
    keepNewest(this.#past, maxPast);
    this.#waiting.get(id)?.(verdict);
  }

  async #ask(question: Question, peers: Pick<Peers, 'ask'>) {
    const own = this.hear(question);
    if (own.read) return { answers: [own], notReached: [] };
    const { answers, notReached } = await peers.ask(peerPaths.uncertain, question, askMs);
    // It may have been read here meanwhile, and waits at the connections then.
    const here = { read: this.#parts.reads.hasRead(question.eventId) };
    return { answers: [here, ...answers.map(readAnswer)], notReached };
  }

  async #queue({ id, eventId, room }: Question): Promise<void> {
    const { reads, edge, unfenced, settleMs, clock } = this.#parts;
    const { promise: decided, resolve } = Promise.withResolvers<Settlement['verdict']>();
    this.#waiting.set(id, resolve);
    const fence = `uncertain-${id}`;
    edge.queue(fence, new Set([room]));
    // The asker may have been killed behind the bridge's 200.
    const cancel = clock.after(lateLimitMs, () => {
      unfenced.inDoubt({ room, eventId });
      resolve('show');
    });
    const verdict = await decided;
    cancel();
    this.#waiting.delete(id);
    if (verdict === 'withhold') {
      reads.withhold(eventId);
      edge.withhold(eventId);
    }
    await fenceSettled(edge, fence, settleMs(), clock);
  }

  #conclude(verdict: Settlement): void {
    this.decided(verdict);
    this.#parts.faults.contain('peer', () => this.#tell(verdict));
  }

  async #tell(verdict: Settlement): Promise<void> {
    const { peers, clock } = this.#parts;
    let untold: string[] | undefined;
    for (let times = 0; times < tellTimes; times++) {
      const { notReached } = await peers.tell(peerPaths.uncertainDecided, verdict, askMs, untold);
      if (notReached.length === 0) return;
      untold = notReached;
      await pause(clock, askMs);
    }
  }
}

/** Another release may answer anything. */
function readAnswer(answer: unknown): { read: boolean } {
  return { read: (answer as { read?: unknown } | null)?.read === true };
}
