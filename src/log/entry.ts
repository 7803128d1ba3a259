// An entry's fields on the wire, the same in every engine: `event_id`, `event_type`, `timestamp`, `room_id`, `payload`
// and `metadata`, all strings. In comes an event, out comes its flat field list, and the reverse for what any publisher
// wrote. Decoding never throws: what cannot be understood comes back as Malformed. The payload stays the text it was.

import { randomUUID } from 'node:crypto';
import type { Delivery } from '../contract/event.ts';
import type { Entry, Malformed, NewEntry, Position } from './log.ts';

/** `metadata` as crossfade writes it; another publisher writes the first three at most. */
interface Metadata {
  trace_id?: string;
  source_instance?: string;
  coalesced_count?: number;
  deliveries?: Delivery[];
  version?: string;
  typing?: { user: string; opened_at: Position; stated_at?: number };
  mirrored?: { sent_at: number; answered_at: number; to_log_ms: number; within_ms: number };
  ends_typing_of?: string;
  epoch?: number;
}

/** What the log adds to an event when it is kept. */
export interface Origin {
  /** See {@link eventIdOf}. */
  eventId: string;
  /** ISO 8601. */
  timestamp: string;
  /** The replica that keeps it. */
  instance: string;
  /** crossfade's release. */
  version: string;
}

/** The one id under which an event is kept: its first, or a fresh UUID where the publisher gave none. */
export function eventIdOf(event: { eventIds: string[]; eventId?: string }): string {
  return event.eventId ?? event.eventIds[0] ?? randomUUID();
}

/** @param nowMs since 1970 */
export function originOf(entry: NewEntry, nowMs: number, { instance, version }: Omit<Origin, 'eventId' | 'timestamp'>) {
  return { eventId: eventIdOf(entry), timestamp: new Date(nowMs).toISOString(), instance, version };
}

/** @returns field, value, field, value … in the order of the wire */
export function encodeEntry(entry: NewEntry, origin: Origin): string[] {
  const metadata: Metadata = {
    trace_id: entry.traceId,
    source_instance: origin.instance,
    coalesced_count: entry.coalescedCount,
    deliveries: entry.deliveries,
    version: origin.version,
    typing: entry.typing && {
      user: entry.typing.user,
      opened_at: entry.typing.openedAt,
      stated_at: entry.typing.statedAt,
    },
    mirrored: entry.mirrored && {
      sent_at: entry.mirrored.sentAt,
      answered_at: entry.mirrored.answeredAt,
      to_log_ms: entry.mirrored.toLogMs,
      within_ms: entry.mirrored.withinMs,
    },
    ends_typing_of: entry.endsTypingOf,
    epoch: entry.epoch,
  };
  return [
    'event_id',
    origin.eventId,
    'event_type',
    entry.eventType,
    'timestamp',
    origin.timestamp,
    'room_id',
    entry.room,
    'payload',
    entry.payload,
    'metadata',
    JSON.stringify(metadata),
  ];
}

/** @returns a Malformed (it has a `reason`) where a needed field is missing or a JSON field does not hold what it must */
export function decodeEntry(stream: string, position: Position, fields: string[]): Entry | Malformed {
  const values = byName(fields);
  const malformed = (reason: string): Malformed => ({ stream, position, reason });

  const eventType = values.get('event_type');
  const room = values.get('room_id');
  const payload = values.get('payload');
  if (!eventType) return malformed('event_type is missing');
  if (room === undefined) return malformed('room_id is missing');
  if (payload === undefined) return malformed('payload is missing');
  if (jsonOf(payload) === undefined) return malformed('payload is not JSON');

  const metadata = readMetadata(values.get('metadata'));
  if (typeof metadata === 'string') return malformed(metadata);
  return {
    stream,
    position,
    eventId: values.get('event_id') ?? '',
    eventType,
    publishedAtMs: readTimestamp(values.get('timestamp')),
    room,
    payload,
    ...metadata,
  };
}

