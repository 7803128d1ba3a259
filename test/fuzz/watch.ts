// Preloaded into the crossfade that is fuzzed (`node --import`): tells, on a socket of its own, how long the event loop stood
// still and what the process holds. A stall is CPU time of the main thread between two ticks: what another program on the
// machine takes from it is no stall of crossfade's.

import { readdirSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';

export interface Vitals {
  /** Longest stretch of CPU without a tick since the last question, in ms. */
  stallMs: number;
  /** The same by the clock on the wall: it holds what other processes took, and what blocked without CPU. */
  wallStallMs: number;
  descriptors: number;
  /** Bytes in use: of the heap and of buffers. After a collection if that was asked for. */
  memory: number;
  rss: number;
}

const tickMs = 2;
const place = process.env.FUZZ_WATCH;

if (place !== undefined) {
  let longest = { cpu: 0, wall: 0 };
  let last = now();
  setInterval(() => {
    const next = now();
    longest = {
      cpu: Math.max(longest.cpu, Math.min(next.cpu - last.cpu, next.wall - last.wall)),
      wall: Math.max(longest.wall, next.wall - last.wall - tickMs),
    };
    last = next;
  }, tickMs).unref();

  const vitals = (collect: boolean): Vitals => {
    if (collect) globalThis.gc?.();
    const { heapUsed, external, rss } = process.memoryUsage();
    const told = {
      stallMs: longest.cpu,
      wallStallMs: longest.wall,
      descriptors: readdirSync('/proc/self/fd').length,
      memory: heapUsed + external,
      rss,
    };
    longest = { cpu: 0, wall: 0 };
    last = now();
    return told;
  };
  rmSync(place, { force: true });
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.on('data', (question) => socket.write(`${JSON.stringify(vitals(question.includes('collect')))}\n`));
  });
  server.listen(place).unref();
  server.on('connection', (socket) => socket.unref());
}

function now(): { cpu: number; wall: number } {
  const { user, system } = process.threadCpuUsage();
  return { cpu: (user + system) / 1000, wall: performance.now() };
}
