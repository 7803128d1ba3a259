// One clock for all processes of a run: the backend says when it has sent a message, the clients' side when it was shown.

/** `performance.now()` begins anew in each process; what it counts is CLOCK_MONOTONIC, which is the machine's. */
const startedAt = Number(process.hrtime.bigint()) / 1e6 - performance.now();

/** ms, monotonic, the same in every process of this machine. */
export function sharedNow(): number {
  return startedAt + performance.now();
}
