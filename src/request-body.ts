// What a request's head says of its body: in comes a request, out goes whether it brings one.

import type { IncomingMessage } from 'node:http';

/** Whether a request brings a body, be it in hand or still to come. */
export function hasBody({ headers }: IncomingMessage): boolean {
  const { 'content-length': length = '0', 'transfer-encoding': encoding } = headers;
  return length !== '0' || encoding !== undefined;
}
