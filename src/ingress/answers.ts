// The answers that crossfade gives by itself, in the bridge's shape: statuses live here and nowhere below.

import { randomBytes } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import type { BodyFault } from '../contract/contract.ts';
import { CrossfadeError, type ErrorCode } from '../errors.ts';

/** An answer without a body. */
export function answer(response: ServerResponse, status: number, headers: string[] = []): void {
  response.writeHead(status, ['Content-Length', '0', ...headers]).end();
}

export function answerJson(response: ServerResponse, status: number, value: unknown, headers: string[] = []): void {
  write(response, status, 'application/json; charset=utf-8', value, headers);
}

/** 400 in the form of RFC 9457, with the fields at fault. */
export function answerValidation(response: ServerResponse, fault: BodyFault): void {
  write(response, 400, problem, {
    type: 'https://tools.ietf.org/html/rfc9110#section-15.5.1',
    title: 'One or more validation errors occurred.',
    status: 400,
    errors: fault.errors,
    traceId: newTraceId(),
  });
}

export function answerProblem(response: ServerResponse, status: 415): void {
  write(response, status, problem, {
    type: 'https://tools.ietf.org/html/rfc9110#section-15.5.16',
    title: 'Unsupported Media Type',
    status,
    traceId: newTraceId(),
  });
}

/** ASP.NET puts one into every problem, in the form of a `traceparent`. */
function newTraceId(): string {
  return `00-${randomBytes(16).toString('hex')}-${randomBytes(8).toString('hex')}-00`;
}

const problem = 'application/problem+json; charset=utf-8';

const statuses: Partial<Record<ErrorCode, number>> = {
  BRIDGE_UNREACHABLE: 502,
  BRIDGE_TIMEOUT: 504,
  BRIDGE_OVERLOADED: 503,
  BRIDGE_LOOP: 508,
  INGRESS_OVERLOADED: 503,
  INGRESS_UNDECIDED: 503,
  LOG_UNAVAILABLE: 503,
  LOG_APPEND_REFUSED: 503,
  LOG_APPEND_UNKNOWN: 503,
};

/** A failure of our own or of the lane behind: 502, 503 with Retry-After, 504 or 500, with the code. */
export function answerError(response: ServerResponse, error: unknown): void {
  const code = error instanceof CrossfadeError ? error.code : undefined;
  const status = (code && statuses[code]) ?? 500;
  answerJson(response, status, { error: code ?? 'INTERNAL' }, status === 503 ? ['Retry-After', '1'] : []);
}

function write(response: ServerResponse, status: number, type: string, value: unknown, headers: string[] = []): void {
  // A text goes out in one piece with the head.
  const body = JSON.stringify(value);
  const length = String(Buffer.byteLength(body));
  response.writeHead(status, ['Content-Type', type, 'Content-Length', length, ...headers]).end(body);
}
