// Reads what the bridge answers to a negotiate, without changing it: in comes the body, out goes the token that later
// requests will bring. Source: TransportProtocols.md, "POST [endpoint-base]/negotiate".

import { brotliDecompressSync, gunzipSync, inflateSync } from 'node:zlib';

/** No negotiation is as long, compressed or not. */
export const maxNegotiationBytes = 1024 * 1024;
const bounded = { maxOutputLength: maxNegotiationBytes };

const decoders = new Map<string, (body: Buffer) => Buffer>([
  ['gzip', (body) => gunzipSync(body, bounded)],
  ['br', (body) => brotliDecompressSync(body, bounded)],
  ['deflate', (body) => inflateSync(body, bounded)],
]);

/** @returns undefined for an error, a redirection, or what is no negotiation at all */
export function tokenIn(body: Buffer, contentEncoding: string | undefined): string | undefined {
  try {
    const decoded = decoders.get(contentEncoding?.toLowerCase() ?? '')?.(body) ?? body;
    // In version 0 the connection's id addresses it.
    const { connectionToken, connectionId } = JSON.parse(decoded.toString());
    const token: unknown = connectionToken ?? connectionId;
    return typeof token === 'string' ? token : undefined;
  } catch {
    return undefined;
  }
}
