// Whether the bridge is there: each of its addresses is asked every 2 s, out go what each last said, a line in the log when
// that changes, and whether any answers. Promises: one that hangs is noticed too, though it takes connections; one slow
// answer is not taken for that; until an address has answered once, it is not there.

import type { Clock } from '../telemetry/clock.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { BridgeAddress, BridgeAddresses } from './addresses.ts';
import { BridgeClient } from './client.ts';

export interface BridgeState {
  /** Where it is; without what may be secret in the URL. */
  bridge: string;
  reachable: boolean;
  /** What it last said, in words for the operator. */
  detail: string;
}

export interface BridgeHealthOptions {
  addresses: Pick<BridgeAddresses, 'all' | 'reachable' | 'refused'>;
  clock: Clock;
  logger: Logger;
  /** @returns the status of its `GET /health`; rejects with a TimeoutError where it does not answer in time */
  ask?: (address: BridgeAddress) => Promise<number>;
}

interface Known {
  reachable: boolean;
  detail: string;
  /** Times in a row that it did not answer in time. */
  silences: number;
  /** ms, monotonic */
  since: number;
}

const everyMs = 2_000;
const answerMs = 2_000;
const maxSilences = 2;

export class BridgeHealth {
  readonly #options: BridgeHealthOptions;
  readonly #ask: (address: BridgeAddress) => Promise<number>;
  readonly #known = new Map<string, Known>();
  readonly #asked = new Set<string>();
  readonly #stop: () => void;
  /** Resolves when every address was asked once. */
  readonly begun: Promise<void>;

  constructor(options: BridgeHealthOptions) {
    this.#options = options;
    this.#ask = options.ask ?? askHealth;
    this.#stop = options.clock.every(everyMs, () => this.#look());
    this.begun = this.#look();
  }

  /** Whether any bridge answers. */
  get reachable(): boolean {
    // Who calls it notices a refusal first.
    return this.#options.addresses.reachable && this.states.some(({ reachable }) => reachable);
  }

  get states(): BridgeState[] {
    return this.#options.addresses.all.map((address) => {
      const { reachable = false, detail = 'not asked yet' } = this.#known.get(address.key) ?? {};
      return { bridge: placeOf(address), reachable, detail };
    });
  }

  close(): void {
    this.#stop();
  }

  async #look(): Promise<void> {
    const { all } = this.#options.addresses;
    const keys = new Set(all.map(({ key }) => key));
    for (const key of this.#known.keys()) if (!keys.has(key)) this.#known.delete(key);
    await Promise.all(all.filter(({ key }) => !this.#asked.has(key)).map((address) => this.#lookAt(address)));
  }

  async #lookAt(address: BridgeAddress): Promise<void> {
    this.#asked.add(address.key);
    try {
      const status = await this.#ask(address);
      // What stands in front of a bridge that is gone says so by a 5xx; any other answer is one of a server.
      this.#note(address, status < 500, `answers ${status}`);
    } catch (error) {
      const { name, code, message } = error as NodeJS.ErrnoException;
      if (!name.includes('Timeout')) this.#note(address, false, code ?? message);
      else this.#noteSilence(address);
    } finally {
      this.#asked.delete(address.key);
    }
  }

  #noteSilence(address: BridgeAddress): void {
    const known = this.#known.get(address.key);
    const silences = (known?.silences ?? 0) + 1;
    if (known?.reachable && silences < maxSilences) known.silences = silences;
    else this.#note(address, false, `no answer within ${answerMs / 1000} s`);
  }

  #note(address: BridgeAddress, reachable: boolean, detail: string): void {
    const { addresses, clock } = this.#options;
    const before = this.#known.get(address.key);
    const now = clock.monotonic();
    const since = before?.reachable === reachable ? before.since : now;
    this.#known.set(address.key, { reachable, detail, silences: 0, since });
    if (!reachable) addresses.refused(address);
    if (before?.reachable !== reachable) this.#tell(placeOf(address), reachable, detail, before && now - before.since);
  }

  /** @param lastedMs how long it was the other way; undefined: it was asked for the first time */
  #tell(bridge: string, reachable: boolean, detail: string, lastedMs: number | undefined): void {
    const { logger } = this.#options;
    const isFirst = lastedMs === undefined;
    if (reachable) logger.info({ bridge, detail }, isFirst ? 'the bridge answers' : 'the bridge is back');
    else
      logger.warn(
        { code: 'BRIDGE_UNREACHABLE', bridge, detail },
        isFirst ? 'the bridge does not answer' : 'the bridge is gone',
      );
  }
}

function placeOf({ origin, basePath }: BridgeAddress): string {
  return origin + basePath;
}

/** Over a connection of its own: whether one comes about is half of the question. */
async function askHealth(address: BridgeAddress): Promise<number> {
  const client = new BridgeClient({ addresses: { all: [address] }, connections: 1, timeoutMs: answerMs });
  const request = { method: 'GET', url: '/health', headers: [], body: null };
  try {
    const { statusCode, body } = await client.request(address, { ...request, signal: AbortSignal.timeout(answerMs) });
    await body.dump();
    return statusCode;
  } finally {
    await client.close();
  }
}
