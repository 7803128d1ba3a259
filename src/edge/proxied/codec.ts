// The hub protocols as a tap uses them: records out of what passes by, and crossfade's own records to send.

import * as json from '../hub-protocol/json.ts';
import { messagePack } from '../hub-protocol/messagepack.ts';
import { type HubProtocolName, ProtocolFault } from '../hub-protocol/protocol.ts';

export interface Codec {
  /**
   * @returns how many bytes the record that starts at `at` takes with its framing; undefined while they do not tell
   * @throws ProtocolFault
   */
  recordLength(bytes: Buffer, at: number): number | undefined;
  /** @returns undefined for a record that is not understood */
  readRecord(record: Buffer): json.TappedRecord | undefined;
  /** @param args raw JSON texts */
  invocation(target: string, args: string[], invocationId: string): Buffer;
  /** What every completion holds, where a protocol has such a thing. */
  completionMark: string | undefined;
}

export const codecs: Record<HubProtocolName, Codec> = {
  json: {
    recordLength: json.recordLength,
    readRecord: json.readRecord,
    invocation: (target, args, invocationId) => Buffer.from(json.invocation(target, args, invocationId)),
    completionMark: '"invocationId"',
  },
  messagepack: {
    ...messagePack,
    completionMark: undefined,
  },
};

/** @returns the records of a whole message, with their framing; undefined where it is not made of whole records */
export function cutRecords(codec: Codec, message: Buffer): Buffer[] | undefined {
  const records: Buffer[] = [];
  for (let at = 0; at < message.length; ) {
    const length = lengthAt(codec, message, at);
    if (length === undefined || at + length > message.length) return undefined;
    records.push(message.subarray(at, at + length));
    at += length;
  }
  return records;
}

function lengthAt(codec: Codec, message: Buffer, at: number): number | undefined {
  try {
    return codec.recordLength(message, at);
  } catch (error) {
    if (error instanceof ProtocolFault) return undefined;
    throw error;
  }
}
