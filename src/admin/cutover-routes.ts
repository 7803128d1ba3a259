// The cutover by HTTP: `GET /cutover`, `PUT /cutover`, `POST /cutover/rollback` and `/cutover/reset` for operators,
// `POST /cutover/adopt`, `/cutover/twin`, `/cutover/twin-landed` and `/cutover/detour` between replicas. In come JSON bodies,
// out go JSON answers; statuses live here.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { z } from 'zod';
import type { Detour } from '../cutover/detour.ts';
import type { Command, Operator } from '../cutover/operator.ts';
import { addresseeHeader } from '../cutover/peers.ts';
import { type CutoverState, readState } from '../cutover/state.ts';
import type { Twins } from '../cutover/twins.ts';
import { CrossfadeError, type ErrorCode } from '../errors.ts';
import { writeJson } from './answers.ts';

export interface CutoverRoutesOptions {
  /** This replica's name; a word for another one is not taken (421). */
  instance: string;
  operator: Operator;
  twins: Pick<Twins, 'expect' | 'landed'>;
  detour: Pick<Detour, 'takenElsewhere'>;
}

const lane = z.enum(['bridge', 'stream']);
const by = { by: z.string().min(1).max(200).default('somebody'), force: z.boolean().default(false) };
const commandBody = z.strictObject({
  percent: z.int().min(0).max(100).optional(),
  mirror: z.boolean().optional(),
  pins: z.record(z.string(), lane.nullable()).optional(),
  ...by,
});
const resetBody = z.strictObject(by);
const rollbackBody = z.strictObject({ by: by.by });
const twinBody = z.object({
  id: z.string(),
  eventId: z.string(),
  room: z.string(),
  payload: z.string(),
  deliveries: z.array(z.object({ hub: z.string(), group: z.string(), method: z.string() })),
});
const twinLandedBody = z.object({ id: z.string() });
const detourBody = z.object({ instance: z.string(), id: z.string(), rooms: z.array(z.string()) });

const maxBodyBytes = 1024 * 1024;
/** A twin holds a call's payload as text in JSON, which may take six times its bytes; calls have --max-body. */
const maxTwinBytes = 6 * 32 * 1024 * 1024;
const statuses: Partial<Record<ErrorCode, number>> = {
  CUTOVER_INVALID: 400,
  CUTOVER_GUARD: 409,
  CUTOVER_CONFLICT: 409,
};

/** @returns whether the request was one of these */
export async function answerCutover(
  request: IncomingMessage,
  response: ServerResponse,
  options: CutoverRoutesOptions,
): Promise<boolean> {
  const route = routes[`${request.method} ${request.url!.split('?', 1)[0]}`];
  if (route === undefined) return false;
  const addressee = request.headers[addresseeHeader] ?? encodeURIComponent(options.instance);
  if (addressee !== encodeURIComponent(options.instance)) {
    writeJson(response, 421, { error: 'not this replica' });
    return true;
  }
  try {
    writeJson(response, 200, await route(options, request));
  } catch (error) {
    if (!(error instanceof CrossfadeError)) throw error;
    writeJson(response, statuses[error.code] ?? 503, { error: error.code, message: error.message });
  }
  return true;
}

type Route = (options: CutoverRoutesOptions, request: IncomingMessage) => Promise<object>;

const routes: Record<string, Route> = {
  'GET /cutover': ({ operator }) => operator.status(),
  'PUT /cutover': async ({ operator }, request) => {
    const { by, force, ...command } = await readBody(request, commandBody);
    await operator.set(withoutUndefined(command), { who: by, force });
    return operator.status();
  },
  'POST /cutover/reset': async ({ operator }, request) => {
    const { by, force } = await readBody(request, resetBody);
    await operator.reset({ who: by, force });
    return operator.status();
  },
  'POST /cutover/rollback': async ({ operator }, request) => {
    const told = await operator.rollback((await readBody(request, rollbackBody)).by);
    return { ...told, ...(await operator.status()) };
  },
  'POST /cutover/adopt': async ({ operator }, request) => {
    await operator.adoptFromPeer(await readBody(request, z.custom<CutoverState>(isState)));
    return {};
  },
  'POST /cutover/twin': async ({ twins }, request) => {
    twins.expect(await readBody(request, twinBody, maxTwinBytes));
    return {};
  },
  'POST /cutover/twin-landed': async ({ twins }, request) => {
    twins.landed((await readBody(request, twinLandedBody)).id);
    return {};
  },
  'POST /cutover/detour': async ({ detour }, request) => {
    await detour.takenElsewhere(await readBody(request, detourBody));
    return {};
  },
};

/** Error: CUTOVER_INVALID. */
async function readBody<Value>(
  request: IncomingMessage,
  shape: z.ZodType<Value>,
  maxBytes = maxBodyBytes,
): Promise<Value> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > maxBytes) throw invalid(`the body is larger than ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  const text = Buffer.concat(chunks).toString('utf8');
  let value: unknown;
  try {
    value = text === '' ? {} : JSON.parse(text);
  } catch {
    throw invalid('the body is not JSON');
  }
  const result = shape.safeParse(value);
  if (result.success) return result.data;
  throw invalid(result.error.issues.map(({ path, message }) => `${path.join('.') || 'body'}: ${message}`).join('; '));
}

function isState(value: unknown): boolean {
  try {
    readState(JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

function withoutUndefined(command: z.infer<typeof commandBody> | object): Command {
  return Object.fromEntries(Object.entries(command).filter(([, value]) => value !== undefined));
}

function invalid(message: string): CrossfadeError {
  return new CrossfadeError('CUTOVER_INVALID', message);
}
