// Strict JSON that keeps its text, against JSON.parse and with texts that fast-check makes up.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { JsonFault, parseRaw, type RawNode } from '../../src/contract/json.ts';

const depth = 100;

/** A JSON text as its tokens: written without whitespace, or with some between any two. */
type Tokens = string[];

const stringPiece = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 5 }).map((text) => JSON.stringify(text).slice(1, -1)),
  fc.constantFrom(
    '\\/',
    '\\"',
    '\\\\',
    '\\n',
    '\\u00e9',
    '\\u00E9',
    '\\ud83d\\ude00',
    '\\u0000',
    '\u2028',
    '\u007f',
    '😀',
  ),
);
const string = fc.array(stringPiece, { maxLength: 4 }).map((pieces) => [`"${pieces.join('')}"`]);
const name = fc.oneof(
  string,
  fc.constantFrom('"a"', '"__proto__"', '""').map((text) => [text]),
);
const number = fc.stringMatching(/^-?(0|[1-9]\d{0,20})(\.\d{1,4})?([eE][+-]?\d{1,3})?$/).map((text) => [text]);
const literal = fc.constantFrom('true', 'false', 'null').map((text) => [text]);

const { value } = fc.letrec<{ value: Tokens; array: Tokens; object: Tokens }>((tie) => ({
  value: fc.oneof({ maxDepth: 5 }, literal, number, string, tie('array'), tie('object')),
  array: fc.array(tie('value'), { maxLength: 4 }).map((items) => ['[', ...separated(items), ']']),
  object: fc
    .array(fc.tuple(name, tie('value')), { maxLength: 4 })
    .map((members) => ['{', ...separated(members.map(([key, item]) => [...key, ':', ...item])), '}']),
}));

const whitespace = fc.array(fc.constantFrom('', '', ' ', '\n', '\r\n', '\t', '  '), { minLength: 1, maxLength: 8 });

describe('a JSON text that is accepted', () => {
  test('keeps its source, without the whitespace between its tokens', () => {
    fc.assert(
      fc.property(value, whitespace, (tokens, spaces) => {
        assert.equal(parseRaw(spaced(tokens, spaces), depth).raw, tokens.join(''));
      }),
    );
  });

  test('has the value that JSON.parse gives', () => {
    fc.assert(
      fc.property(value, whitespace, (tokens, spaces) => {
        const text = spaced(tokens, spaces);
        assert.deepEqual(toValue(parseRaw(text, depth)), JSON.parse(text));
      }),
    );
  });

  test('gives each part its own source', () => {
    fc.assert(
      fc.property(value, (tokens) => {
        for (const node of partsOf(parseRaw(tokens.join(''), depth)))
          assert.equal(parseRaw(node.raw, depth).raw, node.raw);
      }),
    );
  });

  test('keeps repeated names in their order', () => {
    const { members } = parseRaw('{ "a" : 1.10 , "b" : -0.0 , "a" : 1e3 , "__proto__" : null }', depth);
    assert.deepEqual(
      members!.map(([key, node]) => [key, node.raw]),
      [
        ['a', '1.10'],
        ['b', '-0.0'],
        ['a', '1e3'],
        ['__proto__', 'null'],
      ],
    );
  });

  test('may begin with one byte order mark', () => {
    assert.equal(parseRaw('\ufeff {"a" :1}', depth).raw, '{"a":1}');
    assert.throws(() => parseRaw('\ufeff\ufeff1', depth), JsonFault);
    assert.throws(() => parseRaw(' \ufeff1', depth), JsonFault);
  });
});

describe('a JSON text is accepted where JSON.parse accepts it', () => {
  const characters = '{}[]:,"\\/ \n\t\u00a0\ufeff\u2028\u00000123456789-+.eEabfnrtulsd\'*#';
  const character = fc.constantFrom(...characters);

  test('whatever one character is changed', () => {
    const change = fc.record({ at: fc.nat(), removed: fc.nat(1), inserted: fc.oneof(fc.constant(''), character) });
    fc.assert(
      fc.property(value, whitespace, change, (tokens, spaces, { at, removed, inserted }) => {
        const text = spaced(tokens, spaces);
        const index = at % (text.length + 1);
        agrees(text.slice(0, index) + inserted + text.slice(index + removed));
      }),
      { numRuns: 2_000 },
    );
  });

  test('for any characters', () => {
    fc.assert(fc.property(fc.string({ unit: character, maxLength: 8 }), agrees), { numRuns: 3_000 });
  });

  test('for the usual mistakes', () => {
    const mistakes = [
      '',
      ' ',
      '{',
      '[',
      '"',
      '"\\"',
      '{"a"}',
      '{"a":}',
      '{"a":1,}',
      '[1,]',
      '[,1]',
      '{,}',
      '1 2',
      '[1 2]',
    ];
    const words = [
      'nul',
      'nulll',
      'True',
      'NaN',
      'Infinity',
      '-',
      '+1',
      '.5',
      '5.',
      '01',
      '-01',
      '1e',
      '1e+',
      '0x1',
      "'a'",
    ];
    const others = [
      '/**/1',
      '1//',
      '[1]]',
      '{"a":1}}',
      '"\t"',
      '"\\x"',
      '"\\u12"',
      '"\n"',
      '{a:1}',
      'undefined',
      '\u00a01',
    ];
    for (const text of [...mistakes, ...words, ...others]) {
      agrees(text);
      assert.throws(() => parseRaw(text, depth), JsonFault, JSON.stringify(text));
    }
  });
});

