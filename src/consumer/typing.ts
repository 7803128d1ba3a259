// Keeps a typing note from being shown after its sender's later message, also when the two came through different
// replicas: the note carries where its replica's reader stood when its window opened, and a message of the same sender
// in the same room behind that place makes it stale.

import { keepNewest } from '../keep-newest.ts';
import { comparePositions, type Entry, type Position, type Typing } from '../log/log.ts';

/** Rooms and senders remembered; a note waits one window, so the latest thousands are plenty. */
const maxRemembered = 10_000;

export class TypingGuard {
  readonly #lastMessage = new Map<string, Position>();

  /** Notes messages as they pass; false for a typing note that must not be shown any more. */
  allows(entry: Entry): boolean {
    if (entry.endsTypingOf !== undefined)
      this.#remember(JSON.stringify([entry.room, entry.endsTypingOf]), entry.position);
    return entry.typing === undefined || !this.isOver(entry.room, entry.typing);
  }

  /** Whether a message of this sender was read behind the place where the typing note's window opened. */
  isOver(room: string, { user, openedAt }: Typing): boolean {
    const message = this.#lastMessage.get(JSON.stringify([room, user]));
    return message !== undefined && comparePositions(message, openedAt) > 0;
  }

  #remember(key: string, position: Position): void {
    this.#lastMessage.delete(key);
    this.#lastMessage.set(key, position);
    keepNewest(this.#lastMessage, maxRemembered);
  }
}
