// How the admin port takes JSON requests, and which status an error gets: in come bodies, out go values of a shape, or the refusal.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { z } from 'zod';
import { CrossfadeError, type ErrorCode } from '../errors.ts';
import { writeJson } from './answers.ts';

const maxBodyBytes = 1024 * 1024;
const statuses: Partial<Record<ErrorCode, number>> = {
  CUTOVER_INVALID: 400,
  CUTOVER_GUARD: 409,
  CUTOVER_HELD: 409,
  CUTOVER_COMPLETE: 409,
  CUTOVER_CONFLICT: 409,
  PEER_UNSIGNED: 401,
};

export function pathOf(request: IncomingMessage): string {
  return request.url!.split('?', 1)[0]!;
}

/** Answers 200 with what `route` resolves to, or the status of its error; what has no code is thrown on. */
export async function answerRoute(response: ServerResponse, route: () => Promise<object>): Promise<void> {
  try {
    writeJson(response, 200, await route());
  } catch (error) {
    if (!(error instanceof CrossfadeError)) throw error;
    writeJson(response, statuses[error.code] ?? 503, { error: error.code, message: error.message });
  }
}

/** Error: CUTOVER_INVALID. */
export async function readRequest<Value>(request: IncomingMessage, shape: z.ZodType<Value>): Promise<Value> {
  return parseRequest(await readBytes(request), shape);
}

/** Error: CUTOVER_INVALID where it is larger than 1 MiB. */
export async function readBytes(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > maxBodyBytes) throw invalidRequest(`the body is larger than ${maxBodyBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** Error: CUTOVER_INVALID. */
export function parseRequest<Value>(body: Buffer, shape: z.ZodType<Value>): Value {
  let value: unknown;
  try {
    value = body.length === 0 ? {} : JSON.parse(body.toString('utf8'));
  } catch {
    throw invalidRequest('the body is not JSON');
  }
  const result = shape.safeParse(value);
  if (result.success) return result.data;
  throw invalidRequest(
    result.error.issues.map(({ path, message }) => `${path.join('.') || 'body'}: ${message}`).join('; '),
  );
}

function invalidRequest(message: string): CrossfadeError {
  return new CrossfadeError('CUTOVER_INVALID', message);
}
