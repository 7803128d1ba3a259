// W3C trace context: the trace id of a request's `traceparent`. The header itself goes on to the bridge untouched.

import type { IncomingMessage } from 'node:http';

/** @returns 32 hex digits, or undefined where the header is missing or not valid (W3C Trace Context, 3.2) */
export function traceIdOf(request: IncomingMessage): string | undefined {
  const match = /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}/.exec(String(request.headers.traceparent ?? ''));
  return match === null || /^0+$/.test(match[1]!) ? undefined : match[1];
}