describe('beyond JSON.parse', () => {
  test('a lone surrogate is refused, in a value and in a name', () => {
    for (const text of ['"\\ud83d"', '"a\\ude00"', '{"\\ud83d":1}', '["\\ude00\\ud83d"]', '"\ud83d"']) {
      assert.throws(() => parseRaw(text, depth), JsonFault, text);
    }
  });

  test('nesting is refused beyond the depth, and allowed up to it', () => {
    const nested = (levels: number) => `${'[{"a":'.repeat(levels / 2)}1${'}]'.repeat(levels / 2)}`;
    assert.equal(parseRaw(nested(32), 32).raw, nested(32));
    assert.throws(() => parseRaw(nested(34), 32), JsonFault);
    assert.throws(() => parseRaw('['.repeat(1_000_000), 64), JsonFault, 'without using up the stack');
    assert.equal(parseRaw(`[${'[],'.repeat(50)}[]]`, 2).items!.length, 51, 'what is closed does not count');
  });

  test('a fault says how far the names led', () => {
    const pathOf = (text: string) => {
      try {
        parseRaw(text, depth);
      } catch (error) {
        return (error as JsonFault).path;
      }
      return undefined;
    };
    assert.equal(pathOf('{"event_id":'), '$.event_id');
    assert.equal(pathOf('{"a":1,}'), '$');
    assert.equal(pathOf('{"a":{"b":[1,x]}}'), '$.a.b');
    assert.equal(pathOf('{"a":{"b":1},"c":"\\ud83d"}'), '$.c');
  });

  test('no text of 1 MiB holds the event loop, whatever a client puts into it', () => {
    const listOf = (item: string) => `[${Array(Math.floor(2 ** 20 / (item.length + 1))).fill(item)}]`;
    const texts = [
      listOf('1'),
      listOf('""'),
      listOf('[]'),
      listOf('{"":1}'),
      listOf(`${'['.repeat(58)}${']'.repeat(58)}`),
      listOf(' 1 '),
      listOf('"\\ud83d\\ude00"'),
    ];
    for (const text of texts) {
      const took = [1, 2, 3].map(() => {
        const before = process.cpuUsage();
        parseRaw(text, 64);
        return process.cpuUsage(before).user / 1_000;
      });
      // About 30 ms of the processor, whatever else runs beside it.
      assert.ok(Math.min(...took) < 150, `${text.slice(0, 40)}: ${took} ms`);
    }
  });

  test('long texts take time in proportion to their length', () => {
    const long = [`"${'\\"'.repeat(500_000)}"`, `"${'\\\\'.repeat(500_000)}"`, `[${'1,'.repeat(200_000)}1]`];
    const startedAt = performance.now();
    for (const text of long) assert.equal(parseRaw(text, depth).raw, text);
    assert.ok(performance.now() - startedAt < 3_000);
  });
});

function separated(items: Tokens[]): Tokens {
  return items.flatMap((item, index) => (index === 0 ? item : [',', ...item]));
}

function spaced(tokens: Tokens, spaces: string[]): string {
  const space = (index: number) => spaces[index % spaces.length];
  return space(tokens.length) + tokens.map((token, index) => token + space(index)).join('');
}

function agrees(text: string): void {
  const expected = isJson(text) && hasWellFormedStrings(text);
  let accepted = true;
  try {
    parseRaw(text, depth);
  } catch (error) {
    if (!(error instanceof JsonFault)) throw error;
    accepted = false;
  }
  // A leading byte order mark is the one thing that is accepted beyond JSON.parse.
  if (!text.startsWith('\ufeff')) assert.equal(accepted, expected, JSON.stringify(text));
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** @param text valid JSON */
function hasWellFormedStrings(text: string): boolean {
  const strings = text.match(/"(?:[^"\\]|\\.)*"/g) ?? [];
  return strings.every((source) => JSON.parse(source).isWellFormed());
}

function partsOf(node: RawNode): RawNode[] {
  const inner = node.items ?? node.members?.map(([, part]) => part) ?? [];
  return [node, ...inner.flatMap(partsOf)];
}

function toValue({ kind, raw, text, items, members }: RawNode): unknown {
  if (items !== undefined) return items.map(toValue);
  if (kind === 'string') return text;
  if (members === undefined) return kind === 'number' ? Number(raw) : { true: true, false: false, null: null }[raw];
  const object = {};
  for (const [key, part] of members) {
    Object.defineProperty(object, key, { value: toValue(part), enumerable: true, configurable: true, writable: true });
  }
  return object;
}