function byName(fields: string[]): Map<string, string> {
  const values = new Map<string, string>();
  for (let i = 0; i + 1 < fields.length; i += 2) values.set(fields[i]!, fields[i + 1]!);
  return values;
}

type FromMetadata = Pick<Entry, 'deliveries' | 'typing' | 'mirrored' | 'endsTypingOf' | 'epoch' | 'instance'>;

/** @returns the part of the entry that `metadata` holds, or why it is malformed */
function readMetadata(text: string | undefined): FromMetadata | string {
  if (!text) return {};
  const metadata = jsonOf(text);
  if (metadata === undefined) return 'metadata is not JSON';
  if (metadata === null) return {};
  if (!isObject(metadata)) return 'metadata is not an object';

  const { deliveries, typing, mirrored, ends_typing_of: endsTypingOf, epoch, source_instance: instance } = metadata;
  const read: FromMetadata = {};
  if (deliveries !== undefined) {
    if (!Array.isArray(deliveries) || !deliveries.every(isDelivery)) return 'metadata.deliveries has a wrong shape';
    read.deliveries = deliveries;
    // Other publishers name their own instances there.
    if (typeof instance === 'string') read.instance = instance;
  }
  if (typing !== undefined) {
    if (!isTyping(typing)) return 'metadata.typing has a wrong shape';
    const { user, opened_at: openedAt, stated_at: statedAt } = typing;
    read.typing = { user, openedAt, ...(statedAt !== undefined && { statedAt }) };
  }
  if (mirrored !== undefined) {
    if (!isMirrored(mirrored)) return 'metadata.mirrored has a wrong shape';
    const { sent_at: sentAt, answered_at: answeredAt, to_log_ms: toLogMs, within_ms: withinMs } = mirrored;
    read.mirrored = { sentAt, answeredAt, toLogMs, withinMs };
  }
  if (endsTypingOf !== undefined) {
    if (typeof endsTypingOf !== 'string') return 'metadata.ends_typing_of has a wrong shape';
    read.endsTypingOf = endsTypingOf;
  }
  if (epoch !== undefined) {
    if (!isEpoch(epoch)) return 'metadata.epoch has a wrong shape';
    read.epoch = epoch;
  }
  return read;
}

/** NaN where there is none. A time without a zone is UTC: Python's `utcnow().isoformat()` writes none. */
function readTimestamp(text: string | undefined): number {
  if (text === undefined) return Number.NaN;
  const zoned = /(?:Z|[+-]\d\d:?\d\d)$/i.test(text) || !text.includes('T');
  return Date.parse(zoned ? text : `${text}Z`);
}

/** undefined where the text is not JSON; no JSON text has that value. */
function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A method without a name would be refused by every client with the end of its connection. */
function isDelivery(value: unknown): value is Delivery {
  if (!isObject(value)) return false;
  const { hub, group, method, except, to } = value;
  return (
    typeof hub === 'string' &&
    typeof group === 'string' &&
    typeof method === 'string' &&
    method !== '' &&
    (except === undefined || typeof except === 'string') &&
    (to === undefined || to === 'native')
  );
}

function isTyping(value: unknown): value is NonNullable<Metadata['typing']> {
  if (!isObject(value) || typeof value.user !== 'string' || !isPosition(value.opened_at)) return false;
  return value.stated_at === undefined || typeof value.stated_at === 'number';
}

function isMirrored(value: unknown): value is NonNullable<Metadata['mirrored']> {
  if (!isObject(value)) return false;
  const { sent_at, answered_at, to_log_ms, within_ms } = value;
  return [sent_at, answered_at, to_log_ms, within_ms].every((each) => typeof each === 'number');
}

function isEpoch(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isPosition(value: unknown): value is Position {
  return typeof value === 'string' && /^\d+-\d+$/.test(value);
}
