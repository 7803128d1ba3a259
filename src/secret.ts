// Whether somebody knows a secret: in come what was given and the secret, out goes yes or no, in a time that tells nothing of it.

import { createHash, timingSafeEqual } from 'node:crypto';

export function isSecret(given: string, secret: string): boolean {
  // Digests have one length, so that the comparison tells nothing of the secret's.
  return timingSafeEqual(digest(given), digest(secret));
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
