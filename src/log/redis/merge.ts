// From what was read of each stream to one order over all of them. In come the entries that are held for each stream and
// whether the stream was read to its end; out go those that nothing unread can precede. Pure.

import { comparePositions, type Position } from '../log.ts';

/** What is held of one stream. */
export interface Held<T> {
  /** Ascending. */
  held: T[];
  /** The last position that was read. Whatever was not read stands behind it. */
  readTo: Position;
  /** Whether the stream had nothing more at the moment of the last read. */
  complete: boolean;
}

/**
 * XREADGROUP's COUNT holds for each stream alone: one that came back full may have an unread entry that precedes what
 * was read of the others. So only what stands at or below the lowest end of the incomplete streams is ready.
 * @returns the entries in log order; `rest` in the order of the streams
 */
export function mergeReady<T extends { position: Position }>(streams: Held<T>[]): { ready: T[]; rest: T[][] } {
  const ends = streams.filter((stream) => !stream.complete).map((stream) => stream.readTo);
  const isReady = (item: T) => ends.every((end) => comparePositions(item.position, end) <= 0);

  const parts = streams.map(({ held }) => {
    const firstHeld = held.findIndex((item) => !isReady(item));
    return firstHeld < 0 ? { ready: held, rest: [] } : { ready: held.slice(0, firstHeld), rest: held.slice(firstHeld) };
  });
  return {
    ready: parts.flatMap((part) => part.ready).sort((a, b) => comparePositions(a.position, b.position)),
    rest: parts.map((part) => part.rest),
  };
}
