// MessagePack values, written one behind the other: in come numbers, strings and headers, out go bytes. Source: the MessagePack
// specification. Promises: each value takes its shortest form, as .NET writes it; a value takes some ns, and a string some ns a byte.

const maxHeaderBytes = 5;
const maxCharacterBytes = 3;
const backslash = 0x5c;

export class MessagePackWriter {
  #buffer = Buffer.allocUnsafe(512);
  /** Of the buffer: writes numbers several times as fast as its own methods. */
  #view = viewOf(this.#buffer);
  #length = 0;
  /** Where the string that is being written starts, and how many bytes are left there for its header. */
  #stringStart = 0;
  #stringHeader = 0;

  bytes(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  nil(): void {
    this.#byte(0xc0);
  }

  boolean(value: boolean): void {
    this.#byte(value ? 0xc3 : 0xc2);
  }

  /** @param value a safe integer */
  integer(value: number): void {
    if (value >= 0) this.#unsigned(value);
    else this.#negative(value);
  }

  /** @param value one that takes 8 bytes: from -2^63 to 2^64 - 1, and beyond 32 bits. Compared with no number: that is slow. */
  longInteger(value: bigint): void {
    this.#reserve(9);
    const isNegative = value < 0n;
    this.#buffer[this.#length] = isNegative ? 0xd3 : 0xcf;
    if (isNegative) this.#view.setBigInt64(this.#length + 1, value);
    else this.#view.setBigUint64(this.#length + 1, value);
    this.#length += 9;
  }

  float(value: number): void {
    this.#byte(0xcb);
    this.#reserve(8);
    this.#view.setFloat64(this.#length, value);
    this.#length += 8;
  }

  stringOrNil(text: string | undefined): void {
    if (text === undefined) this.nil();
    else this.string(text);
  }

  string(text: string): void {
    const length = Buffer.byteLength(text);
    this.#reserve(maxHeaderBytes + length);
    this.#length = this.#putStringHeader(this.#length, length);
    this.#length += this.#buffer.write(text, this.#length);
  }

  /** The begin of a string whose characters follow one by one. @param most how many UTF-16 code units it has at most, best exactly */
  beginString(most: number): void {
    this.#reserve(maxHeaderBytes + maxCharacterBytes * most);
    this.#stringStart = this.#length;
    this.#stringHeader = stringHeaderBytes(most);
    this.#length += this.#stringHeader;
  }

  /**
   * The next characters of the string that has begun, as far as they are ASCII and no backslash.
   * @returns where the first one stands that is something else, or `end`
   */
  plainCharacters(text: string, start: number, end: number): number {
    const buffer = this.#buffer;
    let length = this.#length;
    let at = start;
    for (; at < end; at++) {
      const code = text.charCodeAt(at);
      if (code >= 0x80 || code === backslash) break;
      buffer[length++] = code;
    }
    this.#length = length;
    return at;
  }

  /** The next character of the string that has begun. @param code its Unicode code point, no surrogate */
  character(code: number): void {
    const buffer = this.#buffer;
    if (code < 0x80) {
      buffer[this.#length++] = code;
      return;
    }
    if (code < 0x800) buffer[this.#length++] = 0xc0 | (code >> 6);
    else {
      if (code < 0x1_0000) buffer[this.#length++] = 0xe0 | (code >> 12);
      else {
        buffer[this.#length++] = 0xf0 | (code >> 18);
        buffer[this.#length++] = 0x80 | ((code >> 12) & 0x3f);
      }
      buffer[this.#length++] = 0x80 | ((code >> 6) & 0x3f);
    }
    buffer[this.#length++] = 0x80 | (code & 0x3f);
  }

  endString(): void {
    const begin = this.#stringStart + this.#stringHeader;
    const length = this.#length - begin;
    const header = stringHeaderBytes(length);
    if (header !== this.#stringHeader) this.#buffer.copyWithin(this.#stringStart + header, begin, this.#length);
    this.#length = this.#putStringHeader(this.#stringStart, length) + length;
  }

  arrayHeader(length: number): void {
    if (length < 16) this.#byte(0x90 | length);
    else if (length < 2 ** 16) this.#sized(0xdc, length, 2);
    else this.#sized(0xdd, length, 4);
  }

  mapHeader(length: number): void {
    if (length < 16) this.#byte(0x80 | length);
    else if (length < 2 ** 16) this.#sized(0xde, length, 2);
    else this.#sized(0xdf, length, 4);
  }

  #unsigned(value: number): void {
    if (value < 2 ** 7) this.#byte(value);
    else if (value < 2 ** 8) this.#sized(0xcc, value, 1);
    else if (value < 2 ** 16) this.#sized(0xcd, value, 2);
    else if (value < 2 ** 32) this.#sized(0xce, value, 4);
    else this.longInteger(BigInt(value));
  }

  #negative(value: number): void {
    // The shorter ones are the same bytes as two's complement without a sign.
    if (value >= -(2 ** 5)) this.#byte(value & 0xff);
    else if (value >= -(2 ** 7)) this.#sized(0xd0, value & 0xff, 1);
    else if (value >= -(2 ** 15)) this.#sized(0xd1, value & 0xffff, 2);
    else if (value >= -(2 ** 31)) this.#sized(0xd2, value >>> 0, 4);
    else this.longInteger(BigInt(value));
  }

  #byte(byte: number): void {
    this.#reserve(1);
    this.#buffer[this.#length++] = byte;
  }

  /** A type byte and an unsigned number behind it. */
  #sized(type: number, value: number, bytes: 1 | 2 | 4): void {
    this.#reserve(1 + bytes);
    this.#length = this.#putSized(this.#length, type, value, bytes);
  }

  /** @returns where the header has ended */
  #putStringHeader(at: number, length: number): number {
    if (length < 2 ** 5) {
      this.#buffer[at] = 0xa0 | length;
      return at + 1;
    }
    if (length < 2 ** 8) return this.#putSized(at, 0xd9, length, 1);
    if (length < 2 ** 16) return this.#putSized(at, 0xda, length, 2);
    return this.#putSized(at, 0xdb, length, 4);
  }

  #putSized(at: number, type: number, value: number, bytes: 1 | 2 | 4): number {
    this.#buffer[at] = type;
    if (bytes === 1) this.#view.setUint8(at + 1, value);
    else if (bytes === 2) this.#view.setUint16(at + 1, value);
    else this.#view.setUint32(at + 1, value);
    return at + 1 + bytes;
  }

  #reserve(bytes: number): void {
    if (this.#length + bytes <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(2 * this.#buffer.length, this.#length + bytes));
    this.#buffer.copy(larger, 0, 0, this.#length);
    this.#buffer = larger;
    this.#view = viewOf(larger);
  }
}

function stringHeaderBytes(length: number): number {
  if (length < 2 ** 5) return 1;
  if (length < 2 ** 8) return 2;
  return length < 2 ** 16 ? 3 : maxHeaderBytes;
}

function viewOf({ buffer, byteOffset, length }: Buffer): DataView {
  return new DataView(buffer, byteOffset, length);
}
