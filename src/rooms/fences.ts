// The edge as the cutover needs it: in come rooms that the bridge and the log both carry for a moment, out go queues and fences
// at every connection, and what is not shown there yet.

import type { Delivery } from '../contract/event.ts';
import type { UndeliveredEvent } from '../edge/proxied/undelivered.ts';
import type { RoomSet } from '../room-set.ts';
import { type Clock, pause } from '../telemetry/clock.ts';

/** What the cutover asks of the edge, see edge/proxied/. */
export interface Fences {
  /** From now on stream-lane events of these rooms wait at every connection, until its fence with the same id is back. */
  queue(id: string, rooms: RoomSet): void;
  /** Fences every connection of this moment; resolves when all fences are back, or their connections are gone. */
  fence(id: string): Promise<void>;
  /** Fences the members of these groups alone, before what is delivered next for the room is shown to them. */
  fenceMembers(room: string, deliveries: Delivery[]): void;
  /** The log's events of these rooms that the bridge may overtake at some connection, as they are not shown there yet. */
  undelivered(rooms: RoomSet): UndeliveredEvent[];
  /** Resolves when what is undelivered of these rooms now is shown, or after `limitMs`. */
  untilDelivered(rooms: RoomSet, limitMs: number): Promise<void>;
}

/** Fences when a backplane has had its time. Resolves when all fences are back. @param settleMs how long it may take */
export async function fenceSettled(
  fences: Pick<Fences, 'fence'>,
  id: string,
  settleMs: number,
  clock: Clock,
): Promise<void> {
  if (settleMs > 0) await pause(clock, settleMs);
  await fences.fence(id);
}
