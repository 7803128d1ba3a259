// `crossfade contract check <file>`: every fault with its line, or what the contract holds; as text or JSON.

import { readContract } from '../contract/file.ts';
import { loadContract } from '../contract/load.ts';

/** @throws ContractError; CONFIG_INVALID where the file cannot be read */
export function checkContract(file: string, { output }: { output: 'text' | 'json' }): void {
  const contract = loadContract(readContract(file), file);
  const methods = contract.hubs.reduce((count, hub) => count + hub.methods.length, 0);
  const { name, calls, streams, hubs } = contract;
  const counts = { calls: calls.length, streams: streams.size, hubs: hubs.length, methods };
  if (output === 'json') return console.log(JSON.stringify({ ok: true, file, contract: name, ...counts }, null, 2));
  console.log(
    `${file}: contract '${name}' is good: ${counts.calls} calls, ${counts.streams} streams, ` +
      `${counts.hubs} hubs with ${methods} methods`,
  );
}
