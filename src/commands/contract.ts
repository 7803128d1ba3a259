// `crossfade contract check <file>`: every fault with its line, or what the contract holds.

import { readContract } from '../contract/file.ts';
import { loadContract } from '../contract/load.ts';

/** @throws ContractError; CONFIG_INVALID where the file cannot be read */
export function checkContract(file: string): void {
  const contract = loadContract(readContract(file), file);
  const methods = contract.hubs.reduce((count, hub) => count + hub.methods.length, 0);
  console.log(
    `${file}: contract '${contract.name}' is good: ${contract.calls.length} calls, ${contract.streams.size} streams, ` +
      `${contract.hubs.length} hubs with ${methods} methods`,
  );
}
