// For what is remembered by names that others choose: in come names, out comes a key for a Map that is never long.

import { hash } from 'node:crypto';

const maxChars = 128;

export function shortKey(...names: string[]): string {
  const key = JSON.stringify(names);
  return key.length <= maxChars ? key : hash('sha1', key, 'base64url');
}
