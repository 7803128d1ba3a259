// The stable hash of a room: the same on every replica, in every release, computable by anyone.

import { createHash } from 'node:crypto';

/**
 * A room's fixed bucket: the first 4 bytes (big-endian) of SHA-256 over the room's UTF-8 text, modulo 100.
 * In Python: `int.from_bytes(hashlib.sha256(room.encode()).digest()[:4], "big") % 100`.
 * @returns 0 to 99
 */
export function bucketOf(room: string): number {
  return createHash('sha256').update(room).digest().readUInt32BE(0) % 100;
}
