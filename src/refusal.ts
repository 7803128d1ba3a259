// The end of a socket that has got its last word (a refusal, most often). In comes the socket, out goes nothing: it is closed
// within a bound, whatever the other side does. A peer that reads nothing, or left bytes behind that nobody reads, would
// otherwise keep its descriptor for ever: `end` alone waits for the peer's own end, which is only seen by reading up to it.

import { type IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { hasBody } from './request-body.ts';
import type { Clock } from './telemetry/clock.ts';

/** ms for which a refused peer may take to read its answer and leave. */
export const lingerMs = 5_000;

/** Ends the socket behind what was written to it, drops what still comes, and destroys it after 5 s at most. */
export function endWithinBound(socket: Duplex, clock: Clock): void {
  if (socket.destroyed) return;
  const cancel = clock.after(lingerMs, () => socket.destroy());
  socket.once('close', cancel);
  socket.on('error', () => socket.destroy());
  socket.end();
  socket.resume();
}

/** Calls `then` once the rest of the request's body has come, all of it dropped, or after 5 s. */
export function whenRestIsDropped(request: IncomingMessage, clock: Clock, then: () => void): void {
  if (request.closed) return then();
  const end = () => {
    cancel();
    request.off('close', end);
    then();
  };
  const cancel = clock.after(lingerMs, end);
  request.once('close', end);
  request.resume();
}

/**
 * For a request that has its answer before its body has come: drops the rest, so that the client gets to read the answer and
 * may go on with its connection, which is destroyed if the rest takes longer than 5 s.
 */
export function dropRestWithinBound(request: IncomingMessage, clock: Clock): void {
  if (request.complete) return;
  whenRestIsDropped(request, clock, () => {
    if (!request.complete) request.socket.destroy();
  });
}

/** For a plain refusal, before its head is written: its connection takes no other request. */
export function refuseFurther(response: ServerResponse): void {
  // Who is still sending would be reset by Node's end, and might not get to read why.
  if (response.req.complete || !hasBody(response.req)) response.shouldKeepAlive = false;
}

/** Answers without a body; the connection takes no other request. @param contentType where the answer names one all the same */
export function refuse(response: ServerResponse, status: number, contentType?: string): undefined {
  refuseFurther(response);
  if (contentType !== undefined) response.setHeader('Content-Type', contentType);
  response.writeHead(status, { 'Content-Length': 0 }).end();
}

/** The refusal of an upgrade, to be answered like any other request and sent by {@link sendRefusal}. */
export function refusalOf(request: IncomingMessage): ServerResponse {
  const response = new ServerResponse(request);
  response.shouldKeepAlive = false;
  return response;
}

/** Sends a refusal, written or still to be written, as the last word on the socket of its upgrade. */
export function sendRefusal(response: ServerResponse, socket: Socket, clock: Clock): void {
  const cancel = clock.after(lingerMs, () => socket.destroy());
  socket.once('close', cancel);
  response.once('finish', () => {
    cancel();
    endWithinBound(socket, clock);
  });
  response.assignSocket(socket);
}
