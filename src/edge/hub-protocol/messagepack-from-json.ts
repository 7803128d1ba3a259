// A JSON text as MessagePack: in goes the text of a value, which was accepted as JSON before, out go its bytes. Promises: no value is
// made a JavaScript object on its way, so names keep their order and repeats; an integer stays one up to 64 bits, whatever has a
// fraction or an exponent is a float64; 1 MiB takes some 30 ms at most, whatever it holds: a client chooses it, and everybody waits.

import type { MessagePackWriter } from './messagepack-writer.ts';

/** How deep an argument may nest; what is deeper than any hub reads is refused here rather than by the stack. */
const maxArgumentDepth = 512;
/** A fraction's digits with its whole part's are exact as a number where they are no more. */
const maxExactDigits = 15;
/** -2^63 and 2^64 - 1 take so many characters; a million of them would keep BigInt busy. */
const maxIntegerLength = 20;
const minLongInteger = -(2n ** 63n);
const endOfLongIntegers = 2n ** 64n;
/** What a decoder puts in the place of half a character. */
const replacement = 0xfffd;

const space = 0x20;
const quote = 0x22;
const comma = 0x2c;
const minus = 0x2d;
const dot = 0x2e;
const zero = 0x30;
const nine = 0x39;
const openArray = 0x5b;
const backslash = 0x5c;
const closeArray = 0x5d;
const letterE = 0x65;
const letterF = 0x66;
const letterN = 0x6e;
const letterT = 0x74;
const letterU = 0x75;
const openObject = 0x7b;
const closeObject = 0x7d;

/** @throws RangeError for a value that nests deeper than any hub reads */
export function writeJsonText(text: string, writer: MessagePackWriter): void {
  new Transcoder(text, writer).value(0);
}

/** Stands at one place of the text; each method reads what starts there, and leaves it behind. */
class Transcoder {
  readonly #text: string;
  readonly #writer: MessagePackWriter;
  /** Of each array and object, in the order in which they open: how many members it has, which its header tells first. */
  readonly #counts: number[];
  #nested = 0;
  #at = 0;

  constructor(text: string, writer: MessagePackWriter) {
    this.#text = text;
    this.#writer = writer;
    this.#counts = memberCounts(text);
  }

  value(depth: number): void {
    if (depth > maxArgumentDepth) throw new RangeError(`an argument nests deeper than ${maxArgumentDepth} levels`);
    this.#skipWhitespace();
    const code = this.#text.charCodeAt(this.#at);
    if (code === quote) this.#string();
    else if (code === openArray) this.#array(depth);
    else if (code === openObject) this.#map(depth);
    else if (code === letterT || code === letterF || code === letterN) this.#literal(code);
    else this.#number(code);
  }

