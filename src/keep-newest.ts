// For what is remembered without anybody saying when it may be forgotten: a Map or Set whose newest entries stand at its end
// loses its oldest ones beyond a bound.

export function keepNewest(entries: Map<string, unknown> | Set<string>, maxCount: number): void {
  for (const oldest of entries.keys()) {
    if (entries.size <= maxCount) return;
    entries.delete(oldest);
  }
}

/** Puts the entry at the end, whether it was there before or not, and keeps to the bound. */
export function setNewest<Value>(entries: Map<string, Value>, key: string, value: Value, maxCount: number): void {
  entries.delete(key);
  entries.set(key, value);
  keepNewest(entries, maxCount);
}
