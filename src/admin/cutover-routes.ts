// The cutover by HTTP: `GET /cutover`, `PUT /cutover` (set, pin, mirror), `POST /cutover/<verb>` (the others) and the plan's
// `GET`, `PUT /cutover/plan`, `POST /cutover/plan/<verb>` for operators, the paths of peers/peers.ts between replicas. In come JSON
// bodies, out go JSON answers; statuses live here. Promise: what replicas say is judged by its signature
// before its body is read.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { z } from 'zod';
import { forecastQuestion } from '../cutover/forecast.ts';
import type { Command, Operator, Order } from '../cutover/operator.ts';
import type { ReaderWatch } from '../cutover/reader-watch.ts';
import type { Survey } from '../cutover/survey.ts';
import { CrossfadeError, type ErrorCode } from '../errors.ts';
import { type PeerSignature, signatureHeader, unsigned } from '../peers/peer-signature.ts';
import { addresseeHeader, peerPaths } from '../peers/peers.ts';
import { readPlan } from '../plan/plan.ts';
import type { Plans } from '../plan/plans.ts';
import { markdownOf, withPlan } from '../plan/report.ts';
import { type Outage, outageNews } from '../rooms/outage.ts';
import { stateShape } from '../rooms/state.ts';
import type { UncertainAppends } from '../rooms/uncertain.ts';
import type { LogThrottle } from '../telemetry/log-throttle.ts';
import type { Logger } from '../telemetry/logger.ts';
import { writeJson } from './answers.ts';

export interface CutoverRoutesOptions {
  /** This replica's name; a word for another one is not taken (421). */
  instance: string;
  operator: Operator;
  plans: Plans;
  survey: Pick<Survey, 'ownView' | 'ownForecast' | 'ownReach'>;
  uncertain: Pick<UncertainAppends, 'hear' | 'decided'>;
  outage: Pick<Outage, 'hear'>;
  readerWatch: Pick<ReaderWatch, 'reads'>;
  signature: PeerSignature;
  /** Whoever is not known as a replica is told seldom. */
  saysUnsigned: LogThrottle;
  logger: Logger;
}

/** Longer names of rooms are nobody's. */
const maxNameLength = 256;
/** 50 steps take half of it; the parser of YAML compares each key of a map with all others. */
const maxPlanChars = 8 * 1024;
const lane = z.enum(['bridge', 'stream']);
const percent = z.int().min(0).max(100);
const words = z.string().min(1).max(200);
const by = { by: words.default('somebody'), why: words.optional() };
const dryRun = z.boolean().default(false);
const conditions = { force: z.boolean().default(false), ifEpoch: z.int().min(0).optional() };
const setBody = z.strictObject({
  percent: percent.optional(),
  mirror: z.union([percent, z.boolean().transform((on) => (on ? 100 : 0))]).optional(),
  pins: z.record(z.string().min(1).max(maxNameLength), lane.nullable()).optional(),
  ...by,
  ...conditions,
  dryRun,
});
const resetBody = z.strictObject({ ...by, ...conditions, dryRun });
const holdBody = z.strictObject({ by: by.by, why: words, ifEpoch: conditions.ifEpoch });
const releaseBody = z.strictObject({ ...by, ifEpoch: conditions.ifEpoch });
const planOrder = z.strictObject(by);
const planBody = z.strictObject({
  plan: z.string().min(1).max(maxPlanChars),
  source: words.default('plan'),
  by: by.by,
});
const rollbackBody = z.strictObject({ ...by, dryRun });
const questionBody = z.object({ id: z.string(), eventId: z.string(), room: z.string() });
const verdictBody = z.object({ id: z.string(), verdict: z.enum(['withhold', 'show']) });

const maxBodyBytes = 1024 * 1024;
const statuses: Partial<Record<ErrorCode, number>> = {
  CUTOVER_INVALID: 400,
  CUTOVER_GUARD: 409,
  CUTOVER_HELD: 409,
  CUTOVER_CONFLICT: 409,
  PEER_UNSIGNED: 401,
};

/** @returns whether the request was one of these */
export async function answerCutover(
  request: IncomingMessage,
  response: ServerResponse,
  options: CutoverRoutesOptions,
): Promise<boolean> {
  const route = routes[routeOf(request)] ?? (isPeerWord(request) ? peerRoute : undefined);
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
    if (error.code === 'PEER_UNSIGNED' && options.saysUnsigned.isDue())
      options.logger.warn({ code: error.code, from: request.socket.remoteAddress }, error.message);
    writeJson(response, statuses[error.code] ?? 503, { error: error.code, message: error.message });
  }
  return true;
}

type Route = (options: CutoverRoutesOptions, request: IncomingMessage) => Promise<object>;

