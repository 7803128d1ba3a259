// One system under one workload, once: in come both and how long, out goes what was measured.

import { setTimeout as sleep } from 'node:timers/promises';
import { Crowd, type Measured } from '../src/bench/crowd.ts';
import { cpuSeconds, residentBytes } from './processes.ts';
import type { System, UnderLoad } from './systems.ts';
import type { Workload } from './workloads.ts';

export type Sample = Measured | { bytesPerConnection: number };

const senders = 100;
const warmUpSeconds = 2;
const settleMs = 3_000;

export async function measure(
  { isDeaf = false }: System,
  { wire, pids }: UnderLoad,
  workload: Workload,
  seconds: number,
): Promise<Sample> {
  const members = isDeaf ? workload.members.map(() => 0) : workload.members;
  const before = residentBytes(pids.server!);
  const crowd = await Crowd.open({ wire, members, senders });
  try {
    if (workload.isIdle) return await memoryOf(crowd, pids, before);
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

async function memoryOf(crowd: Crowd, pids: UnderLoad['pids'], before: number): Promise<Sample> {
  await sleep(settleMs);
  return { bytesPerConnection: (residentBytes(pids.server!) - before) / crowd.size };
}
