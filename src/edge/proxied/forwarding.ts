// Answers of the bridge on their way to a client: in come a client's request and what the bridge says to it, out go status, headers and
// bytes as they are. Promises: a client that leaves ends its request at the bridge, and the other way round; how long an answer
// takes is between those two (a poll takes 90 s, an event stream as long as it likes).

import type { IncomingMessage, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import type { BridgeAddress } from '../../bridge/addresses.ts';
import type { BridgeClient, BridgeRequest, BridgeResponse } from '../../bridge/client.ts';
import { forwardedHeaders, withoutHeaders } from '../../bridge/headers.ts';
import { headersOf } from '../../bridge/response.ts';
import { refuse, refuseFurther } from '../../refusal.ts';

/** What crossfade itself reads into memory of one answer; a hub message may be as large as a call of 30 MB becomes. */
export const maxMessageBytes = 128 * 1024 * 1024;

/** A client's request as the bridge gets it, but for its body. */
export function requestOf(request: IncomingMessage): { method: string; url: string; headers: string[] } {
  return { method: request.method!, url: request.url!, headers: forwardedHeaders(request) };
}

/** The same where the bridge's answer is read here: it must not be compressed. */
export function readableRequestOf(request: IncomingMessage): { method: string; url: string; headers: string[] } {
  const asked = requestOf(request);
  return { ...asked, headers: withoutHeaders(asked.headers, (name) => name === 'accept-encoding') };
}

/** Streams the answer to a request through. Rejects, with the answer cut off, if either side breaks. */
export async function forward(
  client: BridgeClient,
  address: BridgeAddress,
  request: BridgeRequest,
  response: ServerResponse,
): Promise<void> {
  const answer = await client.request(address, { ...request, signal: goneSignal(response) });
  await passAnswer(answer, response);
}

/** Streams an answer through that has come. */
export async function passAnswer(answer: BridgeResponse, response: ServerResponse): Promise<void> {
  writeHead(response, answer);
  await pipeline(answer.body, response);
}

/** @param bytes of the body, where it is another one than the bridge's */
export function writeHead(response: ServerResponse, answer: BridgeResponse, bytes?: number): void {
  response.sendDate = false;
  if (answer.statusCode >= 400) refuseFurther(response);
  const headers = headersOf(answer);
  const lengthAt = headers.findIndex((name, i) => i % 2 === 0 && name.toLowerCase() === 'content-length');
  if (bytes !== undefined && lengthAt !== -1) headers[lengthAt + 1] = String(bytes);
  response.writeHead(answer.statusCode, answer.statusText, headers);
}

/** Aborted when the client is gone (or has its whole answer). */
export function goneSignal(response: ServerResponse): AbortSignal {
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  if (response.destroyed) gone.abort();
  return gone.signal;
}

/** Answers for a bridge that gave no answer; a client that has a part of one already is cut off. */
export function answerUnreachable(response: ServerResponse): void {
  if (response.headersSent) response.destroy();
  else refuse(response, 502);
}
