// `crossfade contract check <file>`: every fault with its line, or what the contract holds.

import { readFileSync } from 'node:fs';
import { loadContract } from '../contract/load.ts';
import { CrossfadeError } from '../errors.ts';

/** @throws ContractError; CONFIG_INVALID where the file cannot be read */
export function checkContract(file: string): void {
  const contract = loadContract(readContract(file), file);
  const methods = contract.hubs.reduce((count, hub) => count + hub.methods.length, 0);
  console.log(
    `${file}: contract '${contract.name}' is good: ${contract.calls.length} calls, ${contract.streams.size} streams, ` +
      `${contract.hubs.length} hubs with ${methods} methods`,
  );
}

/** Error: CONFIG_INVALID. */
export function readContract(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    throw new CrossfadeError('CONFIG_INVALID', `cannot read the contract '${file}' (${code})`, { cause });
  }
}
