// The cutover by HTTP, for operators: `GET /cutover`, `PUT /cutover` (set, pin, mirror, hubs), `POST /cutover/<verb>` (the others) and the
// plan's `GET`, `PUT /cutover/plan`, `POST /cutover/plan/<verb>`. In come JSON bodies, out go JSON answers.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { z } from 'zod';
import type { Command, Order } from '../cutover/command.ts';
import type { Completion } from '../cutover/completion.ts';
import type { DryRuns } from '../cutover/dry-runs.ts';
import type { Operator } from '../cutover/operator.ts';
import type { Rollback } from '../cutover/rollback.ts';
import { readPlan } from '../plan/plan.ts';
import type { Plans } from '../plan/plans.ts';
import { markdownOf, type PlannedStatus } from '../plan/report.ts';
import { answerRoute, pathOf, readRequest } from './requests.ts';

export interface CutoverRoutesOptions {
  operator: Operator;
  rollback: Pick<Rollback, 'rollBack'>;
  dryRuns: DryRuns;
  completion: Pick<Completion, 'dryRun'>;
  plans: Plans;
  status(): Promise<PlannedStatus>;
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
  hubs: z.record(z.string().min(1).max(maxNameLength), z.enum(['proxy', 'native'])).optional(),
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

/** @returns whether the request was one of these */
export async function answerCutover(
  request: IncomingMessage,
  response: ServerResponse,
  options: CutoverRoutesOptions,
): Promise<boolean> {
  const route = routes[`${request.method} ${pathOf(request)}`];
  if (route === undefined) return false;
  await answerRoute(response, () => route(options, request));
  return true;
}

type Route = (options: CutoverRoutesOptions, request: IncomingMessage) => Promise<object>;

const routes: Record<string, Route> = {
  'GET /cutover': ({ status }) => status(),
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
    const { percent, mirror, pins, hubs, dryRun, ...order } = await readRequest(request, setBody);
    const command = withoutUndefined({ percent, mirror, pins, hubs });
    if (dryRun) return options.dryRuns.set(command, orderOf(order));
    await options.operator.set(command, orderOf(order));
    return options.status();
  },
  'POST /cutover/reset': async (options, request) => {
    const { dryRun, ...order } = await readRequest(request, resetBody);
    if (dryRun) return options.dryRuns.reset(orderOf(order));
    await options.operator.reset(orderOf(order));
    return options.status();
  },
  'POST /cutover/complete': async (options, request) => {
    const { dryRun, ...order } = await readRequest(request, resetBody);
    if (dryRun) return options.completion.dryRun(orderOf(order));
    await options.operator.complete(orderOf(order));
    return options.status();
  },
  'POST /cutover/hold': async (options, request) => {
    const { why, ...order } = await readRequest(request, holdBody);
    await options.operator.hold({ ...orderOf(order), why });
    return options.status();
  },
  'POST /cutover/release': async (options, request) => {
    await options.operator.release(orderOf(await readRequest(request, releaseBody)));
    return options.status();
  },
  'POST /cutover/rollback': async (options, request) => {
    const { dryRun, ...order } = await readRequest(request, rollbackBody);
    if (dryRun) return options.dryRuns.rollback();
    const done = await options.rollback.rollBack(orderOf(order));
    return { ...done, ...(await options.status()) };
  },
};

/** The run that is under way, or the last one, and its report as Markdown. */
function planOf({ plans: { run } }: CutoverRoutesOptions): object {
  return run === undefined ? { run: null, report: null } : { run, report: markdownOf(run) };
}

function orderOf({ by, ...order }: { by: string } & Omit<Order, 'who'>): Order {
  return { who: by, ...order };
}

function withoutUndefined(command: { [Key in keyof Command]: Command[Key] | undefined }): Command {
  return Object.fromEntries(Object.entries(command).filter(([, value]) => value !== undefined));
}
