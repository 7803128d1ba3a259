// When a client takes too little of what the log has for it, by whatever transport. In come what is about to be sent and how much waits;
// out goes whether the client is too slow, and has to be cut before it costs others anything.
// Promises: one large message to a client that keeps up passes, as only what waits already counts; how long a bridge's own messages may
// take is between the bridge and its client.

import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';

export interface SlowClientLimits {
  /** Bytes that may wait for a client before the next message. */
  maxBufferedBytes: number;
  /** ms for which a client may be behind at all. */
  maxBackloggedMs: number;
}

export const defaultSlowLimits: SlowClientLimits = { maxBufferedBytes: 4 * 1024 * 1024, maxBackloggedMs: 30_000 };

export class SlowClient {
  readonly #limits: SlowClientLimits;
  /** Whether anything was sent since the client had everything. */
  #isOwed = false;
  /** ms, monotonic */
  #caughtUpAt: number;

  /** @param now ms, monotonic */
  constructor(limits: SlowClientLimits, now: number) {
    this.#limits = limits;
    this.#caughtUpAt = now;
  }

  /** Before each message. @param waitingBytes what waits for the client without it @returns whether that is too much already */
  isOver(waitingBytes: number): boolean {
    this.#isOwed = true;
    return waitingBytes > this.#limits.maxBufferedBytes;
  }

  /** It has just taken all that waited for it, however much may wait again. */
  caughtUp(now: number): void {
    this.#caughtUpAt = now;
  }

  /** About once a second. @returns whether the client has been behind for too long */
  isBehind(waitingBytes: number, now: number): boolean {
    if (waitingBytes === 0) this.#isOwed = false;
    if (!this.#isOwed) this.#caughtUpAt = now;
    return now - this.#caughtUpAt > this.#limits.maxBackloggedMs;
  }
}

/** A slow client was cut. @param hub its name */
export function tellSlow({ metrics, logger }: { metrics: Metrics; logger: Logger }, hub: string): void {
  metrics.slowClients.inc();
  logger.warn({ code: 'EDGE_SLOW_CLIENT', hub }, 'a slow client was cut off');
}
