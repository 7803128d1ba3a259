// Typing as people do it: in come how many users type and the members of the rooms, out go their notes one after the other, and what the
// clients were shown of them. A typist writes a burst of 12 notes, one every 80 ms (quick typing, a note each key), the last of which
// says that it has stopped; then the burst begins anew.

import type { Marker } from './wire.ts';

export interface TypingSeen {
  /** Calls that were accepted. */
  accepted: number;
  /** What these would have caused, each shown to each member. */
  uncoalesced: number;
  /** What the clients were shown. */
  shown: number;
  /** Typists whose last note is not what the clients were shown last: an indicator that flickers, or stands for ever. */
  wrongAtEnd: number;
}

export const typingEveryMs = 80;
const notesOfBurst = 12;

/** The n-th note of all typists, who take turns. */
export function noteOf(n: number, typists: number): { typist: number; isTyping: boolean } {
  const note = Math.floor(n / typists) % notesOfBurst;
  return { typist: n % typists, isTyping: note < notesOfBurst - 1 };
}

export class TypingLedger {
  readonly typists: number;
  readonly #members: number[];
  #accepted = 0;
  #uncoalesced = 0;
  #shown = 0;
  /** By typist. */
  readonly #lastAccepted: (boolean | undefined)[] = [];
  readonly #lastShown: (boolean | undefined)[] = [];

  /** @param members of each room; typist n is in room n % rooms */
  constructor(typists: number, members: number[]) {
    this.typists = typists;
    this.#members = members;
  }

  /** The n-th note of all was accepted. */
  accepted(n: number): void {
    const { typist, isTyping } = noteOf(n, this.typists);
    this.#accepted++;
    this.#uncoalesced += this.#members[this.#roomOf(typist)]!;
    this.#lastAccepted[typist] = isTyping;
  }

  show({ typist, isTyping }: Extract<Marker, { kind: 'typing' }>): void {
    this.#shown++;
    this.#lastShown[typist] = isTyping;
  }

  get isSettled(): boolean {
    return this.seen.wrongAtEnd === 0;
  }

  get seen(): TypingSeen {
    const wrong = this.#lastAccepted.filter((isTyping, typist) => isTyping !== this.#lastShown[typist]);
    return {
      accepted: this.#accepted,
      uncoalesced: this.#uncoalesced,
      shown: this.#shown,
      wrongAtEnd: wrong.length,
    };
  }

  #roomOf(typist: number): number {
    return typist % this.#members.length;
  }
}
