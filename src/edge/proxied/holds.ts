// The messages of the log that wait at one connection: while a hold covers a room, the room's messages queue at it.
// Promises: the oldest hold that covers a room takes its messages; a hold that ends gives its messages back in the order in which
// they came (the connection then writes them anew, perhaps into the next hold).

import type { RoomSet } from '../../room-set.ts';
import type { Prepared } from '../prepared.ts';
import type { Join } from './membership.ts';

export interface Hold {
  rooms: RoomSet;
}

interface Queue {
  hold: Hold;
  waiting: HeldMessage[];
  /** Whether its fence was sent. */
  isFenced: boolean;
}

/** One message that waits, and the join by which the connection gets it. */
export interface HeldMessage {
  prepared: Prepared;
  /** What the message takes in the connection's protocol. */
  bytes: number;
  group: string;
  /** A connection that has left the group meanwhile is not shown the message, even if it has joined again. */
  join: Join | undefined;
}

export class Holds {
  /** Oldest first. */
  #queues: Queue[] = [];
  #bytes = 0;

  get isEmpty(): boolean {
    return this.#queues.length === 0;
  }

  /** Bytes of all messages that wait. */
  get bytes(): number {
    return this.#bytes;
  }

  has(hold: Hold): boolean {
    return this.#queues.some((queue) => queue.hold === hold);
  }

  add(hold: Hold): void {
    this.#queues.push({ hold, waiting: [], isFenced: false });
  }

  addAsOldest(hold: Hold): void {
    this.#queues.unshift({ hold, waiting: [], isFenced: false });
  }

  /** The connection has sent the fence that this hold waits for. */
  fenced(hold: Hold): void {
    for (const queue of this.#queues) if (queue.hold === hold) queue.isFenced = true;
  }

  /** Whether every fence that a message of this room waits for was sent. */
  isFenced(room: string): boolean {
    return this.#queues.every(({ hold, isFenced }) => isFenced || !hold.rooms.has(room));
  }

  covers(room: string): boolean {
    return this.#queueFor(room) !== undefined;
  }

  push(waiting: HeldMessage): void {
    this.#queueFor(waiting.prepared.room)!.waiting.push(waiting);
    this.#bytes += waiting.bytes;
  }

  /** Ends a hold. @returns the messages that waited at it */
  release(hold: Hold): HeldMessage[] {
    const queue = this.#queues.find((candidate) => candidate.hold === hold);
    if (queue === undefined) return [];
    this.#queues = this.#queues.filter((other) => other !== queue);
    for (const { bytes } of queue.waiting) this.#bytes -= bytes;
    return queue.waiting;
  }

  /** Ends all holds. @returns the messages that waited, in the order in which they would have gone on */
  clear(): HeldMessage[] {
    const waited = this.#queues.flatMap(({ waiting }) => waiting);
    this.#queues = [];
    this.#bytes = 0;
    return waited;
  }

  #queueFor(room: string): Queue | undefined {
    return this.#queues.find(({ hold }) => hold.rooms.has(room));
  }
}
