// For what is remembered without anybody saying when it may be forgotten: a Map or Set whose newest entries stand at its end
// loses its oldest ones beyond a bound.

type Table = Map<string, unknown> | Set<string>;

/**
 * Where the deleting of each table stands: behind the last entry that was deleted, so before the oldest that is there. V8 keeps the places
 * of deleted entries in front until it makes the table anew: whoever began at the front each time would walk over all of them, 10 µs for
 * an entry in a table of 10,000.
 */
const walks = new WeakMap<Table, Iterator<string>>();

export function keepNewest(entries: Table, maxCount: number): void {
  while (entries.size > maxCount) {
    const walk = walks.get(entries) ?? entries.keys();
    walks.set(entries, walk);
    const { value, done } = walk.next();
    // It had come to the end before newer entries stood there.
    if (done) walks.delete(entries);
    else entries.delete(value);
  }
}

/** Puts the entry at the end, whether it was there before or not, and keeps to the bound. */
export function setNewest<Value>(entries: Map<string, Value>, key: string, value: Value, maxCount: number): void {
  entries.delete(key);
  entries.set(key, value);
  keepNewest(entries, maxCount);
}
