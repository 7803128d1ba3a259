// What waits at one connection: while a hold covers a room, the room's messages from the log queue behind it.
// Promises: the oldest hold that covers a room takes its messages; what a hold gives back goes on in the order in which
// it came (and perhaps into the next hold).

import type { Prepared } from '../prepared.ts';

export interface Hold {
  covers(room: string): boolean;
}

interface Queue {
  hold: Hold;
  waiting: { prepared: Prepared; bytes: number }[];
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
    this.#queues.push({ hold, waiting: [] });
  }

  addAsOldest(hold: Hold): void {
    this.#queues.unshift({ hold, waiting: [] });
  }

  covers(room: string): boolean {
    return this.#queueFor(room) !== undefined;
  }

  /** @param bytes what it takes in the connection's protocol */
  push(prepared: Prepared, bytes: number): void {
    this.#queueFor(prepared.room)!.waiting.push({ prepared, bytes });
    this.#bytes += bytes;
  }

  /** Ends a hold. @returns what waited for it */
  release(hold: Hold): Prepared[] {
    const queue = this.#queues.find((candidate) => candidate.hold === hold);
    if (queue === undefined) return [];
    this.#queues = this.#queues.filter((other) => other !== queue);
    for (const { bytes } of queue.waiting) this.#bytes -= bytes;
    return queue.waiting.map(({ prepared }) => prepared);
  }

  /** Ends all of them. @returns what is dropped with them */
  clear(): Prepared[] {
    const dropped = this.#queues.flatMap(({ waiting }) => waiting.map(({ prepared }) => prepared));
    this.#queues = [];
    this.#bytes = 0;
    return dropped;
  }

  #queueFor(room: string): Queue | undefined {
    return this.#queues.find(({ hold }) => hold.covers(room));
  }
}
