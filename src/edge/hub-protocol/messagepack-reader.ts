// MessagePack values of a client or of the bridge, read where they stand: in come bytes, out go numbers, strings, and JSON texts of whole
// values. Promises: no value is made a JavaScript object on its way, so names keep their order and repeats, and integers their 64 bits;
// what a header only claims to be there takes no memory; a record of 1 MiB takes some 20 ms at most, whatever it holds. Source: the
// MessagePack specification; the JSON of what JSON does not have (bytes, times) is the one that MessagePack-CSharp's ConvertToJson gives.

import { decodeTimestampToTimeSpec } from '@msgpack/msgpack';
import { ProtocolFault } from './protocol.ts';

/** As deep as a JSON message may nest, which is the first level of its own. */
const maxDepth = 64;
/** A client of the JSON protocol has no larger record either; a byte of MessagePack may become six of JSON. A power of two. */
const maxJsonBytes = 1024 * 1024;
const timestampType = -1;
const quote = 0x22;
const backslash = 0x5c;

/** A value that no hub takes: too deep, too large, or without a form in JSON. */
export class NoJsonFault extends Error {}

export class MessagePackReader {
  readonly #bytes: Buffer;
  #at = 0;
  readonly #json = new JsonText();

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  /** @returns how many items follow. Error: ProtocolFault, as all of these, where something else stands here. */
  arrayHeader(): number {
    const type = this.#byte();
    if (type >= 0x90 && type < 0xa0) return type & 0x0f;
    return this.#length(type, 0xdc, [2, 4]);
  }

  /** @returns how many pairs follow */
  mapHeader(): number {
    const type = this.#byte();
    if (type >= 0x80 && type < 0x90) return type & 0x0f;
    return this.#length(type, 0xde, [2, 4]);
  }

  /** @returns undefined for nil */
  string(): string | undefined {
    const type = this.#byte();
    return type === 0xc0 ? undefined : this.#take(this.#stringLength(type)).toString();
  }

  integer(): number {
    const type = this.#byte();
    if (type < 0x80) return type;
    if (type >= 0xe0) return type - 0x100;
    return Number(this.#sizedInteger(type));
  }

  /**
   * The next value as a JSON text. Error: NoJsonFault too; what follows cannot be read then.
   * @param level the value's own in its message: 1 for all of it
   */
  json(level: number): string {
    this.#value(level);
    return this.#json.take();
  }

  #value(depth: number): void {
    if (depth > maxDepth) throw new NoJsonFault('A value nests too deep.');
    const type = this.#byte();
    if (type < 0x80) this.#json.ascii(String(type));
    else if (type < 0x90) this.#map(type & 0x0f, depth);
    else if (type < 0xa0) this.#array(type & 0x0f, depth);
    else if (type < 0xc0) this.#jsonString(type);
    else if (type >= 0xe0) this.#json.ascii(String(type - 0x100));
    else this.#sizedValue(type, depth);
  }

