// Strict JSON that keeps its text: in goes a JSON text, out comes its root, whose parts are found where they are asked for.
// Promises: accepts exactly RFC 8259 within `maxDepth` (as System.Text.Json does: no comment, no trailing comma, no lone
// surrogate), never re-builds a value from a JavaScript object, so numbers, key order and repeats survive, and takes a
// few ns a character whatever the text holds: a client chooses it, and everybody else waits meanwhile.

export type RawKind = 'object' | 'array' | 'string' | 'number' | 'true' | 'false' | 'null';

/** Where and why a text is not JSON. `path` is the innermost object member reached, such as `$.message`. */
export class JsonFault extends Error {
  readonly path: string;

  constructor(message: string, path: string) {
    super(message);
    this.name = 'JsonFault';
    this.path = path;
  }
}

/** One value of a text that was accepted. */
export class RawNode {
  /** The value's source without insignificant whitespace. */
  readonly raw: string;

  constructor(raw: string) {
    this.raw = raw;
  }

  get kind(): RawKind {
    return kinds[this.raw[0]!] ?? 'number';
  }

  /** Of an object: decoded names with their values, in order, repeats included. Found anew each time. */
  get members(): [name: string, value: RawNode][] | undefined {
    return this.firstMembers(Number.POSITIVE_INFINITY);
  }

  /** Of an array. Found anew each time. */
  get items(): RawNode[] | undefined {
    return this.firstItems(Number.POSITIVE_INFINITY);
  }

  /** As {@link members}, but no more than `count`: an object of a client may have a million. */
  firstMembers(count: number): [name: string, value: RawNode][] | undefined {
    return this.raw[0] === '{' ? membersOf(this.raw, count) : undefined;
  }

  /** As {@link items}, but no more than `count`. */
  firstItems(count: number): RawNode[] | undefined {
    return this.raw[0] === '[' ? itemsOf(this.raw, count) : undefined;
  }

  /** Of a string: decoded. */
  get text(): string | undefined {
    return this.raw[0] === '"' ? decoded(this.raw) : undefined;
  }
}

/**
 * @param text one JSON text, a leading byte order mark allowed
 * @param maxDepth how many objects and arrays may be open at once
 * @throws JsonFault
 */
export function parseRaw(text: string, maxDepth: number): RawNode {
  return new RawNode(new Scanner(text, maxDepth).compact());
}

const kinds: Record<string, RawKind> = {
  '{': 'object',
  '[': 'array',
  '"': 'string',
  t: 'true',
  f: 'false',
  n: 'null',
};
const byteOrderMark = 0xfeff;
const space = 0x20;
const quote = 0x22;
const comma = 0x2c;
const minus = 0x2d;
const dot = 0x2e;
const zero = 0x30;
const colon = 0x3a;
const openArray = 0x5b;
const backslash = 0x5c;
const closeArray = 0x5d;
const letterE = 0x65;
const letterU = 0x75;
const openObject = 0x7b;
const closeObject = 0x7d;

/**
 * Reads a text from its begin to its end once and makes nothing on its way but the source without whitespace. Each method is
 * told where its part starts, and returns where that has ended.
 */
class Scanner {
  readonly #text: string;
  readonly #maxDepth: number;
  /** Of each open value, where the name of the member that is being read starts; -1: none. */
  readonly #names: number[] = [];
  /** What stands between whitespace, up to #keptTo. */
  readonly #kept: string[] = [];
  #keptTo = 0;

  constructor(text: string, maxDepth: number) {
    this.#text = text;
    this.#maxDepth = maxDepth;
  }

  compact(): string {
    const text = this.#text;
    if (text.charCodeAt(0) === byteOrderMark) this.#keptTo = 1;
    const end = this.#behindWhitespace(this.#value(this.#behindWhitespace(this.#keptTo)));
    if (end < text.length) this.#fail('The JSON text goes on behind its value.', end);
    if (this.#keptTo === 0) return text;
    this.#kept.push(text.slice(this.#keptTo));
    return this.#kept.join('');
  }

  #value(at: number): number {
    const code = this.#text.charCodeAt(at);
    if (code === quote) return this.#string(at);
    if (code === minus || isDigit(code)) return this.#number(at, code);
    if (code === openArray) return this.#nested(at, closeArray);
    if (code === openObject) return this.#nested(at, closeObject);
    return this.#literal(at);
  }

