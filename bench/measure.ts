// One system under one workload, once: in come both and how long, out goes what was measured.

import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Crowd, type Measured } from '../src/bench/crowd.ts';
import type { Wire } from '../src/bench/wire.ts';
import { cpuSeconds, residentBytes } from './processes.ts';
import type { System, UnderLoad } from './systems.ts';
import type { Workload } from './workloads.ts';

export type Sample = Measured | { bytesPerConnection: number };

/** Calls that the backend may have under way. */
export const senders = 100;
/** How crossfade is called for the backend's process. */
export const program = [process.execPath, fileURLToPath(new URL('../src/main.ts', import.meta.url))];
export const warmUpSeconds = 2;
const settleMs = 3_000;
const firstShare = 0.25;

export async function measure(
  { isDeaf = false }: Pick<System, 'isDeaf'>,
  { wire, pids }: UnderLoad,
  workload: Workload,
  seconds: number,
): Promise<Sample> {
  const members = isDeaf ? workload.members.map(() => 0) : workload.members;
  if (workload.isIdle) return memoryOf(wire, members, pids.server!);
  const crowd = await Crowd.open({ wire, members, senders, program });
  try {
    const { rate, typists = 0, visitors = 0 } = workload;
    const load = { rate, typists, visitors: isDeaf ? 0 : visitors };
    await crowd.run({ ...load, seconds: warmUpSeconds });
    const parts = Object.entries(pids);
    const readCpu = () => Object.fromEntries(parts.map(([name, of]) => [name, cpuSeconds(of)]));
    return await crowd.run({ ...load, seconds, readCpu });
  } finally {
    await crowd.close();
    // What closing costs is not the next one's.
    await sleep(Math.min(settleMs, 300 + members.reduce((sum, count) => sum + count, 0)));
  }
}

/** What one more client costs, once what the first ones cost is paid: code is compiled, and the young generation has its size. */
async function memoryOf(wire: Wire, members: number[], server: number[]): Promise<Sample> {
  const crowds: Crowd[] = [];
  try {
    const first = Math.floor(members.length * firstShare);
    crowds.push(await Crowd.open({ wire, members: members.slice(0, first), senders, program }));
    await sleep(settleMs);
    const before = residentBytes(server);
    const more = await Crowd.open({ wire, members: members.slice(first), senders, program });
    crowds.push(more);
    await sleep(settleMs);
    return { bytesPerConnection: (residentBytes(server) - before) / more.size };
  } finally {
    for (const crowd of crowds) await crowd.close();
  }
}
