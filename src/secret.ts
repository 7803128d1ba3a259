// Whether somebody knows a secret: in come what was given and the secret, out goes yes or no, in a time that tells nothing of it.

import { timingSafeEqual } from 'node:crypto';

export function isSecret(given: string, secret: string): boolean {
  const bytes = Buffer.from(given);
  // As long as what was given, so that the comparison tells nothing of the secret's length.
  const wanted = Buffer.alloc(bytes.length);
  wanted.write(secret);
  return timingSafeEqual(bytes, wanted) && Buffer.byteLength(secret) === bytes.length;
}
