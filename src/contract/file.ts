// Where a contract comes from: in comes the name of a file that an operator gives, out goes its text.

import { readFileSync } from 'node:fs';
import { CrossfadeError } from '../errors.ts';

/** Error: CONFIG_INVALID. */
export function readContract(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    throw new CrossfadeError('CONFIG_INVALID', `cannot read the contract '${file}' (${code})`, { cause });
  }
}
