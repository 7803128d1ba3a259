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
const quote = 0x22;
const comma = 0x2c;
const minus = 0x2d;
const dot = 0x2e;
const zero = 0x30;
const colon = 0x3a;
const openArray = 0x5b;
const backslash = 0x5c;
const closeArray = 0x5d;
const letterU = 0x75;
const openObject = 0x7b;
const closeObject = 0x7d;

/** Reads a text from its begin to its end once and makes nothing on its way but the source without whitespace. */
class Scanner {
  readonly #text: string;
  readonly #maxDepth: number;
  /** Of each open value, where the name of the member that is being read starts; -1: none. */
  readonly #names: number[] = [];
  /** What stands between whitespace, up to #keptTo. */
  readonly #kept: string[] = [];
  #keptTo: number;
  #at: number;

  constructor(text: string, maxDepth: number) {
    this.#text = text;
    this.#maxDepth = maxDepth;
    this.#at = text.charCodeAt(0) === byteOrderMark ? 1 : 0;
    this.#keptTo = this.#at;
  }

  compact(): string {
    this.#skipWhitespace();
    this.#value();
    this.#skipWhitespace();
    if (this.#at < this.#text.length) this.#fail('The JSON text goes on behind its value.');
    if (this.#keptTo === 0) return this.#text;
    this.#kept.push(this.#text.slice(this.#keptTo));
    return this.#kept.join('');
  }

  #value(): void {
    const code = this.#text.charCodeAt(this.#at);
    if (code === quote) this.#string();
    else if (code === openObject) this.#nested(closeObject);
    else if (code === openArray) this.#nested(closeArray);
    else if (code === minus || isDigit(code)) this.#number();
    else this.#literal();
  }

  #nested(close: number): void {
    if (this.#names.length === this.#maxDepth) this.#fail(`The maximum depth of ${this.#maxDepth} has been exceeded.`);
    this.#names.push(-1);
    this.#at++;
    this.#skipWhitespace();
    if (this.#text.charCodeAt(this.#at) !== close) this.#elements(close);
    this.#at++;
    this.#names.pop();
  }

  #elements(close: number): void {
    for (;;) {
      if (close === closeObject) this.#name();
      this.#value();
      if (close === closeObject) this.#names[this.#names.length - 1] = -1;
      this.#skipWhitespace();
      const code = this.#text.charCodeAt(this.#at);
      if (code === close) return;
      if (code !== comma) this.#fail("',' was expected.");
      this.#at++;
      this.#skipWhitespace();
    }
  }

  #name(): void {
    const start = this.#at;
    if (this.#text.charCodeAt(start) !== quote) this.#fail('A property name was expected.');
    this.#string();
    this.#names[this.#names.length - 1] = start;
    this.#skipWhitespace();
    if (this.#text.charCodeAt(this.#at) !== colon) this.#fail("':' was expected.");
    this.#at++;
    this.#skipWhitespace();
  }

  #string(): void {
    const text = this.#text;
    for (let at = this.#at + 1; at < text.length; at++) {
      const code = text.charCodeAt(at);
      if (code === quote) {
        this.#at = at + 1;
        return;
      }
      if (code < 0x20) this.#fail('A string holds a control character.');
      if (code !== backslash && (code & 0xf800) !== 0xd800) continue;
      const end = code === backslash ? this.#endOfEscape(at) : at + this.#unitsAt(code, text.charCodeAt(at + 1));
      at = end - 1;
    }
    this.#fail('A string is not closed.');
  }

  /** @returns the index behind the escape that starts at `at`, both halves of a surrogate pair in one */
  #endOfEscape(at: number): number {
    const text = this.#text;
    const code = text.charCodeAt(at + 1);
    if (code !== letterU) {
      if (!'"\\/bfnrt'.includes(text[at + 1] ?? ' ')) this.#fail('A string holds an unknown escape.');
      return at + 2;
    }
    const unit = hexAt(text, at + 2);
    if (unit === undefined) this.#fail('A string holds an unknown escape.');
    if ((unit & 0xf800) !== 0xd800) return at + 6;
    const next = text.startsWith('\\u', at + 6) ? hexAt(text, at + 8) : undefined;
    return at + 6 * this.#unitsAt(unit, next ?? 0);
  }

  /** How many units one character takes that starts with this surrogate. */
  #unitsAt(unit: number, next: number): 2 {
    if (unit >= 0xdc00 || (next & 0xfc00) !== 0xdc00) this.#fail('A string holds a lone surrogate.');
    return 2;
  }

  #number(): void {
    if (this.#text.charCodeAt(this.#at) === minus) this.#at++;
    if (this.#text.charCodeAt(this.#at) === zero) this.#at++;
    else this.#digits();
    if (this.#text.charCodeAt(this.#at) === dot) {
      this.#at++;
      this.#digits();
    }
    if ((this.#text.charCodeAt(this.#at) | 0x20) !== 0x65) return;
    this.#at++;
    const sign = this.#text[this.#at];
    if (sign === '+' || sign === '-') this.#at++;
    this.#digits();
  }

  #digits(): void {
    const start = this.#at;
    while (isDigit(this.#text.charCodeAt(this.#at))) this.#at++;
    if (this.#at === start) this.#fail('A digit was expected.');
  }

  #literal(): void {
    for (const word of ['true', 'false', 'null']) {
      if (!this.#text.startsWith(word, this.#at)) continue;
      this.#at += word.length;
      return;
    }
    this.#fail(this.#at < this.#text.length ? 'A value was expected.' : 'The JSON text ends early.');
  }

  #skipWhitespace(): void {
    const start = this.#at;
    while (isWhitespace(this.#text.charCodeAt(this.#at))) this.#at++;
    if (this.#at === start) return;
    if (start > this.#keptTo) this.#kept.push(this.#text.slice(this.#keptTo, start));
    this.#keptTo = this.#at;
  }

  #fail(reason: string): never {
    const names = this.#names.filter((start) => start !== -1);
    const path = ['$', ...names.map((start) => decoded(this.#text.slice(start, endOfString(this.#text, start))))];
    throw new JsonFault(`${reason} Path: ${path.join('.')} | Position: ${this.#at}.`, path.join('.'));
  }
}

function isWhitespace(code: number): boolean {
  return code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09;
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
    const code = raw.charCodeAt(at);
    if (code === quote) at = endOfString(raw, at) - 1;
    else if (code === openArray || code === openObject) depth++;
    else if (depth === 0 && (code === comma || code === closeArray || code === closeObject)) return at;
    else if (code === closeArray || code === closeObject) depth--;
  }
  return raw.length;
}

/** Index behind the closing quote of the string that starts at `start`. */
function endOfString(raw: string, start: number): number {
  for (let at = start + 1; at < raw.length; at++) {
    const code = raw.charCodeAt(at);
    if (code === quote) return at + 1;
    if (code === backslash) at++;
  }
  return raw.length;
}

function decoded(raw: string): string {
  return raw.includes('\\') ? (JSON.parse(raw) as string) : raw.slice(1, -1);
}
