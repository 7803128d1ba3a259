// Events that may be on both lanes, as the replicas tell each other of them. In comes such an event before it goes to the
// bridge, and the bridge's answer; out go, at every replica, the copy to be withheld and the end of the wait for the bridge's.
// Promises: what follows the event in its room is shown behind both copies, so that none passes for a new event.

import type { Twin } from '../lanes/lanes.ts';
import type { Clock } from '../telemetry/clock.ts';
import type { Handover } from './handover.ts';
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
  /** There is one copy. */
  forgetTwin(eventId: string): void;
}

/** The bridge has answered the call of such an event. */
export interface TwinLanded {
  eventId: string;
  /** Whether it took the call; if not, there is one copy at most. */
  isTaken: boolean;
}

/** ms that telling may hold a call up: a replica that learns of a twin later may show both copies. */
const tellMs = 1_000;
/** ms that a backplane under load may still need. */
const backplaneMs = 5_000;

export class Twins {
  readonly #parts: TwinsParts;

  constructor(parts: TwinsParts) {
    this.#parts = parts;
  }

  /** Resolves when the other replicas know, as far as they can be reached. */
  async announce(twin: Twin): Promise<void> {
    this.expect(twin);
    await this.#parts.peers.tell('/cutover/twin', twin, tellMs);
  }

  /** The bridge has answered. */
  tellLanded(landed: TwinLanded): void {
    this.landed(landed);
    void this.#parts.peers.tell('/cutover/twin-landed', landed, tellMs);
  }

  /** This replica or another one has announced it. */
  expect(twin: Twin): void {
    const { edge, handover, severalBridges, clock } = this.#parts;
    edge.expectTwin(twin);
    void handover.holdBehind(holdOf(twin.eventId), twin.room).then(() => {
      clock.after(severalBridges() ? backplaneMs : 0, () => edge.twinShown(twin.eventId));
    });
  }

  /** This replica or another one has the bridge's answer. */
  landed({ eventId, isTaken }: TwinLanded): void {
    const { edge, handover } = this.#parts;
    if (!isTaken) edge.forgetTwin(eventId);
    handover.landed(holdOf(eventId));
  }
}

function holdOf(eventId: string): string {
  return `twin ${eventId}`;
}
