// `crossfade cutover …`: operates a running crossfade by its admin port. In come an action and the address, out go a few
// lines for the operator; an action that was refused, or that did not reach all replicas, is an error (exit 1).

import { userInfo } from 'node:os';
import { readSecret } from '../config.ts';
import { CrossfadeError } from '../errors.ts';

export interface Target {
  /** Base URL of the admin port. */
  admin: string;
  force?: boolean;
}

interface Status {
  epoch: number;
  percent: number;
  pins: Record<string, string>;
  mirror: boolean;
  effective: { percent: number; why?: string; held?: string };
  operated: boolean;
  detour: number | 'all';
  log: { reachable: boolean };
  guard: { ok: boolean; reasons: string[] } | null;
  replicas: { instance: string; epoch?: string; hubs?: string; admin?: string }[];
  history: { epoch: number; who: string; when: string; what: string; from: number; to: number }[];
}

const shownSteps = 5;

export async function show(target: Target): Promise<void> {
  print(await ask<Status>(target, 'GET', '/cutover'));
}

/** @param command the body of `PUT /cutover` */
export async function change(target: Target, command: object): Promise<void> {
  print(await ask<Status>(target, 'PUT', '/cutover', { ...command, ...words(target) }));
}

export async function reset(target: Target): Promise<void> {
  print(await ask<Status>(target, 'POST', '/cutover/reset', words(target)));
}

/** Exit 1 if a replica could not be told. */
export async function rollback(target: Target): Promise<void> {
  type Answer = Status & { reached: string[]; notReached: string[] };
  const answer = await ask<Answer>(target, 'POST', '/cutover/rollback', { by: who() });
  print(answer);
  if (answer.notReached.length === 0) return;
  throw new CrossfadeError(
    'LOG_UNAVAILABLE',
    `not reached: ${answer.notReached.join(', ')}; they follow when they read the log again`,
  );
}

/** @throws CrossfadeError CONFIG_INVALID */
export function percentOf(text: string): number {
  if (/^\d{1,3}$/.test(text) && Number(text) <= 100) return Number(text);
  throw new CrossfadeError('CONFIG_INVALID', `'${text}' is not a percent from 0 to 100`);
}

/** @throws CrossfadeError CONFIG_INVALID */
export function laneOf(text: string): string {
  if (text === 'bridge' || text === 'stream') return text;
  throw new CrossfadeError('CONFIG_INVALID', `'${text}' is not a lane: bridge or stream`);
}

/** @throws CrossfadeError CONFIG_INVALID */
export function onOrOff(text: string): boolean {
  if (text === 'on' || text === 'off') return text === 'on';
  throw new CrossfadeError('CONFIG_INVALID', `'${text}' is neither on nor off`);
}

async function ask<Answer>({ admin }: Target, method: string, path: string, body?: object): Promise<Answer> {
  const token = readSecret('CROSSFADE_ADMIN_TOKEN', process.env);
  let response: Response;
  try {
    response = await fetch(admin.replace(/\/$/, '') + path, {
      method,
      headers: {
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
  } catch (cause) {
    const reason = ((cause as Error).cause as NodeJS.ErrnoException | undefined)?.code ?? (cause as Error).message;
    throw new CrossfadeError('ADMIN_UNREACHABLE', `no crossfade answers at ${admin} (${reason})`, { cause });
  }
  const answer = (await response.json().catch(() => undefined)) as (Answer & { message?: string }) | undefined;
  if (response.ok && answer !== undefined) return answer;
  if (response.status === 401) throw new CrossfadeError('ADMIN_UNREACHABLE', `${admin} wants CROSSFADE_ADMIN_TOKEN`);
  throw new CrossfadeError(
    response.status === 409 ? 'CUTOVER_GUARD' : 'CUTOVER_INVALID',
    answer?.message ?? `${admin} answered ${response.status}`,
  );
}

function words({ force = false }: Target): { by: string; force: boolean } {
  return { by: who(), force };
}

function who(): string {
  return userInfo().username;
}

function print(status: Status): void {
  const { effective, percent, epoch, pins, mirror, replicas, history, guard, detour } = status;
  const lines = [`${bar(effective.percent)}  ${effective.percent}% by stream`];
  if (effective.percent !== percent) lines.push(`set to ${percent}%, but ${effective.why ?? 'held'}`);
  if (effective.held !== undefined) lines.push(`held: ${effective.held}`);
  lines.push(
    `epoch ${epoch}   mirror ${mirror ? 'on' : 'off'}   log ${status.log.reachable ? 'reachable' : 'NOT reachable'}`,
  );
  if (detour !== 0) lines.push(`rooms that go to the bridge because the log failed: ${detour}`);
  for (const [room, lane] of Object.entries(pins)) lines.push(`pinned   ${room} to ${lane}`);
  for (const reason of guard?.reasons ?? []) lines.push(`guard    ${reason}`);
  for (const replica of replicas) lines.push(`replica  ${replica.instance}   epoch ${replica.epoch ?? '?'}`);
  for (const step of history.slice(-shownSteps).reverse()) {
    lines.push(
      `${step.when.slice(0, 19).replace('T', ' ')}   ${step.from}% -> ${step.to}%   ${step.what} (${step.who})`,
    );
  }
  console.log(lines.join('\n'));
}

/** The slider in 20 characters. */
function bar(percent: number): string {
  const full = Math.round(percent / 5);
  return `bridge ${'█'.repeat(full)}${'░'.repeat(20 - full)} stream`;
}