const routes: Record<string, Route> = {
  'GET /cutover': (options) => plannedStatus(options),
  'GET /cutover/plan': async (options) => planOf(options),
  'PUT /cutover/plan': async (options, request) => {
    const { plan, source, by } = await readRequest(request, planBody);
    await options.plans.start(readPlan(plan, source), by);
    return planOf(options);
  },
  'POST /cutover/plan/pause': async (options, request) => {
    const { by, why } = await readRequest(request, planOrder);
    await options.plans.pause(by, why);
    return planOf(options);
  },
  'POST /cutover/plan/resume': async (options, request) => {
    const { by, why } = await readRequest(request, planOrder);
    await options.plans.resume(by, why);
    return planOf(options);
  },
  'POST /cutover/plan/stop': async (options, request) => {
    const { by, why } = await readRequest(request, planOrder);
    await options.plans.stop(by, why);
    return planOf(options);
  },
  'PUT /cutover': async (options, request) => {
    const { percent, mirror, pins, dryRun, ...order } = await readRequest(request, setBody);
    const command = withoutUndefined({ percent, mirror, pins });
    if (dryRun) return options.operator.rehearseSet(command, orderOf(order));
    await options.operator.set(command, orderOf(order));
    return plannedStatus(options);
  },
  'POST /cutover/reset': async (options, request) => {
    const { dryRun, ...order } = await readRequest(request, resetBody);
    if (dryRun) return options.operator.rehearseReset(orderOf(order));
    await options.operator.reset(orderOf(order));
    return plannedStatus(options);
  },
  'POST /cutover/hold': async (options, request) => {
    const { why, ...order } = await readRequest(request, holdBody);
    await options.operator.hold({ ...orderOf(order), why });
    return plannedStatus(options);
  },
  'POST /cutover/release': async (options, request) => {
    await options.operator.release(orderOf(await readRequest(request, releaseBody)));
    return plannedStatus(options);
  },
  'POST /cutover/rollback': async (options, request) => {
    const { dryRun, ...order } = await readRequest(request, rollbackBody);
    if (dryRun) return options.operator.rehearseRollback();
    const done = await options.operator.rollback(orderOf(order));
    return { ...done, ...(await plannedStatus(options)) };
  },
};

async function plannedStatus({ operator, plans }: CutoverRoutesOptions): Promise<object> {
  return withPlan(await operator.status(), plans.run);
}

/** The run that is under way, or the last one, and its report as Markdown. */
function planOf({ plans: { run } }: CutoverRoutesOptions): object {
  return run === undefined ? { run: null, report: null } : { run, report: markdownOf(run) };
}

function orderOf({ by, ...order }: { by: string } & Omit<Order, 'who'>): Order {
  return { who: by, ...order };
}

/** What replicas say to each other, by its path. */
const peerWords: Record<string, (options: CutoverRoutesOptions, read: ReadSigned) => Promise<unknown>> = {
  [peerPaths.adopt]: async ({ operator }, read) => operator.adoptFromPeer(await read(stateShape)),
  [peerPaths.uncertain]: async ({ uncertain }, read) => uncertain.hear(await read(questionBody)),
  [peerPaths.uncertainDecided]: async ({ uncertain }, read) => uncertain.decided(await read(verdictBody)),
  [peerPaths.reading]: async ({ readerWatch }, read) => {
    await read(z.object({}));
    return { reads: readerWatch.reads };
  },
  [peerPaths.look]: async ({ survey }, read) => {
    await read(z.object({}));
    return survey.ownView();
  },
  [peerPaths.forecast]: async ({ survey }, read) => survey.ownForecast(await read(forecastQuestion)),
  [peerPaths.reach]: async ({ survey }, read) => {
    await read(z.object({}));
    return { notReached: await survey.ownReach() };
  },
  [peerPaths.outage]: async ({ outage }, read) => outage.hear(await read(outageNews)),
};

type ReadSigned = <Value>(shape: z.ZodType<Value>) => Promise<Value>;

export function isPeerWord(request: IncomingMessage): boolean {
  return request.method === 'POST' && Object.hasOwn(peerWords, pathOf(request));
}

async function peerRoute(options: CutoverRoutesOptions, request: IncomingMessage): Promise<object> {
  const path = pathOf(request);
  const isSigned = options.signature.check(path, request.headers[signatureHeader]?.toString());
  const answer = await peerWords[path]!(options, async (shape) => {
    const body = await readBytes(request, maxBodyBytes);
    if (!isSigned(body)) throw unsigned('its body is not the one that was signed');
    return parseRequest(body, shape);
  });
  return answer === undefined ? {} : (answer as object);
}

function pathOf(request: IncomingMessage): string {
  return request.url!.split('?', 1)[0]!;
}

function routeOf(request: IncomingMessage): string {
  return `${request.method} ${pathOf(request)}`;
}

/** Error: CUTOVER_INVALID. */
async function readRequest<Value>(request: IncomingMessage, shape: z.ZodType<Value>): Promise<Value> {
  return parseRequest(await readBytes(request, maxBodyBytes), shape);
}

/** Error: CUTOVER_INVALID. */
async function readBytes(request: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > maxBytes) throw invalidRequest(`the body is larger than ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** Error: CUTOVER_INVALID. */
function parseRequest<Value>(body: Buffer, shape: z.ZodType<Value>): Value {
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

function withoutUndefined(command: { [Key in keyof Command]: Command[Key] | undefined }): Command {
  return Object.fromEntries(Object.entries(command).filter(([, value]) => value !== undefined));
}

function invalidRequest(message: string): CrossfadeError {
  return new CrossfadeError('CUTOVER_INVALID', message);
}