  #sizedValue(type: number, depth: number): void {
    if (type >= 0xde) this.#map(this.#length(type, 0xde, [2, 4]), depth);
    else if (type >= 0xdc) this.#array(this.#length(type, 0xdc, [2, 4]), depth);
    else if (type >= 0xd9) this.#jsonString(type);
    else if (type >= 0xd4) this.#extension(2 ** (type - 0xd4));
    else if (type >= 0xcc) this.#json.ascii(String(this.#sizedInteger(type)));
    else if (type >= 0xca) this.#float(type);
    else if (type >= 0xc7) this.#extension(this.#length(type, 0xc7, [1, 2, 4]));
    else if (type >= 0xc4) this.#json.ascii(`"${this.#take(this.#length(type, 0xc4, [1, 2, 4])).toString('base64')}"`);
    else this.#json.ascii(this.#constant(type));
  }

  #array(items: number, depth: number): void {
    this.#json.ascii('[');
    for (let item = 0; item < items; item++) {
      if (item > 0) this.#json.ascii(',');
      this.#value(depth + 1);
    }
    this.#json.ascii(']');
  }

  #map(pairs: number, depth: number): void {
    this.#json.ascii('{');
    for (let pair = 0; pair < pairs; pair++) {
      if (pair > 0) this.#json.ascii(',');
      this.#name();
      this.#json.ascii(':');
      this.#value(depth + 1);
    }
    this.#json.ascii('}');
  }

  /** JSON has no names but strings; a number becomes its text. */
  #name(): void {
    const type = this.#byte();
    if (type < 0x80) this.#json.ascii(`"${type}"`);
    else if (type >= 0xe0) this.#json.ascii(`"${type - 0x100}"`);
    else if (type >= 0xcc && type < 0xd4) this.#json.ascii(`"${this.#sizedInteger(type)}"`);
    else this.#jsonString(type);
  }

  #constant(type: number): string {
    const text = { 192: 'null', 194: 'false', 195: 'true' }[type];
    if (text === undefined) throw new ProtocolFault('A value has no type.');
    return text;
  }

  #float(type: number): void {
    const bytes = this.#take(type === 0xca ? 4 : 8);
    const value = type === 0xca ? bytes.readFloatBE() : bytes.readDoubleBE();
    if (!Number.isFinite(value)) throw new NoJsonFault('A number is none.');
    this.#json.ascii(Object.is(value, -0) ? '-0' : String(value));
  }

  #extension(length: number): void {
    const type = this.#take(1).readInt8();
    const data = this.#take(length);
    if (type !== timestampType || ![4, 8, 12].includes(length)) throw new NoJsonFault('An extension is unknown.');
    const { sec, nsec } = decodeTimestampToTimeSpec(data);
    const seconds = new Date(sec * 1000);
    if (Number.isNaN(seconds.getTime()) || nsec >= 1e9) throw new NoJsonFault('A time is none.');
    const ticks = String(Math.floor(nsec / 100)).padStart(7, '0');
    this.#json.ascii(`"${seconds.toISOString().slice(0, -'.000Z'.length)}.${ticks}Z"`);
  }

  #sizedInteger(type: number): number | bigint {
    switch (type) {
      case 0xcc:
      case 0xcd:
      case 0xce:
        return this.#uint(2 ** (type - 0xcc));
      case 0xcf:
        return this.#take(8).readBigUInt64BE();
      case 0xd0:
      case 0xd1:
      case 0xd2: {
        const size = 2 ** (type - 0xd0);
        return this.#take(size).readIntBE(0, size);
      }
      case 0xd3:
        return this.#take(8).readBigInt64BE();
      default:
        throw new ProtocolFault('An integer is missing.');
    }
  }

  #jsonString(type: number): void {
    const length = this.#stringLength(type);
    const start = this.#skip(length);
    this.#json.string(this.#bytes, start, start + length);
  }

  #stringLength(type: number): number {
    return type >= 0xa0 && type < 0xc0 ? type & 0x1f : this.#length(type, 0xd9, [1, 2, 4]);
  }

  /** @param first the type whose length takes the first of these sizes; the types behind it take the next ones */
  #length(type: number, first: number, sizes: number[]): number {
    const size = sizes[type - first];
    if (size === undefined) throw new ProtocolFault('A value has the wrong type.');
    return this.#uint(size);
  }

  #uint(size: number): number {
    return this.#take(size).readUIntBE(0, size);
  }

  #byte(): number {
    const byte = this.#bytes[this.#at++];
    if (byte === undefined) throw new ProtocolFault('A message ends before its values do.');
    return byte;
  }

  #take(length: number): Buffer {
    const start = this.#skip(length);
    return this.#bytes.subarray(start, start + length);
  }

  /** @returns where the bytes that are passed over begin */
  #skip(length: number): number {
    const start = this.#at;
    if (length > this.#bytes.length - start) throw new ProtocolFault('A message ends before its values do.');
    this.#at += length;
    return start;
  }
}

/** A JSON text that is being written. */
class JsonText {
  #bytes = Buffer.allocUnsafe(256);
  #length = 0;

  ascii(text: string): void {
    for (let at = 0; at < text.length; at++) this.#put(text.charCodeAt(at));
  }

  string(utf8: Buffer, start: number, end: number): void {
    this.#put(quote);
    let copied = start;
    for (let at = start; at < end; at++) {
      const byte = utf8[at]!;
      // In UTF-8 these are characters of their own.
      if (byte >= 0x20 && byte !== quote && byte !== backslash) continue;
      this.#copy(utf8, copied, at);
      this.ascii(byte < 0x20 ? `\\u00${byte.toString(16).padStart(2, '0')}` : `\\${String.fromCharCode(byte)}`);
      copied = at + 1;
    }
    this.#copy(utf8, copied, end);
    this.#put(quote);
  }

  take(): string {
    const text = this.#bytes.toString('utf8', 0, this.#length);
    this.#length = 0;
    return text;
  }

  #copy(bytes: Buffer, start: number, end: number): void {
    while (this.#length + end - start > this.#bytes.length) this.#grow();
    this.#length += bytes.copy(this.#bytes, this.#length, start, end);
  }

  #put(byte: number): void {
    if (this.#length === this.#bytes.length) this.#grow();
    this.#bytes[this.#length++] = byte;
  }

  #grow(): void {
    if (this.#bytes.length >= maxJsonBytes) throw new NoJsonFault('A value takes too much.');
    const larger = Buffer.allocUnsafe(2 * this.#bytes.length);
    this.#bytes.copy(larger);
    this.#bytes = larger;
  }
}
