// Compares what a member saw of a room with what the room's calls should have shown it, by position: identical labels
// cannot be told apart, so that any way of reading what was seen as the accepted sequence will do, and none is a fault.
// In go the expected sequence and the seen one, out goes the place of the first fault.

/** One hub message that a member must be shown, or may be. */
export interface Expected {
  label: string;
  /** Must be shown; otherwise it may be, at its place. */
  isOwed: boolean;
  /** May be shown at any place: its order cannot be proven. */
  isLoose: boolean;
}

export interface Mismatch {
  kind: 'lost' | 'double' | 'foreign' | 'order';
  label: string;
  /** Index into what was seen; its length where the end came too early. */
  seenAt: number;
  /** Index into the expected sequence without its loose messages. */
  expectedAt: number;
}

/** One way of reading what was seen so far. */
interface Reading {
  /** How many of the ordered messages are behind it. */
  place: number;
  /** Loose label -> how many of them were shown. */
  used: ReadonlyMap<string, number>;
}

/** @returns undefined where what was seen is right */
export function compareSequence(expected: Expected[], seen: string[]): Mismatch | undefined {
  const ordered = expected.filter(({ isLoose }) => !isLoose);
  const loose = countLabels(expected.filter(({ isLoose }) => isLoose));
  let readings: Reading[] = [{ place: 0, used: new Map() }];
  for (const [seenAt, label] of seen.entries()) {
    const next = continueBy(readings, label, ordered, loose);
    if (next.length === 0) return describe(expected, ordered, seen, seenAt, furthest(readings));
    readings = next;
  }
  if (readings.some((reading) => isComplete(reading, ordered, loose))) return undefined;
  return describe(expected, ordered, seen, seen.length, furthest(readings));
}

interface Count {
  owed: number;
  all: number;
}

function countLabels(expected: Expected[]): Map<string, Count> {
  const counts = new Map<string, Count>();
  for (const { label, isOwed } of expected) {
    const { owed, all } = counts.get(label) ?? { owed: 0, all: 0 };
    counts.set(label, { owed: owed + (isOwed ? 1 : 0), all: all + 1 });
  }
  return counts;
}

function continueBy(
  readings: Reading[],
  label: string,
  ordered: Expected[],
  loose: ReadonlyMap<string, Count>,
): Reading[] {
  const next = new Map<string, Reading>();
  const add = (reading: Reading) => next.set(`${reading.place} ${[...reading.used].flat()}`, reading);
  for (const { place, used } of readings) {
    for (let at = place; at < ordered.length; at++) {
      if (ordered[at]!.label === label) add({ place: at + 1, used });
      if (ordered[at]!.isOwed) break;
    }
    const usedCount = used.get(label) ?? 0;
    if (usedCount < (loose.get(label)?.all ?? 0)) add({ place, used: sorted(used, label, usedCount + 1) });
  }
  return [...next.values()];
}

/** Always in the order of the labels, so that equal readings look equal. */
function sorted(used: ReadonlyMap<string, number>, label: string, count: number): Map<string, number> {
  return new Map([...new Map(used).set(label, count)].sort(([a], [b]) => (a < b ? -1 : 1)));
}

function isComplete({ place, used }: Reading, ordered: Expected[], loose: ReadonlyMap<string, Count>): boolean {
  const isShort = [...loose].some(([label, { owed }]) => (used.get(label) ?? 0) < owed);
  return !isShort && ordered.slice(place).every(({ isOwed }) => !isOwed);
}

function furthest(readings: Reading[]): number {
  return Math.max(...readings.map(({ place }) => place));
}

function describe(
  expected: Expected[],
  ordered: Expected[],
  seen: string[],
  seenAt: number,
  expectedAt: number,
): Mismatch {
  const allowed = countLabels(expected);
  const shown = countLabels(seen.map((label) => ({ label, isOwed: false, isLoose: false })));
  const isShort = (label: string) => (shown.get(label)?.all ?? 0) < allowed.get(label)!.owed;
  const extra = seen[seenAt];
  const awaited = ordered.slice(expectedAt).find(({ isOwed }) => isOwed)?.label;
  const at = { seenAt, expectedAt };
  if (extra !== undefined && !allowed.has(extra)) return { kind: 'foreign', label: extra, ...at };
  if (awaited !== undefined && isShort(awaited)) return { kind: 'lost', label: awaited, ...at };
  if (extra !== undefined && shown.get(extra)!.all > allowed.get(extra)!.all)
    return { kind: 'double', label: extra, ...at };
  const lost = [...allowed.keys()].find(isShort);
  if (lost !== undefined) return { kind: 'lost', label: lost, ...at };
  return { kind: 'order', label: extra ?? awaited!, ...at };
}
