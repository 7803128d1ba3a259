// Keeps a typing note from being shown after its sender's later message, and after its sender's later typing, also when the two
// came through different replicas. The note carries where its replica's reader stood when its window opened: a message of the same sender
// in the same room behind that place makes it stale, in its window (`isOver`) as well as in the log. It carries when its last state was
// accepted, too, in the log's own time: each replica ends its windows by itself, so that of two states the older one may come later.

import { setNewest } from '../keep-newest.ts';
import { comparePositions, type Entry, type Position, type Typing } from '../log/log.ts';
import { shortKey } from '../short-key.ts';

/** Rooms and senders remembered; a note waits one window, so the latest thousands are plenty. */
const maxRemembered = 10_000;
/** ms of the log for which a state outdates older ones: the log's own time may go back, when another machine goes on with it. */
const outdatesMs = 30_000;

interface Shown {
  statedAt: number;
  position: Position;
}

export class TypingOrder {
  readonly #lastMessage = new Map<string, Position>();
  readonly #lastState = new Map<string, Shown>();

  /** Notes messages and typing as they pass; false for a typing note that must not be shown any more. */
  allows({ room, position, typing, endsTypingOf }: Entry): boolean {
    if (endsTypingOf !== undefined) setNewest(this.#lastMessage, shortKey(room, endsTypingOf), position, maxRemembered);
    if (typing === undefined) return true;
    if (this.#isOver(room, typing, position)) return false;
    const { user, statedAt } = typing;
    if (statedAt !== undefined) setNewest(this.#lastState, shortKey(room, user), { statedAt, position }, maxRemembered);
    return true;
  }

  /** Whether its sender's message was read behind the place where the note's window opened, or a later state of its typing. */
  isOver(room: string, typing: Typing): boolean {
    return this.#isOver(room, typing, undefined);
  }

  #isOver(room: string, { user, openedAt, statedAt }: Typing, position: Position | undefined): boolean {
    const key = shortKey(room, user);
    const message = this.#lastMessage.get(key);
    if (message !== undefined && comparePositions(message, openedAt) > 0) return true;
    const state = this.#lastState.get(key);
    if (state === undefined || statedAt === undefined || state.statedAt <= statedAt) return false;
    return position === undefined || msOf(position) - msOf(state.position) < outdatesMs;
  }
}

function msOf(position: Position): number {
  return Number(position.split('-', 1)[0]);
}
