// The backend of the ledger: in go the planned calls, out go the calls as they were made and answered. Promises that a
// room's calls follow one another, each begun after the one before was answered, while the rooms run side by side, each
// call not before its time.

import { setTimeout as sleep } from 'node:timers/promises';
import { request } from 'undici';
import type { MadeCall } from './owed.ts';
import type { PlannedCall } from './plan.ts';

export interface FeedOptions {
  plan: ReadonlyMap<string, PlannedCall[]>;
  apiKey: string;
  /** How long the calls take if nothing holds them up, in ms. */
  durationMs: number;
  /** Where a call goes, such as `http://127.0.0.1:7400`. @param number the call's place in its room */
  addressOf(room: string, number: number): string;
  /** Where a call goes once more, with the same event id, that got no answer; undefined: it does not. */
  retryAt?(address: string): string | undefined;
  /** Holds a call back until the walk has come far enough. @param progress the call's place in its room, from 0 to 1 */
  admit?(progress: number): Promise<void>;
}

/** As long as the backend waits. */
const callTimeoutMs = 10_000;

export class Feed {
  readonly made: Map<string, MadeCall[]>;
  /** `200`, `200 duplicate`, `502`, `TimeoutError` … -> how many calls ended so. */
  readonly outcomes = new Map<string, number>();
  readonly #options: FeedOptions;
  /** How many calls were answered. */
  madeCount = 0;
  /** Room -> where its call is that is not answered yet. */
  readonly underWay = new Map<string, string>();

  constructor(options: FeedOptions) {
    this.#options = options;
    this.made = new Map([...options.plan.keys()].map((room) => [room, []]));
  }

  /** Makes all calls; resolves when the last one is answered. */
  async run(): Promise<void> {
    const startedAt = performance.now();
    await Promise.all([...this.#options.plan.values()].map((calls, i) => this.#runRoom(calls, i, startedAt)));
  }

  async #runRoom(calls: PlannedCall[], roomNumber: number, startedAt: number): Promise<void> {
    const { durationMs, admit, addressOf } = this.#options;
    const periodMs = durationMs / calls.length;
    // Rooms do not beat in time.
    const offsetMs = (periodMs * roomNumber) / this.#options.plan.size;
    for (const [number, call] of calls.entries()) {
      const waitMs = startedAt + offsetMs + number * periodMs - performance.now();
      if (waitMs > 0) await sleep(waitMs);
      const readyAt = performance.now();
      await admit?.(number / calls.length);
      // What the walk holds up is not made up for; what the system holds up is.
      startedAt += performance.now() - readyAt;
      await this.#make(call, addressOf(call.room, number));
    }
  }

  async #make(call: PlannedCall, address: string): Promise<void> {
    const startedAt = performance.now();
    this.underWay.set(call.room, address);
    const first = await this.#send(call, address);
    const again = first.startsWith('200') ? undefined : this.#options.retryAt?.(address);
    // A repeat of a call that was kept is a duplicate: the backend knows then that it was accepted.
    const outcome = again === undefined ? first : await this.#send(call, again);
    this.underWay.delete(call.room);
    const answeredAt = performance.now();
    const accepted = outcome === '200' || (again !== undefined && outcome.startsWith('200'));
    this.made.get(call.room)!.push({ call, address, startedAt, answeredAt, accepted });
    this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + 1);
    this.madeCount++;
  }

  async #send({ path, body }: PlannedCall, address: string): Promise<string> {
    try {
      // Half of the CPU time of fetch.
      const { statusCode, body: answer } = await request(`${address}/internal/${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'x-internal-api-key': this.#options.apiKey },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(callTimeoutMs),
      });
      const text = await answer.text();
      if (statusCode !== 200) return String(statusCode);
      return JSON.parse(text).broadcast === true ? '200' : `200 ${text}`;
    } catch (error) {
      return (error as Error).name;
    }
  }
}
