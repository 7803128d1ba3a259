// JSON that is nearly right: arbitraries of JSON *texts*, so that what no value can hold (1e400, a doubled key, a bracket too
// few) is there too. In comes a type of the contract, out go texts that mostly fit it.

import fc from 'fast-check';

/** Fields by name with their types, as the contract writes them: `string`, `int = 0`, `string[]?`, `any`, or a named one. */
export type Shape = Record<string, string>;
export type Types = Record<string, Shape>;

const words = [
  'r1',
  'r2',
  'r3',
  'u1',
  'u2',
  'desk 7',
  'ä€😀',
  '__proto__',
  'constructor',
  'toString',
  '',
  ' ',
  '\u0000',
  'a/b:c',
];
const ids = fc.constantFrom(...words);

const strings = fc.oneof(
  { weight: 12, arbitrary: ids.map((word) => JSON.stringify(word)) },
  { weight: 4, arbitrary: fc.string({ unit: 'binary', maxLength: 40 }).map((text) => JSON.stringify(text)) },
  {
    weight: 2,
    arbitrary: fc.constantFrom('"\\ud800"', '"\\u0000\\u001e"', '"\\/\\b"', '"2026-01-16T10:30:00Z"', '"{user_id}"'),
  },
  { weight: 1, arbitrary: fc.integer({ min: 200, max: 20_000 }).map((length) => `"${'x'.repeat(length)}"`) },
);
const numbers = fc.constantFrom(
  '0',
  '1',
  '-1',
  '7',
  '1.5',
  '-0',
  '1e400',
  '9007199254740993',
  '123456789012345678901234567890',
  '1e-400',
  '00',
  '+1',
  '.5',
  'NaN',
);
const nested = fc
  .tuple(fc.constantFrom(['[', ']'], ['{"a":', '}'], ['[[],', ']']), fc.integer({ min: 2, max: 2_000 }))
  .map(([[open, close], depth]) => `${open!.repeat(depth)}1${close!.repeat(depth)}`);

/** Any JSON, and nearly JSON. */
export const anyJson: fc.Arbitrary<string> = fc.oneof(
  { weight: 4, arbitrary: strings },
  { weight: 3, arbitrary: numbers },
  { weight: 3, arbitrary: fc.constantFrom('null', 'true', 'false', '[]', '{}', '[null]', '{"":0}', '') },
  { weight: 3, arbitrary: fc.jsonValue({ maxDepth: 3 }).map((value) => JSON.stringify(value)) },
  { weight: 1, arbitrary: nested },
);

/** A text that mostly fits the type. */
export function textOf(type: string, types: Types): fc.Arbitrary<string> {
  const [, name, list, optional] = /^([\w]+)(\[\])?(\?)?/.exec(type)!;
  const right = rightText(name!, types);
  const whole = list ? fc.array(right, { maxLength: 4 }).map((texts) => `[${texts.join(',')}]`) : right;
  return fc.oneof(
    { weight: optional ? 20 : 40, arbitrary: whole },
    { weight: 1, arbitrary: fc.constant('null') },
    { weight: 1, arbitrary: anyJson },
  );
}

function rightText(name: string, types: Types): fc.Arbitrary<string> {
  if (name === 'string') return strings;
  if (name === 'int')
    return fc.oneof({ weight: 9, arbitrary: fc.integer().map(String) }, { weight: 1, arbitrary: numbers });
  if (name === 'bool') return fc.constantFrom('true', 'false');
  const shape = types[name];
  return shape === undefined ? anyJson : objectOf(shape, types);
}

/** An object with mostly these fields. */
export function objectOf(shape: Shape, types: Types): fc.Arbitrary<string> {
  const fields = Object.entries(shape).map(([name, type]) =>
    fc.oneof(
      { weight: 30, arbitrary: textOf(type, types).map((text) => `${JSON.stringify(name)}:${text}`) },
      { weight: 1, arbitrary: fc.constant('') },
      { weight: 1, arbitrary: textOf(type, types).map((text) => `"${name.toUpperCase()}":${text},"${name}":${text}`) },
    ),
  );
  const extra = fc.oneof(
    { weight: 20, arbitrary: fc.constant('') },
    { weight: 1, arbitrary: fc.tuple(strings, anyJson).map(([name, text]) => `${name}:${text}`) },
    { weight: 1, arbitrary: fc.constant('"__proto__":{"x":1}') },
  );
  return fc.tuple(...fields, extra).map((texts) => `{${texts.filter(Boolean).join(',')}}`);
}

/** The text (any characters of latin1), mostly as it is, else with a slip of the pen. */
export function nearly(text: fc.Arbitrary<string>): fc.Arbitrary<string> {
  const at = fc.double({ min: 0, max: 1, noNaN: true });
  const cut = fc.tuple(text, at).map(([whole, where]) => whole.slice(0, where * whole.length));
  const replaced = fc
    .tuple(
      text,
      at,
      fc.constantFrom('', '\u0000', '\u001e', '"', '{', ']', ',', '\\', '\n', '\ufeff', '\u00ff', '\u0080', '9'),
    )
    .map(([whole, where, other]) => {
      const index = Math.floor(where * whole.length);
      return whole.slice(0, index) + other + whole.slice(index + 1);
    });
  const around = fc
    .tuple(fc.constantFrom('\ufeff', ' ', '[', '\u001e', ''), text, fc.constantFrom('\u0000', '}', ' ', '{}', ''))
    .map((texts) => texts.join(''));
  return fc.oneof(
    { weight: 10, arbitrary: text },
    { weight: 1, arbitrary: cut },
    { weight: 1, arbitrary: replaced },
    { weight: 1, arbitrary: around },
  );
}

/** UTF-8 of a text, as latin1: a character a byte, which is what the wire takes. */
export function onWire(text: string): string {
  return Buffer.from(text).toString('latin1');
}
