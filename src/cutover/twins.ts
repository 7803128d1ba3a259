// Events that may be on both lanes, as the replicas tell each other of them. In comes such an event before it goes to the
// bridge, and the bridge's answer; out go, at every replica, the copy to be withheld and the end of the wait for the bridge's.
// Promises: what follows the event in its room is shown behind the bridge's copy, so that this does not pass for a new event.

import type { Twin } from '../lanes/lanes.ts';
import { type Clock, pause } from '../telemetry/clock.ts';
import { type Handover, newId } from './handover.ts';
import type { Peers } from './peers.ts';

export interface TwinsParts {
  edge: TwinEdge;
  handover: Pick<Handover, 'holdBehind' | 'landed'>;
  peers: Pick<Peers, 'tell'>;
  /** Whether several bridges share a backplane, so that a fence at one says little of what another has been called with. */
  severalBridges(): boolean;
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
/** A replica that does not learn of the bridge's answer shows nothing of the room for 12 s. */
const tellLandedTimes = 10;
/** ms that a backplane under load may still need. */
const backplaneMs = 5_000;
/** Calls that have landed; what is told of one of them comes late. */
const maxLanded = 1_000;

export class Twins {
  readonly #parts: TwinsParts;
  readonly #landed = new Set<string>();

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
      void this.#tellLanded(announced.id);
    };
  }

  /** This replica or another one has announced it. */
  expect({ id, ...twin }: AnnouncedTwin): void {
    const { edge, handover, severalBridges, clock } = this.#parts;
    edge.expectTwin(twin);
    if (this.#landed.has(id)) return edge.twinShown(twin.eventId);
    void handover.holdBehind(holdOf(id), twin.room).then(() => {
      clock.after(severalBridges() ? backplaneMs : 0, () => edge.twinShown(twin.eventId));
    });
  }

  /** This replica or another one has the bridge's answer. */
  landed(id: string): void {
    this.#landed.add(id);
    if (this.#landed.size > maxLanded) this.#landed.delete(this.#landed.keys().next().value!);
    this.#parts.handover.landed(holdOf(id));
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

function holdOf(id: string): string {
  return `twin-${id}`;
}
