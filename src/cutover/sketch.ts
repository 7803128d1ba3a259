// How many different names several replicas have together: each gives a sketch of its own names, out goes the number. A sketch
// is the smallest hashes of the names (k minimum values): exact up to as many as it keeps, beyond that within 1%, whatever the
// number, and never larger than 256 KiB.

import { createHash } from 'node:crypto';

/** Hashes that a sketch keeps; the error beyond is 1 / sqrt of it, 0.55%. */
export const keptHashes = 32_768;
const hashBytes = 6;
const hashSpace = 2 ** (8 * hashBytes);

/** @param hashes of different names, see {@link sketchHash} @returns base64 */
export function sketchOf(hashes: number[]): string {
  const kept = Float64Array.from(hashes).sort().subarray(0, keptHashes);
  const bytes = Buffer.alloc(kept.length * hashBytes);
  kept.forEach((hash, i) => {
    bytes.writeUIntBE(hash, i * hashBytes, hashBytes);
  });
  return bytes.toString('base64');
}

/** @returns how many names there are in all of these together; `exact`: counted, not estimated */
export function countTogether(sketches: string[]): { count: number; exact: boolean } {
  const all = new Set<number>();
  for (const sketch of sketches) {
    const bytes = Buffer.from(sketch, 'base64');
    for (let at = 0; at + hashBytes <= bytes.length; at += hashBytes) all.add(bytes.readUIntBE(at, hashBytes));
  }
  if (all.size < keptHashes) return { count: all.size, exact: true };
  const highest = Float64Array.from(all).sort()[keptHashes - 1]!;
  return { count: Math.round(((keptHashes - 1) / highest) * hashSpace), exact: false };
}

/** Not the bytes that make a room's bucket: those of one percent are alike. */
export function sketchHash(name: string): number {
  return createHash('sha256').update(name).digest().readUIntBE(4, hashBytes);
}