  #nested(start: number, close: number): number {
    const depth = this.#names.length;
    if (depth === this.#maxDepth) this.#fail(`The maximum depth of ${this.#maxDepth} has been exceeded.`, start);
    this.#names.push(-1);
    let at = this.#behindWhitespace(start + 1);
    if (this.#text.charCodeAt(at) !== close) at = this.#elements(at, close, depth);
    this.#names.pop();
    return at + 1;
  }

  /** @returns where the closing bracket stands */
  #elements(start: number, close: number, depth: number): number {
    const text = this.#text;
    const names = close === closeObject;
    for (let at = start; ; ) {
      if (names) at = this.#name(at, depth);
      at = this.#value(at);
      if (names) this.#names[depth] = -1;
      let code = text.charCodeAt(at);
      if (code <= space) {
        at = this.#behindWhitespace(at);
        code = text.charCodeAt(at);
      }
      if (code === close) return at;
      if (code !== comma) this.#fail("',' was expected.", at);
      at = this.#behindWhitespace(at + 1);
    }
  }

  /** @returns where the member's value starts */
  #name(start: number, depth: number): number {
    if (this.#text.charCodeAt(start) !== quote) this.#fail('A property name was expected.', start);
    const end = this.#string(start);
    this.#names[depth] = start;
    const at = this.#behindWhitespace(end);
    if (this.#text.charCodeAt(at) !== colon) this.#fail("':' was expected.", at);
    return this.#behindWhitespace(at + 1);
  }

  #string(start: number): number {
    const text = this.#text;
    for (let at = start + 1; at < text.length; at++) {
      const code = text.charCodeAt(at);
      if (code === quote) return at + 1;
      if (code < space) this.#fail('A string holds a control character.', at);
      if (code === backslash) at = this.#escape(at) - 1;
      else if ((code & 0xf800) === 0xd800) at += this.#unitsAt(code, text.charCodeAt(at + 1), at) - 1;
    }
    return this.#fail('A string is not closed.', text.length);
  }

