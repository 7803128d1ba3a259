// What processes have cost so far, as Linux counts it: in come their ids, out go CPU seconds and bytes.

import { readFileSync } from 'node:fs';

/** USER_HZ, see proc(5) and sysconf(3): 100 on every Linux that is in use. */
const ticksPerSecond = 100;
const kib = 1_024;

/** User and system time. */
export function cpuSeconds(pids: number[]): number {
  const ticks = pids.map((pid) => {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // Behind the name, which may hold blanks.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return Number(fields[11]) + Number(fields[12]);
  });
  return ticks.reduce((sum, count) => sum + count, 0) / ticksPerSecond;
}

export function residentBytes(pids: number[]): number {
  const sizes = pids.map((pid) => {
    const line = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
    return Number(line![1]) * kib;
  });
  return sizes.reduce((sum, size) => sum + size, 0);
}
