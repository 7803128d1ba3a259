// Strict JSON that keeps its text: in goes a JSON text, out comes a tree whose nodes know their own compact source.
// Promises: accepts exactly RFC 8259 within `maxDepth` (as System.Text.Json does: no comment, no trailing comma, no
// lone surrogate), and never re-builds a value from a JavaScript object, so numbers, key order and repeats survive.

export type RawKind = 'object' | 'array' | 'string' | 'number' | 'true' | 'false' | 'null';

export interface RawNode {
  kind: RawKind;
  /** The value's source without insignificant whitespace. */
  raw: string;
  /** Of an object: decoded names with their values, in order, repeats included. */
  members?: [name: string, value: RawNode][];
  items?: RawNode[];
  /** Of a string: decoded. */
  text?: string;
}

/** Where and why a text is not JSON. `path` is the innermost object member reached, such as `$.message`. */
export class JsonFault extends Error {
  readonly path: string;

  constructor(message: string, path: string) {
    super(message);
    this.name = 'JsonFault';
    this.path = path;
  }
}

/**
 * @param text one JSON text, a leading byte order mark allowed
 * @param maxDepth how many objects and arrays may be open at once
 * @throws JsonFault
 */
export function parseRaw(text: string, maxDepth: number): RawNode {
  return new RawParser(text, maxDepth).parse();
}

const number = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const literals: [RawKind, string][] = [
  ['true', 'true'],
  ['false', 'false'],
  ['null', 'null'],
];

class RawParser {
  readonly #text: string;
  readonly #maxDepth: number;
  readonly #names: string[] = [];
  #depth = 0;
  #at = 0;

  constructor(text: string, maxDepth: number) {
    this.#text = text;
    this.#maxDepth = maxDepth;
    if (text.charCodeAt(0) === 0xfeff) this.#at = 1;
  }

  parse(): RawNode {
    this.#skipWhitespace();
    const node = this.#value();
    this.#skipWhitespace();
    if (this.#at < this.#text.length) this.#fail('The JSON text goes on behind its value.');
    return node;
  }

  #value(): RawNode {
    const char = this.#text[this.#at];
    if (char === '"') return this.#string();
    if (char === '{') return this.#nested(() => this.#object());
    if (char === '[') return this.#nested(() => this.#array());
    for (const [kind, word] of literals) {
      if (this.#text.startsWith(word, this.#at)) {
        this.#at += word.length;
        return { kind, raw: word };
      }
    }
    return this.#number();
  }

  #nested(read: () => RawNode): RawNode {
    if (++this.#depth > this.#maxDepth) this.#fail(`The maximum depth of ${this.#maxDepth} has been exceeded.`);
    this.#at++;
    this.#skipWhitespace();
    const node = read();
    this.#depth--;
    return node;
  }

  #object(): RawNode {
    const members: [string, RawNode][] = [];
    const sources: string[] = [];
    while (!this.#closes('}', members.length > 0)) {
      if (this.#text[this.#at] !== '"') this.#fail('A property name was expected.');
      const name = this.#string();
      this.#names.push(name.text!);
      this.#skipWhitespace();
      this.#expect(':');
      this.#skipWhitespace();
      const value = this.#value();
      this.#names.pop();
      members.push([name.text!, value]);
      sources.push(`${name.raw}:${value.raw}`);
      this.#skipWhitespace();
    }
    return { kind: 'object', raw: `{${sources.join(',')}}`, members };
  }

  #array(): RawNode {
    const items: RawNode[] = [];
    while (!this.#closes(']', items.length > 0)) {
      items.push(this.#value());
      this.#skipWhitespace();
    }
    return { kind: 'array', raw: `[${items.map((item) => item.raw).join(',')}]`, items };
  }

  /** Between elements: true past the closing bracket, false in front of the next element. */
  #closes(bracket: string, needsComma: boolean): boolean {
    if (this.#text[this.#at] === bracket) {
      this.#at++;
      return true;
    }
    if (needsComma) {
      this.#expect(',');
      this.#skipWhitespace();
    }
    return false;
  }

  #string(): RawNode {
    const start = this.#at;
    const raw = this.#text.slice(start, this.#endOfString(start));
    let text: string;
    try {
      text = JSON.parse(raw);
    } catch {
      this.#fail('A string holds a control character or an unknown escape.');
    }
    if (!text.isWellFormed()) this.#fail('A string holds a lone surrogate.');
    this.#at = start + raw.length;
    return { kind: 'string', raw, text };
  }

  /** Index behind the closing quote: the first quote with an even number of backslashes before it. */
  #endOfString(start: number): number {
    for (let quote = this.#text.indexOf('"', start + 1); quote !== -1; quote = this.#text.indexOf('"', quote + 1)) {
      let backslashes = 0;
      while (this.#text[quote - 1 - backslashes] === '\\') backslashes++;
      if (backslashes % 2 === 0) return quote + 1;
    }
    return this.#fail('A string is not closed.');
  }

  #number(): RawNode {
    number.lastIndex = this.#at;
    const raw = number.exec(this.#text)?.[0];
    if (raw === undefined)
      this.#fail(this.#at < this.#text.length ? 'A value was expected.' : 'The JSON text ends early.');
    this.#at += raw.length;
    return { kind: 'number', raw };
  }

  #expect(char: string): void {
    if (this.#text[this.#at] !== char) this.#fail(`'${char}' was expected.`);
    this.#at++;
  }

  #skipWhitespace(): void {
    for (;;) {
      const code = this.#text.charCodeAt(this.#at);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return;
      this.#at++;
    }
  }

  #fail(reason: string): never {
    const path = ['$', ...this.#names].join('.');
    throw new JsonFault(`${reason} Path: ${path} | Position: ${this.#at}.`, path);
  }
}
