// What a bridge sends back, whoever has asked it: in comes the client's response, out go its headers and, within a bound, its body.

import type { BridgeResponse } from './client.ts';
import { endToEnd } from './headers.ts';

/** The headers that go on, names and values in turn. */
export function headersOf({ headers }: BridgeResponse): string[] {
  return endToEnd(headers as unknown as string[]);
}

/** @param wanted in lower case */
export function headerOf({ headers }: BridgeResponse, wanted: string): string | undefined {
  const raw = headers as unknown as string[];
  const at = raw.findIndex((name, i) => i % 2 === 0 && name.toLowerCase() === wanted);
  return at === -1 ? undefined : raw[at + 1];
}

/** The whole body. Rejects, and leaves the rest unread, if it has more bytes than that. */
export async function readAnswerBody({ body }: BridgeResponse, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > maxBytes) throw new Error(`an answer of the bridge has more than ${maxBytes} bytes`);
  }
  return Buffer.concat(chunks);
}
