// Operating running replicas in end-to-end tests: commands by HTTP and by the command line go in, what each replica says of
// its state comes out. Beside it what such tests play: messages of rooms, and what clients were shown of them.

import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { call, startBridge } from '../support/bridge.ts';
import { type Crossfade, type StartOptions, spawnCrossfade } from '../support/process.ts';
import { noDotnet, startReferenceBridge } from '../support/reference-bridge.ts';
import type { HubClient } from '../support/signalr.ts';
import { until } from '../support/wait.ts';

/** `GET /cutover`, as far as tests read it. */
export interface State {
  epoch: number;
  percent: number;
  pins: Record<string, string>;
  mirror: boolean;
  mirrorPercent: number;
  hold: { who: string; why: string } | null;
  effective: { percent: number; why?: string; held?: string };
  operated: boolean;
  killed: string[];
  outage: object | null;
  log: { reachable: boolean; followed: boolean };
  replicas: { instance: string; epoch?: string }[];
  history: { what: string; from: number; to: number }[];
}

/** Both bridges that a test can run against, the real one where there is dotnet. */
export const bothBridges: { name: string; skip: string | false; start(t: TestContext): Promise<{ url: string }> }[] = [
  { name: 'the toy bridge', skip: false, start: (t) => startBridge(t) },
  { name: 'the reference bridge', skip: noDotnet, start: (t) => startReferenceBridge(t) },
];

export async function stateOf({ admin }: Pick<Crossfade, 'admin'>): Promise<State> {
  const response = await fetch(`${admin}/cutover`);
  assert.equal(response.status, 200);
  return (await response.json()) as State;
}

/** What `read` makes of every replica's state. */
export function ofAll<T>(replicas: Crossfade[], read: (state: State) => T): Promise<T[]> {
  return Promise.all(replicas.map(async (replica) => read(await stateOf(replica))));
}

/** Waits until every replica's state is as wanted. */
export async function untilAll(
  replicas: Crossfade[],
  isWanted: (state: State) => boolean,
  options: { timeoutMs?: number; what: string },
): Promise<void> {
  let states: State[] = [];
  await until(
    async () => {
      states = await Promise.all(replicas.map(stateOf));
      return states.every(isWanted);
    },
    { ...options, what: () => `${options.what}; they say\n${states.map((state) => JSON.stringify(state)).join('\n')}` },
  );
}

/** `PUT /cutover`, or a POST below it. */
export async function command(
  { admin }: Pick<Crossfade, 'admin'>,
  body: object,
  action?: 'rollback' | 'reset' | 'hold' | 'release' | 'complete',
): Promise<{ status: number; body: Record<string, unknown> }> {
  const response = await fetch(`${admin}/cutover${action === undefined ? '' : `/${action}`}`, {
    method: action === undefined ? 'PUT' : 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ by: 'test', ...body }),
  });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

/** Sets the percent past the guard, which takes its 3 s otherwise. */
export async function force(replica: Crossfade, percent: number): Promise<void> {
  const { status, body } = await command(replica, { percent, force: true });
  assert.equal(status, 200, JSON.stringify(body));
}

/** `crossfade cutover …`, to its end. */
export async function cutover(
  t: TestContext,
  words: string[],
  env: Record<string, string> = {},
  options: StartOptions = {},
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const process = spawnCrossfade(t, ['cutover', ...words], env, options);
  const { code } = await process.exited;
  return { code, stdout: process.stdout, stderr: process.stderr };
}

export const broadcast = { status: 200, body: { broadcast: true } };
export const duplicate = { status: 200, body: { duplicate: true } };

/** The body of `chat/message`, told apart by its content. */
export function messageOf(room: string, content: string, eventId = `${room} ${content}`): object {
  const message = { id: eventId, requestId: room, content, createdAt: '2026-01-16T10:30:00Z' };
  return { event_id: eventId, request_id: room, message };
}

/** Sends one message, which must be taken. */
export async function say({ listen }: Pick<Crossfade, 'listen'>, room: string, content: string): Promise<void> {
  assert.deepEqual(await call(listen, 'chat/message', messageOf(room, content)), broadcast, `${room} ${content}`);
}

/** The contents of a room's messages, in the order in which the client was shown them. */
export function shownOf(client: HubClient, room: string): string[] {
  const messages = client.of('ReceiveMessage').map(({ args }) => args[0] as { requestId: string; content: string });
  return messages.filter(({ requestId }) => requestId === room).map(({ content }) => content);
}

/** The value of one line of /metrics, 0 where there is none. @param name with its labels */
export async function metricOf({ admin }: Pick<Crossfade, 'admin'>, name: string): Promise<number> {
  const text = await (await fetch(`${admin}/metrics`)).text();
  const line = text.split('\n').find((each) => each.startsWith(`${name} `));
  return Number(line?.slice(name.length + 1) ?? 0);
}
