// Headers on their way through crossfade. In come names and values in turn, as on the wire; out go those that the next
// hop gets, in their order and spelling (RFC 9110, 7.6.1).

import type { IncomingMessage } from 'node:http';
import { isIPv4 } from 'node:net';

/** RFC 9110 7.6.1, and `Expect`, which this hop has already answered. `Host` names the bridge, as without crossfade. */
const hopByHop = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'expect',
  'host',
]);

/** The headers that go on beyond this hop. */
export function endToEnd(rawHeaders: string[]): string[] {
  const named = new Set<string>();
  for (let i = 0; i < rawHeaders.length; i += 2) {
    if (rawHeaders[i]!.toLowerCase() !== 'connection') continue;
    for (const name of rawHeaders[i + 1]!.split(',')) named.add(name.trim().toLowerCase());
  }
  return withoutHeaders(rawHeaders, (name) => hopByHop.has(name) || named.has(name));
}

/** @param drops asked with each name in lower case */
export function withoutHeaders(rawHeaders: string[], drops: (name: string) => boolean): string[] {
  const kept: string[] = [];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    if (!drops(rawHeaders[i]!.toLowerCase())) kept.push(rawHeaders[i]!, rawHeaders[i + 1]!);
  }
  return kept;
}

/** A request of a client; `isRelayed`: by another replica, which has written the client's address into `X-Forwarded-For`. */
export type EdgeRequest = IncomingMessage & { isRelayed?: boolean };

/** A client's headers as the bridge gets them: end to end, with the client's address behind `X-Forwarded-For`. */
export function forwardedHeaders({ rawHeaders, headers, socket, isRelayed }: EdgeRequest): string[] {
  const earlier = headers['x-forwarded-for'];
  const own = isRelayed ? [] : [plainAddress(socket.remoteAddress)];
  const chain = [...(earlier === undefined ? [] : [earlier].flat()), ...own];
  const kept = withoutHeaders(endToEnd(rawHeaders), (name) => name === 'x-forwarded-for');
  return [...kept, 'X-Forwarded-For', chain.join(', ')];
}

/** An IPv4 client of a server that listens on `::` is written as IPv6. */
function plainAddress(address = 'unknown'): string {
  const mapped = address.replace(/^::ffff:/i, '');
  return isIPv4(mapped) ? mapped : address;
}
