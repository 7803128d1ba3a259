// The demo's backend: broadcasts by HTTP as the real one does. In come the visitor's words, and a clock that keeps a few
// rooms busy; out go calls to crossfade, and a note of each that was answered with 200.
// Promises: a room's messages are numbered, and the next call of a room waits for the answer to the one before.

import { randomUUID } from 'node:crypto';
import type { ShownLane } from './bridge-witness.ts';

/** A message that crossfade or the bridge has accepted: every member of the room is owed it. */
export interface Accepted {
  id: string;
  room: string;
  /** From 1, in the order of the room. */
  number: number;
  lane: ShownLane;
}

export interface BackendOptions {
  ingressUrl: string;
  apiKey: string;
  /** Those that are kept busy, in turn. */
  rooms: string[];
  laneOf(messageId: string): ShownLane;
  onAccepted(message: Accepted): void;
}

interface Room {
  lastNumber: number;
  /** How many calls are under way or waiting. */
  open: number;
  /** Settles when the latest call is answered. */
  answered: Promise<unknown>;
}

const workEveryMs = 150;

export class Backend {
  readonly #options: BackendOptions;
  readonly #rooms = new Map<string, Room>();
  #timer: NodeJS.Timeout | undefined;
  #turn = 0;

  constructor(options: BackendOptions) {
    this.#options = options;
    for (const room of options.rooms) this.#room(room);
  }

  /** The last number that each room has given out. */
  get numbers(): Record<string, number> {
    return Object.fromEntries(Array.from(this.#rooms, ([name, { lastNumber }]) => [name, lastNumber]));
  }

  /** A message every 150 ms, in a room after the other. */
  work(): void {
    this.#timer ??= setInterval(() => this.#workOnce(), workEveryMs);
  }

  rest(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** @returns the answer's status; rejects if there is none */
  async say(room: string, words: { senderId: string; content: string; clientTempId: string }): Promise<number> {
    const state = this.#room(room);
    const number = ++state.lastNumber;
    const id = randomUUID();
    const message = { id, requestId: room, sequenceNumber: number, createdAt: new Date().toISOString(), ...words };
    state.open++;
    const answer = state.answered.then(() => this.call('chat/message', { request_id: room, message }));
    state.answered = answer.catch(() => {});
    const status = await answer.finally(() => state.open--);
    if (status === 200) this.#options.onAccepted({ id, room, number, lane: this.#options.laneOf(id) });
    return status;
  }

  /** @param path below /internal/; @returns the answer's status */
  async call(path: string, body: object): Promise<number> {
    const { ingressUrl, apiKey } = this.#options;
    const answer = await fetch(`${ingressUrl}/internal/${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-internal-api-key': apiKey },
      body: JSON.stringify({ event_id: randomUUID(), ...body }),
    });
    await answer.arrayBuffer();
    return answer.status;
  }

  /** A room that still waits for an answer misses its turn. */
  #workOnce(): void {
    const { rooms } = this.#options;
    const room = rooms[this.#turn++ % rooms.length]!;
    if (this.#room(room).open > 0) return;
    const words = { senderId: 'backend', content: 'at work', clientTempId: String(Date.now()) };
    this.say(room, words).catch(() => {});
  }

  #room(name: string): Room {
    const known = this.#rooms.get(name) ?? { lastNumber: 0, open: 0, answered: Promise.resolve() };
    this.#rooms.set(name, known);
    return known;
  }
}
