// The messages of the log that wait at one connection: behind each fence that is not back, those of the rooms that it is for. Promises:
// the oldest fence that is for a room takes its messages; a queue that ends gives them back in the order in which they came (the
// connection then writes them anew, perhaps into the next queue).

import type { RoomSet } from '../../room-set.ts';
import type { Prepared } from '../prepared.ts';
import type { Join } from './membership.ts';

/** The rooms whose messages wait for one fence, at every connection. */
export interface FencedRooms {
  rooms: RoomSet;
}

interface Queue {
  fenced: FencedRooms;
  waiting: QueuedMessage[];
  /** Whether its fence was sent. */
  isSent: boolean;
}

/** One message that waits, and the join by which the connection gets it. */
export interface QueuedMessage {
  prepared: Prepared;
  /** What the message takes in the connection's protocol. */
  bytes: number;
  group: string;
  /** A connection that has left the group meanwhile is not shown the message, even if it has joined again. */
  join: Join | undefined;
}

export class FenceQueues {
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

  has(fenced: FencedRooms): boolean {
    return this.#queues.some((queue) => queue.fenced === fenced);
  }

  add(fenced: FencedRooms): void {
    this.#queues.push({ fenced, waiting: [], isSent: false });
  }

  addAsOldest(fenced: FencedRooms): void {
    this.#queues.unshift({ fenced, waiting: [], isSent: false });
  }

  /** The connection has sent the fence that these rooms wait for. */
  sent(fenced: FencedRooms): void {
    for (const queue of this.#queues) if (queue.fenced === fenced) queue.isSent = true;
  }

  /** Whether every fence that a message of this room waits for was sent. */
  isSent(room: string): boolean {
    return this.#queues.every(({ fenced, isSent }) => isSent || !fenced.rooms.has(room));
  }

  covers(room: string): boolean {
    return this.#queueFor(room) !== undefined;
  }

  push(waiting: QueuedMessage): void {
    this.#queueFor(waiting.prepared.room)!.waiting.push(waiting);
    this.#bytes += waiting.bytes;
  }

  /** Ends a queue. @returns the messages that waited in it */
  release(fenced: FencedRooms): QueuedMessage[] {
    const queue = this.#queues.find((candidate) => candidate.fenced === fenced);
    if (queue === undefined) return [];
    this.#queues = this.#queues.filter((other) => other !== queue);
    for (const { bytes } of queue.waiting) this.#bytes -= bytes;
    return queue.waiting;
  }

  /** Ends all queues. @returns the messages that waited, in the order in which they would have gone on */
  clear(): QueuedMessage[] {
    const waited = this.#queues.flatMap(({ waiting }) => waiting);
    this.#queues = [];
    this.#bytes = 0;
    return waited;
  }

  #queueFor(room: string): Queue | undefined {
    return this.#queues.find(({ fenced }) => fenced.rooms.has(room));
  }
}
