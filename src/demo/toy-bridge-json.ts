// Raw JSON for the toy bridge: a strict JSON text comes in, a tree comes out in which every value still has its text.
// Promises: numbers, repeated keys and the order of keys stay as they were sent; only whitespace goes and escapes change.
// Written apart from crossfade's own reader on purpose: a mistake that both shared would pass every comparison.

export interface Json {
  kind: 'object' | 'array' | 'string' | 'number' | 'bool' | 'null';
  /** The value's text without whitespace. */
  raw: string;
  members: [name: string, value: Json][];
  items: Json[];
  /** What a string says. */
  text: string;
}

/** `path` names the place as System.Text.Json does: `$.message.content`. */
export class JsonError extends Error {
  readonly path: string[];

  constructor(path: string[], message: string) {
    super(message);
    this.path = path;
  }
}

/** @throws JsonError */
export function parseJson(source: string, maxDepth: number): Json {
  return new Parser(source, maxDepth).document();
}

/** The text of an object with these raw values. */
export function writeMembers(members: Iterable<[name: string, raw: string]>): string {
  return `{${Array.from(members, ([name, raw]) => `${JSON.stringify(name)}:${raw}`).join(',')}}`;
}

const number = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const literal = /true|false|null/y;
const space = /[ \t\r\n]*/y;

class Parser {
  readonly #source: string;
  readonly #maxDepth: number;
  readonly #path: string[] = [];
  #depth = 0;
  #at = 0;

  constructor(source: string, maxDepth: number) {
    this.#source = source;
    this.#maxDepth = maxDepth;
  }

  document(): Json {
    const value = this.#value();
    if (this.#next() !== '') this.#fail('there is something after the end');
    return value;
  }

  #value(): Json {
    switch (this.#next()) {
      case '{':
        return this.#object();
      case '[':
        return this.#array();
      case '"':
        return this.#string();
      default:
        return this.#scalar();
    }
  }

  #object(): Json {
    const members: [string, Json][] = [];
    this.#list('}', () => {
      if (this.#next() !== '"') this.#fail("expected a '\"'");
      const name = this.#string().text;
      this.#path.push(name);
      if (this.#next() !== ':') this.#fail("expected a ':'");
      this.#at++;
      members.push([name, this.#value()]);
      this.#path.pop();
    });
    return json('object', writeMembers(members.map(([name, value]) => [name, value.raw])), { members });
  }

  #array(): Json {
    const items: Json[] = [];
    this.#list(']', () => items.push(this.#value()));
    return json('array', `[${items.map((item) => item.raw).join(',')}]`, { items });
  }

  #list(end: string, readOne: () => void): void {
    if (++this.#depth > this.#maxDepth)
      this.#fail(`the maximum configured depth of ${this.#maxDepth} has been exceeded`);
    this.#at++;
    if (this.#next() !== end) {
      readOne();
      while (this.#next() === ',') {
        this.#at++;
        readOne();
      }
      if (this.#next() !== end) this.#fail(`expected ',' or '${end}'`);
    }
    this.#at++;
    this.#depth--;
  }

  #string(): Json {
    const end = this.#closingQuote();
    let text = '';
    try {
      text = JSON.parse(this.#source.slice(this.#at, end + 1));
    } catch {
      this.#fail('the string is not valid');
    }
    if (!text.isWellFormed()) this.#fail('the string holds half a surrogate pair');
    this.#at = end + 1;
    return json('string', JSON.stringify(text), { text });
  }

  #closingQuote(): number {
    let end = this.#source.indexOf('"', this.#at + 1);
    while (end >= 0 && this.#isEscaped(end)) end = this.#source.indexOf('"', end + 1);
    if (end < 0) this.#fail('the string has no end');
    return end;
  }

  #isEscaped(at: number): boolean {
    let first = at;
    while (this.#source[first - 1] === '\\') first--;
    return (at - first) % 2 === 1;
  }

  #scalar(): Json {
    const word = this.#match(literal);
    if (word !== '') return json(word === 'null' ? 'null' : 'bool', word);
    const digits = this.#match(number);
    if (digits !== '') return json('number', digits);
    return this.#fail('expected a value');
  }

  /** The next character that is no whitespace; empty at the end. */
  #next(): string {
    this.#match(space);
    return this.#source.charAt(this.#at);
  }

  #match(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#source)?.[0] ?? '';
    this.#at += found.length;
    return found;
  }

  #fail(message: string): never {
    throw new JsonError([...this.#path], `${message}, at character ${this.#at}`);
  }
}

function json(kind: Json['kind'], raw: string, parts: Partial<Json> = {}): Json {
  return { kind, raw, members: [], items: [], text: '', ...parts };
}
