// For what is remembered by names that others choose: in come names, out comes a key for a Map that is never long,
// or a tag that stands for the name where others read it.

import { hash } from 'node:crypto';

const maxChars = 128;

export function shortKey(...names: string[]): string {
  const key = JSON.stringify(names);
  return key.length <= maxChars ? key : hash('sha1', key, 'base64url');
}

/** @returns 8 characters of base64url that stand for the name and do not tell it: 48 bits of its hash */
export function shortTag(name: string): string {
  return hash('sha256', name, 'base64url').slice(0, 8);
}
