// The MessagePack hub protocol without sockets: records out of bytes, what a tap needs out of a record, and records to
// write. Source: HubProtocol.md ("MessagePack (MsgPack) Encoding"). Arguments come as raw JSON text and keep its names;
// an integer stays one up to 64 bits, whatever has a fraction or an exponent is a float64.

import type { TappedRecord } from './json.ts';
import { writeJsonText } from './messagepack-from-json.ts';
import { MessagePackReader, NoJsonFault } from './messagepack-reader.ts';
import { MessagePackWriter } from './messagepack-writer.ts';
import { type ClientMessage, maxArguments, Pieces, ProtocolFault, type RecordSplitter, tooLarge } from './protocol.ts';

/** A length prefix has at most 5 bytes, the last of them at most 0x07 (2^31 - 1). */
const maxPrefixBytes = 5;
const maxPrefixed = 0x7fff_ffff;
/** An argument stands in a list, which stands in the message. */
const argumentLevel = 3;

export const messagePack = {
  /**
   * @returns how many bytes the record that starts at `at` takes with its prefix; undefined while the prefix is not whole
   * @throws ProtocolFault for a prefix that is none
   */
  recordLength(bytes: Buffer, at: number): number | undefined {
    const prefix = readPrefix(bytes, at);
    return prefix && prefix.bytes + prefix.length;
  },

  /** @returns undefined for a record that is not understood; it is the bridge's or the client's business then */
  readRecord(record: Buffer): TappedRecord | undefined {
    const fields = fieldsOf(record.subarray(readPrefix(record, 0)!.bytes));
    if (!Array.isArray(fields) || typeof fields[0] !== 'number') return undefined;
    const [type, , id, third, fourth] = fields as [number, ...unknown[]];
    const invocationId = typeof id === 'string' && id !== '' ? id : undefined;
    if (type === 3) return { type, invocationId, failed: third === 1 };
    if ((type !== 1 && type !== 4) || typeof third !== 'string' || !Array.isArray(fourth)) {
      return { type, invocationId: undefined };
    }
    return { type, invocationId, target: third, args: fourth };
  },

  /**
   * A record of a client's, without its prefix.
   * @throws ProtocolFault
   */
  readMessage(body: Buffer): ClientMessage {
    const reader = new MessagePackReader(body);
    const fields = reader.arrayHeader();
    switch (reader.integer()) {
      case 1:
        return invocationIn(reader, fields, false);
      case 4:
        return invocationIn(reader, fields, true);
      case 6:
        return { kind: 'ping' };
      case 7:
        return { kind: 'close' };
      default:
        return { kind: 'ignored' };
    }
  },

  /**
   * An invocation with its length prefix, with six elements as .NET writes it.
   * @param args raw JSON texts
   * @throws RangeError for an argument that nests deeper than any hub reads
   */
  invocation(target: string, args: string[], invocationId?: string): Buffer {
    return record(6, (writer) => {
      writer.integer(1);
      writer.mapHeader(0);
      writer.stringOrNil(invocationId);
      writer.string(target);
      writer.arrayHeader(args.length);
      for (const arg of args) writeJsonText(arg, writer);
      writer.arrayHeader(0);
    });
  },

  /** A method without a result is answered with nil, as ASP.NET does. */
  completion(invocationId: string): Buffer {
    return record(5, (writer) => {
      writer.integer(3);
      writer.mapHeader(0);
      writer.string(invocationId);
      writer.integer(3);
      writer.nil();
    });
  },

  failedCompletion(invocationId: string, error: string): Buffer {
    return record(5, (writer) => {
      writer.integer(3);
      writer.mapHeader(0);
      writer.string(invocationId);
      writer.integer(1);
      writer.string(error);
    });
  },

  /** @param allowReconnect whether a client with automatic reconnect comes back */
  close({ error, allowReconnect = false }: { error?: string; allowReconnect?: boolean } = {}): Buffer {
    return record(3, (writer) => {
      writer.integer(7);
      writer.stringOrNil(error);
      writer.boolean(allowReconnect);
    });
  },

  ping: Buffer.from([0x02, 0x91, 0x06]),
};

