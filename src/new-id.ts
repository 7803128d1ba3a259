// The names that replicas give to what they tell each other about: a handover, a question. Out goes one that no other replica gives.

import { randomBytes } from 'node:crypto';

/** @returns 12 characters of base64url: 72 random bits */
export function newId(): string {
  return randomBytes(9).toString('base64url');
}