  #array(depth: number): void {
    const count = this.#counts[this.#nested++]!;
    this.#writer.arrayHeader(count);
    this.#at++;
    for (let item = 0; item < count; item++) {
      this.value(depth + 1);
      this.#skipMark();
    }
    if (count === 0) this.#skipMark();
  }

  #map(depth: number): void {
    const count = this.#counts[this.#nested++]!;
    this.#writer.mapHeader(count);
    this.#at++;
    for (let member = 0; member < count; member++) {
      this.#skipWhitespace();
      this.#string();
      this.#skipMark();
      this.value(depth + 1);
      this.#skipMark();
    }
    if (count === 0) this.#skipMark();
  }

  #literal(first: number): void {
    if (first === letterN) this.#writer.nil();
    else this.#writer.boolean(first === letterT);
    this.#at += first === letterF ? 'false'.length : 'true'.length;
  }

  #number(first: number): void {
    const text = this.#text;
    const start = this.#at;
    const isNegative = first === minus;
    const digits = isNegative ? start + 1 : start;
    let value = 0;
    let at = digits;
    let code = text.charCodeAt(at);
    for (; code >= zero && code <= nine; code = text.charCodeAt(++at)) value = 10 * value + code - zero;
    this.#at = at;
    if (code === dot || (code | 0x20) === letterE) return this.#float(start, value);
    if (value > Number.MAX_SAFE_INTEGER) return this.#longInteger(text.slice(start, at));
    // JSON's -0 is no integer: none has that sign.
    if (isNegative && value === 0) this.#writer.float(-0);
    else this.#writer.integer(isNegative ? -value : value);
  }

  #longInteger(source: string): void {
    const value = source.length <= maxIntegerLength ? BigInt(source) : undefined;
    if (value !== undefined && value >= minLongInteger && value < endOfLongIntegers) this.#writer.longInteger(value);
    else this.#writer.float(Number(source));
  }

  /**
   * What has a fraction or an exponent, which stands here. Number() is asked only where its own precision is needed: it takes a string
   * of each number, and a client may send a quarter of a million.
   */
  #float(start: number, whole: number): void {
    const text = this.#text;
    let digits = whole;
    let scale = 0;
    let at = this.#at;
    let code = text.charCodeAt(at);
    if (code === dot) {
      for (code = text.charCodeAt(++at); code >= zero && code <= nine; code = text.charCodeAt(++at)) {
        digits = 10 * digits + code - zero;
        scale--;
      }
    }
    const isShort = at - start <= maxExactDigits;
    if ((code | 0x20) === letterE) {
      const end = endOfExponent(text, at);
      scale += Number(text.slice(at + 1, end));
      at = end;
    }
    this.#at = at;
    if (!isShort || Math.abs(scale) >= powersOfTen.length) return this.#writer.float(Number(text.slice(start, at)));
    // Both are exact, so that the result is rounded once, and thereby right.
    const value = scale < 0 ? digits / powersOfTen[-scale]! : digits * powersOfTen[scale]!;
    this.#writer.float(text.charCodeAt(start) === minus ? -value : value);
  }

  #string(): void {
    const end = closingQuoteOf(this.#text, this.#at);
    this.#at++;
    this.#writer.beginString(end - this.#at);
    for (;;) {
      this.#at = this.#writer.plainCharacters(this.#text, this.#at, end);
      if (this.#at === end) break;
      this.#writer.character(this.#character(end));
    }
    this.#writer.endString();
    this.#at = end + 1;
  }

  /** @returns a code point; of two halves of a character one */
  #character(end: number): number {
    const unit = this.#unit();
    if ((unit & 0xf800) !== 0xd800) return unit;
    const behind = this.#at;
    const next = unit < 0xdc00 && behind < end ? this.#unit() : 0;
    if ((next & 0xfc00) === 0xdc00) return 0x1_0000 + ((unit & 0x3ff) << 10) + (next & 0x3ff);
    this.#at = behind;
    return replacement;
  }

  /** @returns the next UTF-16 code unit of a string */
  #unit(): number {
    const code = this.#text.charCodeAt(this.#at++);
    if (code !== backslash) return code;
    const kind = this.#text.charCodeAt(this.#at++);
    if (kind !== letterU) return escapes[kind]!;
    this.#at += 4;
    return escapedUnitAt(this.#text, this.#at - 4);
  }

  /** A comma, a colon or a closing bracket. */
  #skipMark(): void {
    this.#skipWhitespace();
    this.#at++;
  }

  #skipWhitespace(): void {
    this.#at = behindWhitespace(this.#text, this.#at);
  }
}

/** Of each array and object of a text, in the order in which they open, how many members it has. */
function memberCounts(text: string): number[] {
  const counts: number[] = [];
  /** Those that are open around the one that `current` tells. */
  const around: number[] = [];
  let current = -1;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === quote) at = closingQuoteOf(text, at);
    else if (code === comma) counts[current]!++;
    else if (code === openArray || code === openObject) {
      around.push(current);
      const next = text.charCodeAt(behindWhitespace(text, at + 1));
      current = counts.push(next === closeArray || next === closeObject ? 0 : 1) - 1;
    } else if (code === closeArray || code === closeObject) current = around.pop()!;
  }
  return counts;
}

/** @returns where the closing quote stands of the string that starts here */
function closingQuoteOf(text: string, start: number): number {
  let at = start + 1;
  for (; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === quote) break;
    if (code === backslash) at++;
  }
  return at;
}

/** @param start where its letter stands */
function endOfExponent(text: string, start: number): number {
  let at = start + 2;
  while (text.charCodeAt(at) >= zero && text.charCodeAt(at) <= nine) at++;
  return at;
}

function behindWhitespace(text: string, start: number): number {
  let at = start;
  while (text.charCodeAt(at) <= space) at++;
  return at;
}

/** Those that are exact as a number. */
const powersOfTen = Array.from({ length: 23 }, (_, power) => Number(`1e${power}`));

/** By the code behind a backslash: what it stands for. */
const escapes = new Uint8Array(0x80);
for (const kind of '"\\/bfnrt') escapes[kind.charCodeAt(0)] = (JSON.parse(`"\\${kind}"`) as string).charCodeAt(0);

/** By the code of a hexadecimal digit: its number. */
const hexDigits = new Uint8Array(0x80);
for (const digit of '0123456789abcdefABCDEF') hexDigits[digit.charCodeAt(0)] = Number.parseInt(digit, 16);

function escapedUnitAt(text: string, start: number): number {
  let number = 0;
  for (let at = start; at < start + 4; at++) number = 16 * number + hexDigits[text.charCodeAt(at)]!;
  return number;
}
