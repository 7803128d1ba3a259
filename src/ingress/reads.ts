// The bridge's reads, answered without a bridge: health, the counts of all replicas, and whether a user is online. The counts also where
// there is a bridge that does not know all clients, as some hubs are native: proxied ones are counted here, too.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { counterNames, isOfUser } from '../log/counters.ts';
import type { Roster } from '../log/log.ts';
import type { Clock } from '../telemetry/clock.ts';
import { answer, answerJson } from './answers.ts';
import type { Idempotency } from './idempotency.ts';

interface Sources {
  roster: Roster;
  clock: Clock;
  idempotency: Idempotency;
}

/** Answers 404 to what it does not know. @param path as the bridge reads it. Error: LOG_UNAVAILABLE. */
export async function answerRead(
  request: IncomingMessage,
  response: ServerResponse,
  path: string,
  sources: Sources,
): Promise<void> {
  const read = findRead(path);
  if (read === undefined) return answer(response, 404);
  if (request.method !== 'GET') return answer(response, 405, ['Allow', 'GET']);
  answerJson(response, 200, await read(sources));
}

/** Whether crossfade can answer it. @param path as the bridge reads it */
export function isRead(path: string): boolean {
  return findRead(path) !== undefined;
}

/** Whether it asks how many clients there are, or whether one is there. @param path as the bridge reads it */
export function countsClients(path: string): boolean {
  const read = findRead(path);
  return read !== undefined && read !== healthRead;
}

function findRead(given: string): ((sources: Sources) => object | Promise<object>) | undefined {
  const path = given.replace(/\/$/, '');
  if (/^\/health$/i.test(path)) return healthRead;
  if (/^\/internal\/stats$/i.test(path)) return stats;
  const user = /^\/internal\/users\/([^/]+)\/online$/i.exec(path)?.[1];
  return user === undefined ? undefined : (sources) => online(sources, user);
}

function healthRead({ clock }: Sources): object {
  return { status: 'healthy', timestamp: new Date(clock.now()).toISOString() };
}

async function stats({ roster, idempotency }: Sources): Promise<object> {
  idempotency.count();
  const replicas = await roster.read();
  const users = replicas.flatMap((counters) => [...counters.keys()].filter(isOfUser));
  return {
    connections: sum(replicas, counterNames.connections) + sum(replicas, counterNames.proxied),
    users: new Set(users).size,
    // A room with members at several replicas counts at each, as it does with several bridges.
    rooms: sum(replicas, counterNames.rooms),
    idempotencyEntries: sum(replicas, counterNames.ids),
  };
}

async function online({ roster }: Sources, userId: string): Promise<object> {
  const counter = counterNames.ofUser(userId);
  const replicas = await roster.replicas([counter]);
  const connectionCount = replicas.reduce((total, { counters }) => total + (counters.get(counter) ?? 0), 0);
  return { userId, isOnline: connectionCount > 0, connectionCount };
}

function sum(replicas: Map<string, number>[], counter: string): number {
  return replicas.reduce((total, counters) => total + (counters.get(counter) ?? 0), 0);
}
