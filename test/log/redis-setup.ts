// What the tests of the Redis engine share: a log on a test's own Redis, events to append, entries to read.

import type { TestContext } from 'node:test';
import type { Batch, Entry, Log, LogOptions, NewEntry, Reader } from '../../src/log/log.ts';
import { RedisLog } from '../../src/log/redis/redis-log.ts';
import { systemClock } from '../../src/telemetry/clock.ts';
import { silentLogger } from '../../src/telemetry/logger.ts';

export const chat = 'events:chat';
export const ticket = 'events:ticket';

/** A log that is closed when the test ends. */
export async function openTestLog(t: TestContext, url: string, options: Partial<LogOptions> = {}): Promise<Log> {
  const log = new RedisLog({
    url,
    group: 'test',
    instance: 'a',
    publishTimeoutMs: 1_000,
    version: '0.0.0-test',
    clock: systemClock,
    logger: silentLogger,
    onOverBytes: () => {},
    onInstanceLost: () => {},
    ...options,
  });
  t.after(() => log.close());
  await log.open();
  return log;
}

export function event(content: string, options: Partial<NewEntry> = {}): NewEntry {
  return {
    eventIds: [],
    eventType: 'chat_message',
    stream: chat,
    maxLength: 100_000,
    room: 'room-1',
    payload: JSON.stringify(content),
    deliveries: [{ hub: 'chat', group: 'request:room-1', method: 'ReceiveMessage' }],
    ...options,
  };
}

export interface Seen {
  entries: Entry[];
  batches: Batch[];
  missed: number;
}

/** Reads, and acknowledges unless told not to, until `enough` says so. */
export async function readUntil(
  reader: Reader,
  enough: (seen: Seen) => boolean,
  { acknowledges = true } = {},
): Promise<Seen> {
  const seen: Seen = { entries: [], batches: [], missed: 0 };
  while (!enough(seen)) {
    const batch = await reader.read();
    if (batch === undefined) throw new Error('the reader was closed');
    seen.batches.push(batch);
    seen.entries.push(...batch.entries);
    seen.missed += batch.missed;
    if (acknowledges) reader.acknowledge(batch);
  }
  return seen;
}

export function contents(entries: Entry[]): string[] {
  return entries.map((entry) => JSON.parse(entry.payload));
}

export function numbers(count: number, from = 0): string[] {
  return Array.from({ length: count }, (_, index) => String(from + index));
}