/** As {@link RecordSplitter}; a record over `maxRecordBytes`, its prefix counted, is a fault. */
export class MessagePackSplitter implements RecordSplitter {
  readonly #maxRecordBytes: number;
  readonly #pending = new Pieces();
  /** Bytes of the record with its prefix; undefined while the prefix has not come. */
  #length: number | undefined;

  constructor(maxRecordBytes: number) {
    this.#maxRecordBytes = maxRecordBytes;
  }

  push(chunk: Buffer, most: number): Buffer[] {
    const records: Buffer[] = [];
    for (let left = chunk; left.length > 0 && records.length <= most; ) {
      left = left.subarray(this.#take(left));
      if (this.#pending.bytes === this.#length) records.push(this.#whole());
    }
    return records;
  }

  /** @returns how many of these bytes belong to the record that has begun; not behind its prefix while that is not read */
  #take(bytes: Buffer): number {
    if (this.#length === undefined) {
      const begin = Buffer.concat([this.#pending.take(), bytes.subarray(0, maxPrefixBytes)]);
      this.#length = messagePack.recordLength(begin, 0);
      if ((this.#length ?? 0) > this.#maxRecordBytes) throw tooLarge(this.#maxRecordBytes);
      const known = begin.length - Math.min(bytes.length, maxPrefixBytes);
      if (known > 0) this.#pending.add(begin.subarray(0, known));
    }
    const taken = Math.min(bytes.length, (this.#length ?? maxPrefixBytes) - this.#pending.bytes);
    this.#pending.add(bytes.subarray(0, taken));
    return taken;
  }

  #whole(): Buffer {
    const whole = this.#pending.take();
    this.#length = undefined;
    return whole.subarray(readPrefix(whole, 0)!.bytes);
  }
}

function invocationIn(reader: MessagePackReader, fields: number, streaming: boolean): ClientMessage {
  for (let header = reader.mapHeader() * 2; header > 0; header--) {
    if (reader.string() === undefined) throw new ProtocolFault('A header is no string.');
  }
  // .NET writes an empty one where there is none.
  const invocationId = reader.string() || undefined;
  const target = reader.string();
  if (!target || (streaming && invocationId === undefined)) {
    throw new ProtocolFault('An invocation lacks its target or its id.');
  }
  return { kind: 'invocation', invocationId, target, args: fields < 5 ? undefined : readArguments(reader), streaming };
}

/** What is wrong with an argument fails its invocation, and leaves the connection as it is. */
function readArguments(reader: MessagePackReader): string[] | undefined {
  try {
    const count = Math.min(reader.arrayHeader(), maxArguments);
    return Array.from({ length: count }, () => reader.json(argumentLevel));
  } catch (error) {
    if (error instanceof NoJsonFault || error instanceof ProtocolFault) return undefined;
    throw error;
  }
}

function readPrefix(bytes: Buffer, at: number): { length: number; bytes: number } | undefined {
  let length = 0;
  for (let i = 0; i < maxPrefixBytes; i++) {
    const byte = bytes[at + i];
    if (byte === undefined) return undefined;
    length += (byte & 0x7f) * 2 ** (7 * i);
    if (byte < 0x80 && length <= maxPrefixed) return { length, bytes: i + 1 };
  }
  throw new ProtocolFault('A message has no valid length.');
}

/** @returns undefined for a record that ends before its values do, or holds one without a form in JSON */
function fieldsOf(body: Buffer): unknown {
  try {
    return JSON.parse(new MessagePackReader(body).json(1));
  } catch {
    return undefined;
  }
}

function record(fields: number, write: (writer: MessagePackWriter) => void): Buffer {
  const writer = new MessagePackWriter();
  writer.arrayHeader(fields);
  write(writer);
  const body = writer.bytes();
  return Buffer.concat([prefixOf(body.length), body]);
}

function prefixOf(length: number): Buffer {
  const prefix: number[] = [];
  for (let rest = length; ; rest >>>= 7) {
    if (rest < 0x80) return Buffer.from([...prefix, rest]);
    prefix.push((rest & 0x7f) | 0x80);
  }
}
