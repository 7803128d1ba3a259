// Reads what the bridge answers to a negotiate, without changing it: in comes the body, out goes the token that later
// requests will bring. Source: TransportProtocols.md, "POST [endpoint-base]/negotiate".

import { brotliDecompressSync, gunzipSync, inflateSync } from 'node:zlib';

const decoders = new Map<string, (body: Buffer) => Buffer>([
  ['gzip', gunzipSync],
  ['br', brotliDecompressSync],
  ['deflate', inflateSync],
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
