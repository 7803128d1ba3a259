// Events that may be on both lanes, as the replicas tell each other of them. In comes such an event before it goes to the
// bridge, and the bridge's answer; out go, at every replica, the copy to be withheld and the end of the wait for the bridge's.
// Promises: what follows the event in its room is shown behind the bridge's copy, so that this does not pass for a new event.

import { keepNewest } from '../keep-newest.ts';
import type { Twin } from '../lanes/lanes.ts';
import { type Clock, pause } from '../telemetry/clock.ts';
import type { Faults } from '../telemetry/faults.ts';
import { type Fences, fenceSettled, lateLimitMs, newId } from './handover.ts';
import type { Peers } from './peers.ts';

export interface TwinsParts {
  edge: TwinEdge & Pick<Fences, 'hold' | 'fence'>;
  peers: Pick<Peers, 'tell'>;
  /** ms between the answer of a bridge and the fence: several bridges on one backplane deliver after their 200. */
  settleMs(): number;
  faults: Faults;
  clock: Clock;
}

/** What the edge does about it, see edge/proxied/twins.ts. */
export interface TwinEdge {
  expectTwin(twin: Twin): void;
  /** The bridge's copy is shown wherever it will be; the log's may still come. */
  twinShown(eventId: string): void;
}

/** A twin on its way to the bridge. */
export interface AnnouncedTwin extends Twin {
  /** Of this call to the bridge. */
  id: string;
}

/** ms that telling may hold a call up: a replica that learns of a twin later may show both copies. */
const tellMs = 1_000;
/** A replica that does not learn of the bridge's answer shows nothing of the room for so long. */
const tellLandedTimes = lateLimitMs / (2 * tellMs);
/** ms that a backplane under load may still need after that. */
const backplaneMs = 5_000;
/** Calls that have landed; what is told of one of them comes late, or twice. */
const maxPast = 1_000;

export class Twins {
  readonly #parts: TwinsParts;
  /** Call -> what ends the wait for it. */
  readonly #holding = new Map<string, () => void>();
  readonly #past = new Set<string>();

  constructor(parts: TwinsParts) {
    this.#parts = parts;
  }

  /** Resolves when the other replicas know, as far as they can be reached. @returns to be called when the bridge has answered */
  async announce(twin: Twin): Promise<() => void> {
    const announced = { ...twin, id: newId() };
    this.expect(announced);
    await this.#parts.peers.tell('/cutover/twin', announced, tellMs);
    return () => {
      this.landed(announced.id);
      this.#parts.faults.guard('peer', () => this.#tellLanded(announced.id));
    };
  }

  /** This replica or another one has announced it, perhaps twice. */
  expect({ id, ...twin }: AnnouncedTwin): void {
    this.#parts.edge.expectTwin(twin);
    if (this.#past.has(id)) return this.#parts.edge.twinShown(twin.eventId);
    if (!this.#holding.has(id)) this.#parts.faults.guard('peer', () => this.#hold(twin, id));
  }

  /** This replica or another one has the bridge's answer. */
  landed(id: string): void {
    this.#past.add(id);
    keepNewest(this.#past, maxPast);
    this.#holding.get(id)?.();
  }

  /** What is read of the room from now on waits until the bridge's copy is shown. */
  async #hold({ room, eventId }: Twin, id: string): Promise<void> {
    const { edge, settleMs, clock } = this.#parts;
    const { promise: landed, resolve } = Promise.withResolvers<void>();
    this.#holding.set(id, resolve);
    const hold = `twin-${id}`;
    edge.hold(hold, (each) => each === room);
    await Promise.race([landed, pause(clock, lateLimitMs)]);
    const ms = settleMs();
    await fenceSettled(edge, hold, ms, clock);
    this.#holding.delete(id);
    if (ms > 0) await pause(clock, backplaneMs);
    edge.twinShown(eventId);
  }

  async #tellLanded(id: string): Promise<void> {
    const { peers, clock } = this.#parts;
    let untold: string[] | undefined;
    for (let times = 0; times < tellLandedTimes; times++) {
      const { notReached } = await peers.tell('/cutover/twin-landed', { id }, tellMs, untold);
      if (notReached.length === 0) return;
      untold = notReached;
      await pause(clock, tellMs);
    }
  }
}
