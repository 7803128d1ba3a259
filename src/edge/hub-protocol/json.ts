// The JSON hub protocol without sockets: records out of bytes, messages out of records, and records to write.
// Source: HubProtocol.md ("JSON Encoding") and what the recorded bridge does. Arguments stay raw JSON text.

import { JsonFault, parseRaw, type RawNode } from '../../contract/json.ts';
import { type ClientMessage, maxArguments, Pieces, ProtocolFault, type RecordSplitter, tooLarge } from './protocol.ts';

export const recordSeparator = '\x1e';
const separatorByte = 0x1e;
/** SignalR reads hub messages with System.Text.Json's own limit. */
const maxMessageDepth = 64;
/** A message has eight at most: what is behind them is not looked for. */
const maxMembers = 64;

/** As {@link RecordSplitter}; a record over `maxRecordBytes`, its separator counted, is a fault. */
export class JsonSplitter implements RecordSplitter {
  readonly #maxRecordBytes: number;
  readonly #pending = new Pieces();

  constructor(maxRecordBytes: number) {
    this.#maxRecordBytes = maxRecordBytes;
  }

  push(chunk: Buffer, most: number): Buffer[] {
    const records: Buffer[] = [];
    let start = 0;
    for (let end = chunk.indexOf(separatorByte); end !== -1; end = chunk.indexOf(separatorByte, start)) {
      this.#keep(chunk.subarray(start, end));
      records.push(this.#pending.take());
      if (records.length > most) return records;
      start = end + 1;
    }
    if (start < chunk.length) this.#keep(chunk.subarray(start));
    return records;
  }

  #keep(part: Buffer): void {
    if (this.#pending.bytes + part.length + 1 > this.#maxRecordBytes) throw tooLarge(this.#maxRecordBytes);
    this.#pending.add(part);
  }
}

/** @returns what a client asks for; undefined for what is no handshake */
export function readHandshake(record: string): { protocol: string; version: number } | undefined {
  const members = parseObject(record);
  const protocol = members?.get('protocol');
  const version = members?.get('version');
  if (protocol?.kind !== 'string' || version?.kind !== 'number' || !/^-?\d+$/.test(version.raw)) return undefined;
  return { protocol: protocol.text!, version: Number(version.raw) };
}

/** @throws ProtocolFault */
export function readMessage(record: string): ClientMessage {
  const members = parseObject(record);
  const type = members?.get('type');
  if (members === undefined || type?.kind !== 'number') throw new ProtocolFault('A message has no type.');
  switch (type.raw) {
    case '1':
      return readInvocation(members, false);
    case '4':
      return readInvocation(members, true);
    case '6':
      return { kind: 'ping' };
    case '7':
      return { kind: 'close' };
    default:
      return { kind: 'ignored' };
  }
}

function readInvocation(members: Map<string, RawNode>, streaming: boolean): ClientMessage {
  const target = members.get('target');
  const args = members.get('arguments')?.firstItems(maxArguments);
  const id = members.get('invocationId');
  if (target?.kind !== 'string' || args === undefined) {
    throw new ProtocolFault('An invocation lacks its target or its arguments.');
  }
  if ((id !== undefined && id.kind !== 'string') || (streaming && id === undefined)) {
    throw new ProtocolFault('An invocation has no valid invocationId.');
  }
  return {
    kind: 'invocation',
    invocationId: id?.text,
    target: target.text!,
    args: args.map((item) => item.raw),
    streaming,
  };
}

function parseObject(record: string): Map<string, RawNode> | undefined {
  try {
    const members = parseRaw(record, maxMessageDepth).firstMembers(maxMembers);
    return members && new Map(members);
  } catch (error) {
    if (error instanceof JsonFault) return undefined;
    throw error;
  }
}

/** A record of a proxied connection, as far as crossfade needs to understand it; arguments are parsed. */
export type TappedRecord =
  /** An invocation (1) or stream invocation (4), whoever invokes. */
  | { type: 1 | 4; invocationId: string | undefined; target: string; args: unknown[] }
  /** A completion, or whatever asks nothing of a tap. */
  | { type: number; invocationId: string | undefined; failed?: boolean; target?: undefined; args?: undefined };

/** @returns how many bytes the record that starts at `at` takes with its separator; undefined while that is missing */
export function recordLength(bytes: Buffer, at: number): number | undefined {
  const end = bytes.indexOf(separatorByte, at);
  return end === -1 ? undefined : end + 1 - at;
}

/**
 * Reads a record that passes by.
 * @param record with its separator
 * @returns undefined for a record that is not understood; it is the bridge's or the client's business then
 */
export function readRecord(record: Buffer): TappedRecord | undefined {
  let message: { type?: unknown; invocationId?: unknown; target?: unknown; arguments?: unknown; error?: unknown };
  try {
    message = JSON.parse(record.toString('utf8', 0, record.length - 1));
  } catch {
    return undefined;
  }
  if (typeof message?.type !== 'number') return undefined;
  const { type, target, arguments: args } = message;
  const invocationId = typeof message.invocationId === 'string' ? message.invocationId : undefined;
  if (type === 3) return { type, invocationId, failed: message.error !== undefined };
  if ((type !== 1 && type !== 4) || typeof target !== 'string' || !Array.isArray(args)) {
    return { type, invocationId: undefined };
  }
  return { type, invocationId, target, args };
}

export const handshakeAccepted = `{}${recordSeparator}`;
export const ping = `{"type":6}${recordSeparator}`;

export function handshakeRefused(error: string): string {
  return JSON.stringify({ error }) + recordSeparator;
}

/** @param args raw JSON texts */
export function invocation(target: string, args: string[], invocationId?: string): string {
  const id = invocationId === undefined ? '' : `"invocationId":${JSON.stringify(invocationId)},`;
  return `{"type":1,${id}"target":${JSON.stringify(target)},"arguments":[${args.join(',')}]}${recordSeparator}`;
}

/** A method without a result is answered with `"result":null`, as ASP.NET does. */
export function completion(invocationId: string): string {
  return `{"type":3,"invocationId":${JSON.stringify(invocationId)},"result":null}${recordSeparator}`;
}

export function failedCompletion(invocationId: string, error: string): string {
  return JSON.stringify({ type: 3, invocationId, error }) + recordSeparator;
}

/** @param allowReconnect whether a client with automatic reconnect comes back */
export function close(options: { error?: string; allowReconnect?: boolean } = {}): string {
  return JSON.stringify({ type: 7, ...options }) + recordSeparator;
}
