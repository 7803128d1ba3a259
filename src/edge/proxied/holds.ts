// What waits at one connection: while a hold covers a room, the room's messages from the log queue behind it.
// Promises: the oldest hold that covers a room takes its messages; what a hold gives back goes on in the order in which
// it came (and perhaps into the next hold).

import type { Prepared } from '../prepared.ts';
import type { Join } from './membership.ts';

export interface Hold {
  covers(room: string): boolean;
}

interface Queue {
  hold: Hold;
  waiting: HeldMessage[];
  /** Whether its fence was sent. */
  isFenced: boolean;
}

/** Messages that wait, and the join by which the connection gets them. */
export interface HeldMessage {
  prepared: Prepared;
  /** What they take in the connection's protocol. */
  bytes: number;
  group: string;
  /** Who has left meanwhile gets nothing more, even if it has come back. */
  join: Join | undefined;
}

export class Holds {
  /** Oldest first. */
  #queues: Queue[] = [];
  #bytes = 0;

  get isEmpty(): boolean {
    return this.#queues.length === 0;
  }

  /** Bytes that wait. */
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

  /** The fence of this hold was sent. */
  fenced(hold: Hold): void {
    for (const queue of this.#queues) if (queue.hold === hold) queue.isFenced = true;
  }

  /** Whether the fences that a message of this room waits for were sent. */
  isFenced(room: string): boolean {
    return this.#queues.every(({ hold, isFenced }) => isFenced || !hold.covers(room));
  }

  covers(room: string): boolean {
    return this.#queueFor(room) !== undefined;
  }

  push(waiting: HeldMessage): void {
    this.#queueFor(waiting.prepared.room)!.waiting.push(waiting);
    this.#bytes += waiting.bytes;
  }

  /** Ends a hold. @returns what waited for it */
  release(hold: Hold): HeldMessage[] {
    const queue = this.#queues.find((candidate) => candidate.hold === hold);
    if (queue === undefined) return [];
    this.#queues = this.#queues.filter((other) => other !== queue);
    for (const { bytes } of queue.waiting) this.#bytes -= bytes;
    return queue.waiting;
  }

  /** Ends all of them. @returns what waited, in the order in which it would have gone on */
  clear(): HeldMessage[] {
    const waited = this.#queues.flatMap(({ waiting }) => waiting);
    this.#queues = [];
    this.#bytes = 0;
    return waited;
  }

  #queueFor(room: string): Queue | undefined {
    return this.#queues.find(({ hold }) => hold.covers(room));
  }
}
