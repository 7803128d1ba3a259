// The HTTP client of the load generator's backend: in come calls, out go HTTP POSTs over connections that are kept, and the status of each answer.
// Promises: never more connections than senders; what is due while all are busy waits for one, and its time counts.

import { Pool } from 'undici';
import { sharedNow } from './shared-clock.ts';
import type { LoadCall, Wire } from './wire.ts';

const answerTimeoutMs = 30_000;

export class LoadPublisher {
  readonly #pool: Pool;
  readonly #headers: Wire['headers'];

  /** @param senders how many calls may be under way at a time */
  constructor({ origin, headers }: Pick<Wire, 'origin' | 'headers'>, senders: number) {
    this.#headers = headers;
    this.#pool = new Pool(origin, {
      connections: senders,
      pipelining: 1,
      allowH2: false,
      headersTimeout: answerTimeoutMs,
      bodyTimeout: answerTimeoutMs,
    });
  }

  /** @param done with the status once the answer is there as a whole, or with the error's code; and when that was, by {@link sharedNow} */
  send({ path, body }: LoadCall, done: (outcome: number | string, answeredAt: number) => void): void {
    let status = 0;
    this.#pool.dispatch(
      { method: 'POST', path, body, headers: this.#headers },
      {
        onRequestStart() {},
        onResponseStart(_controller, statusCode) {
          status = statusCode;
        },
        onResponseData() {},
        onResponseEnd() {
          done(status, sharedNow());
        },
        onResponseError(_controller, error) {
          done((error as NodeJS.ErrnoException).code ?? error.message, sharedNow());
        },
      },
    );
  }

  close(): Promise<void> {
    return this.#pool.destroy();
  }
}