  /** @returns the index behind the escape, both halves of a surrogate pair in one */
  #escape(at: number): number {
    const text = this.#text;
    if (text.charCodeAt(at + 1) !== letterU) {
      if (!'"\\/bfnrt'.includes(text[at + 1] ?? ' ')) this.#fail('A string holds an unknown escape.', at);
      return at + 2;
    }
    const unit = hexAt(text, at + 2);
    if (unit === undefined) this.#fail('A string holds an unknown escape.', at);
    if ((unit & 0xf800) !== 0xd800) return at + 6;
    const next = text.startsWith('\\u', at + 6) ? hexAt(text, at + 8) : undefined;
    return at + 6 * this.#unitsAt(unit, next ?? 0, at);
  }

  /** How many units one character takes that starts with this surrogate. */
  #unitsAt(unit: number, next: number, at: number): 2 {
    if (unit >= 0xdc00 || (next & 0xfc00) !== 0xdc00) this.#fail('A string holds a lone surrogate.', at);
    return 2;
  }

  /** @param first the code at its start: a digit or a minus */
  #number(start: number, first: number): number {
    const text = this.#text;
    let at = first === minus ? start + 1 : start;
    at = text.charCodeAt(at) === zero ? at + 1 : this.#digits(at);
    if (text.charCodeAt(at) === dot) at = this.#digits(at + 1);
    if ((text.charCodeAt(at) | 0x20) !== letterE) return at;
    const sign = text[at + 1];
    return this.#digits(sign === '+' || sign === '-' ? at + 2 : at + 1);
  }

  #digits(start: number): number {
    const text = this.#text;
    let at = start;
    while (isDigit(text.charCodeAt(at))) at++;
    if (at === start) this.#fail('A digit was expected.', at);
    return at;
  }

  #literal(at: number): number {
    for (const word of ['true', 'false', 'null']) if (this.#text.startsWith(word, at)) return at + word.length;
    return this.#fail(at < this.#text.length ? 'A value was expected.' : 'The JSON text ends early.', at);
  }

  #behindWhitespace(start: number): number {
    const text = this.#text;
    let at = start;
    while (isWhitespace(text.charCodeAt(at))) at++;
    if (at === start) return at;
    if (start > this.#keptTo) this.#kept.push(text.slice(this.#keptTo, start));
    this.#keptTo = at;
    return at;
  }

  #fail(reason: string, at: number): never {
    const names = this.#names.filter((start) => start !== -1);
    const path = ['$', ...names.map((start) => decoded(this.#text.slice(start, endOfString(this.#text, start))))];
    throw new JsonFault(`${reason} Path: ${path.join('.')} | Position: ${at}.`, path.join('.'));
  }
}

function isWhitespace(code: number): boolean {
  return code <= space && (code === space || code === 0x0a || code === 0x0d || code === 0x09);
}

function isDigit(code: number): boolean {
  return code >= zero && code <= 0x39;
}

/** The number that four hexadecimal digits give; undefined where they are none. */
function hexAt(text: string, at: number): number | undefined {
  let number = 0;
  for (let i = at; i < at + 4; i++) {
    const code = text.charCodeAt(i);
    const letter = (code | 0x20) - 0x61;
    if (isDigit(code)) number = 16 * number + code - zero;
    else if (letter >= 0 && letter < 6) number = 16 * number + 10 + letter;
    else return undefined;
  }
  return number;
}

/** By code: what begins or ends a value, of both kinds of brackets alike. */
const marks = new Uint8Array(0x80);
for (const [code, mark] of [
  [quote, quote],
  [comma, comma],
  [openArray, openArray],
  [openObject, openArray],
  [closeArray, closeArray],
  [closeObject, closeArray],
] as const)
  marks[code] = mark;

// From here on a text is accepted, and holds no whitespace between its tokens.

/** Whether it is a list of nothing but strings and nulls. @param raw the source of an accepted value */
export function isListOfStrings(raw: string): boolean {
  if (raw[0] !== '[') return false;
  for (let at = 1; at < raw.length - 1; at++) {
    if (raw[at] === '"') at = endOfString(raw, at);
    else if (raw[at] === 'n') at += 'null'.length;
    else return false;
  }
  return true;
}

function membersOf(raw: string, count: number): [string, RawNode][] {
  const members: [string, RawNode][] = [];
  // Each starts behind the bracket or comma before it.
  for (let at = 1; at < raw.length - 1 && members.length < count; at++) {
    const nameEnd = endOfString(raw, at);
    const end = endOfValue(raw, nameEnd + 1);
    members.push([decoded(raw.slice(at, nameEnd)), new RawNode(raw.slice(nameEnd + 1, end))]);
    at = end;
  }
  return members;
}

function itemsOf(raw: string, count: number): RawNode[] {
  const items: RawNode[] = [];
  for (let at = 1; at < raw.length - 1 && items.length < count; at++) {
    const end = endOfValue(raw, at);
    items.push(new RawNode(raw.slice(at, end)));
    at = end;
  }
  return items;
}

function endOfValue(raw: string, start: number): number {
  let depth = 0;
  for (let at = start; at < raw.length; at++) {
    const mark = marks[raw.charCodeAt(at)];
    // Most characters are none, and a value may have a million.
    if (mark === undefined || mark === 0) continue;
    if (mark === quote) at = endOfString(raw, at) - 1;
    else if (mark === openArray) depth++;
    else if (depth === 0) return at;
    else if (mark === closeArray) depth--;
  }
  return raw.length;
}

/** Index behind the closing quote of the string that starts at `start`. A string may have a million characters. */
function endOfString(raw: string, start: number): number {
  for (let at = raw.indexOf('"', start + 1); at !== -1; at = raw.indexOf('"', at + 1)) {
    // A quote behind an odd number of backslashes is one of the string's own characters.
    let backslashes = 0;
    while (raw.charCodeAt(at - 1 - backslashes) === backslash) backslashes++;
    if (backslashes % 2 === 0) return at + 1;
  }
  return raw.length;
}

function decoded(raw: string): string {
  return raw.includes('\\') ? (JSON.parse(raw) as string) : raw.slice(1, -1);
}
