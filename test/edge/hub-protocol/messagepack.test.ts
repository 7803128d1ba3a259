// The MessagePack hub protocol against literal bytes of other implementations, and against the library's reader.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encode } from '@msgpack/msgpack';
import fc from 'fast-check';
import { messagePack } from '../../../src/edge/hub-protocol/messagepack.ts';
import { ProtocolFault } from '../../../src/edge/hub-protocol/protocol.ts';

const bytes = (hex: string) => Buffer.from(hex.replaceAll(' ', ''), 'hex');

/** The argument of an invocation as it stands in the record. */
function argumentBytes(raw: string): string {
  const record = messagePack.invocation('M', [raw]);
  // Prefix, 96 01 80 c0, a1 4d, 91 in front of the argument; 90 behind it. Short arguments only: one byte of prefix.
  assert.equal(record.subarray(1, 8).toString('hex'), '960180c0a14d91');
  return record.subarray(8, -1).toString('hex');
}

test('records of other implementations are read', () => {
  const cases: [string, unknown][] = [
    ['0c 95 01 80 a1 30 a3 46 6f 6f 92 c0 01', { type: 1, invocationId: '0', target: 'Foo', args: [null, 1] }],
    ['0b 96 01 80 c0 a3 46 6f 6f 91 01 90', { type: 1, invocationId: undefined, target: 'Foo', args: [1] }],
    ['0d 97 01 80 c0 a3 46 6f 6f 91 01 90 a1 78', { type: 1, invocationId: undefined, target: 'Foo', args: [1] }],
    ['07 95 03 80 a1 30 03 c0', { type: 3, invocationId: '0', failed: false }],
    ['06 94 03 80 a1 30 02', { type: 3, invocationId: '0', failed: false }],
    ['08 95 03 80 a1 30 01 a1 78', { type: 3, invocationId: '0', failed: true }],
    ['02 91 06', { type: 6, invocationId: undefined }],
    ['04 93 07 c0 c2', { type: 7, invocationId: undefined }],
    ['03 92 07 c0', { type: 7, invocationId: undefined }],
    ['03 92 08 24', { type: 8, invocationId: undefined }],
    ['03 92 09 01', { type: 9, invocationId: undefined }],
    // An empty id means none; headers are passed over.
    ['0c 96 01 81 a1 61 a1 62 a0 a1 4d 91 c3 90', { type: 1, invocationId: undefined, target: 'M', args: [true] }],
  ];
  for (const [hex, expected] of cases) assert.deepEqual(messagePack.readRecord(bytes(hex)), expected, hex);
});

test('what is no hub message is not understood, and no fault', () => {
  for (const hex of ['00', '01 c0', '01 90', '02 91 c0', '02 92 06']) {
    assert.equal(messagePack.readRecord(bytes(hex)), undefined, hex);
  }
});

test('a name that means something to JavaScript is one like others', () => {
  // {"__proto__": 1}
  const record = bytes('14 96 01 80 c0 a1 4d 91 81 a9 5f 5f 70 72 6f 74 6f 5f 5f 01 90');
  const expected: unknown = JSON.parse('[{"__proto__":1}]');
  assert.deepEqual(messagePack.readRecord(record)?.args, expected);
});

test('what says to be longer than it is takes no memory', () => {
  // Ten arrays of 32 million elements each, one in the other, and none of them there.
  const body = bytes(`95 01 80 c0 a1 4d ${'dd 01 ff ff ff'.repeat(10)}`);
  const before = process.memoryUsage().rss;
  assert.equal(messagePack.readRecord(Buffer.concat([Buffer.from([body.length]), body])), undefined);
  assert.ok(process.memoryUsage().rss - before < 64 * 1024 * 1024);
});

test('whatever the library writes is whole, and cut short it is not understood', () => {
  const values = fc.oneof(fc.jsonValue(), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.uint8Array(), fc.date());
  fc.assert(
    fc.property(fc.array(values), fc.nat(), (args, cut) => {
      const body = Buffer.from(encode([1, {}, null, 'M', args, []], { useBigInt64: true }));
      const framed = (part: Buffer) =>
        Buffer.concat([Buffer.from([(part.length & 0x7f) | 0x80, (part.length >> 7) | 0x80, part.length >> 14]), part]);
      assert.equal(messagePack.readRecord(framed(body))?.args?.length, args.length);
      assert.equal(messagePack.readRecord(framed(body.subarray(0, cut % body.length))), undefined);
    }),
  );
});

test('an invocation is written as .NET writes it', () => {
  assert.deepEqual(
    messagePack.invocation('Foo', ['null', '1'], '0'),
    bytes('0d 96 01 80 a1 30 a3 46 6f 6f 92 c0 01 90'),
  );
  assert.deepEqual(messagePack.invocation('Foo', []), bytes('0a 96 01 80 c0 a3 46 6f 6f 90 90'));
});

test('numbers: integers in their shortest form up to 64 bits, all else as float64', () => {
  const cases: [string, string][] = [
    ['0', '00'],
    ['127', '7f'],
    ['128', 'cc80'],
    ['255', 'ccff'],
    ['256', 'cd0100'],
    ['65535', 'cdffff'],
    ['65536', 'ce00010000'],
    ['4294967295', 'ceffffffff'],
    ['4294967296', 'cf0000000100000000'],
    ['9007199254740991', 'cf001fffffffffffff'],
    ['9007199254740993', 'cf0020000000000001'],
    ['-9007199254740993', 'd3ffdfffffffffffff'],
    ['18446744073709551615', 'cfffffffffffffffff'],
    ['18446744073709551616', 'cb43f0000000000000'],
    ['-1', 'ff'],
    ['-32', 'e0'],
    ['-33', 'd0df'],
    ['-128', 'd080'],
    ['-129', 'd1ff7f'],
    ['-32769', 'd2ffff7fff'],
    ['-2147483649', 'd3ffffffff7fffffff'],
    ['-9223372036854775808', 'd38000000000000000'],
    ['-9223372036854775809', 'cbc3e0000000000000'],
    ['1.0', 'cb3ff0000000000000'],
    ['1e3', 'cb408f400000000000'],
    ['-0', 'cb8000000000000000'],
    ['-0.0', 'cb8000000000000000'],
    ['1.1', 'cb3ff199999999999a'],
  ];
  for (const [raw, hex] of cases) assert.equal(argumentBytes(raw), hex, raw);
});

test('names stay as in JSON, with their order and repeats, and lone surrogates do not hurt', () => {
  assert.equal(
    argumentBytes('{"userId":"a","B":[true,false,null],"__proto__":{}}'),
    '83a6' +
      Buffer.from('userId').toString('hex') +
      'a161' +
      'a142' +
      '93c3c2c0' +
      'a9' +
      Buffer.from('__proto__').toString('hex') +
      '80',
  );
  assert.equal(argumentBytes('{"10":1,"2":2,"a":3,"10":4}'), '84a2313001a13202a16103a2313004');
  assert.equal(argumentBytes('{"\\u0061":[{"b":1},{}],"a":2}'), '82a1619281a1620180a16102');
  assert.equal(argumentBytes('"\\ud800"'), 'a3efbfbd');
  assert.equal(argumentBytes('"\\udc00\\ud83d\\ude00\\ud800\\u0041"'), 'abefbfbdf09f9880efbfbd41');
});

test('any JSON value comes back from the library’s reader', () => {
  const withoutProto = fc.jsonValue().filter((value) => !JSON.stringify(value).includes('__proto__'));
  fc.assert(
    fc.property(withoutProto, fc.string({ maxLength: 300 }), (value, target) => {
      const raw = JSON.stringify(value);
      const record = messagePack.invocation(target, [raw], 'id');
      const length = messagePack.recordLength(record, 0)!;
      assert.equal(length, record.length);
      assert.deepEqual(messagePack.readRecord(record), {
        type: 1,
        invocationId: 'id',
        target,
        args: [JSON.parse(raw)],
      });
    }),
  );
});

/** JSON texts as others write them: with whitespace, escapes and numbers of any form; no name stands twice in an object. */
const texts = fc.letrec<{ value: string }>((tie) => {
  const gap = fc.constantFrom('', '', ' ', '\n\t');
  const digits = fc.stringMatching(/^-?(0|[1-9][0-9]{0,22})(\.[0-9]{1,18})?([eE][+-]?[0-9]{1,3})?$/);
  const number = digits.filter((text) => Number.isFinite(Number(text)));
  const escaped = fc.string({ unit: 'binary' }).map((text) => {
    const asEscape = (unit: string) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
    return JSON.stringify(text).replace(/[^ -~]/g, asEscape);
  });
  const plain = fc.string({ unit: 'grapheme', maxLength: 40 }).map((text) => JSON.stringify(text));
  const string = fc.oneof(plain, escaped);
  const names = fc.uniqueArray(string, { maxLength: 20, selector: (text) => JSON.parse(text) });
  const part = fc.tuple(gap, tie('value'), gap).map((texts) => texts.join(''));
  const list = fc
    .tuple(gap, fc.array(part, { maxLength: 20 }))
    .map(([before, items]) => `[${items.join(',') || before}]`);
  const object = fc
    .tuple(
      gap,
      names.filter((all) => !all.includes('"__proto__"')),
      fc.infiniteStream(part),
    )
    .map(
      ([before, all, parts]) => `{${before}${all.map((name) => `${name}${before}:${parts.next().value}`).join(',')}}`,
    );
  const scalar = fc.oneof(number, string, fc.constantFrom('true', 'false', 'null'));
  return { value: fc.oneof({ depthSize: 'small', withCrossShrink: true }, scalar, list, object) };
}).value;

test('any JSON text gives what JSON.parse gives, be it written as it may', () => {
  fc.assert(
    fc.property(texts, (raw) => {
      const [value] = messagePack.readRecord(messagePack.invocation('M', [raw]))!.args!;
      assert.deepEqual(value, JSON.parse(raw));
    }),
    { numRuns: 200 },
  );
});

test('1 MiB of a client’s choice holds nobody up for long, whatever it holds', () => {
  for (const item of ['1', '"a"', '1.5', '-0', '[]', '"\\n"', '12345678901234567890']) {
    const raw = `[${Array(Math.floor(2 ** 20 / (item.length + 1)))
      .fill(item)
      .join(',')}]`;
    const costMs = () => {
      const { user } = process.threadCpuUsage();
      messagePack.invocation('M', [raw]);
      return (process.threadCpuUsage().user - user) / 1000;
    };
    // The first of many that is quick: other work slows any of them down. What this is about took half a second each time.
    const times = [costMs()];
    while (times.at(-1)! >= 150 && times.length < 20) times.push(costMs());
    assert.ok(times.at(-1)! < 150, `${item}: ${times} ms`);
  }
});

test('strings, lists and maps of every length class are read back', () => {
  for (const length of [15, 16, 31, 32, 255, 256, 65_535, 65_536]) {
    const list = Array<number>(length).fill(0);
    for (const value of ['x'.repeat(length), list, { ...list }]) {
      const record = messagePack.invocation('M', [JSON.stringify(value)]);
      assert.deepEqual(messagePack.readRecord(record)?.args, [value]);
    }
  }
});

test('the length prefix: one to five bytes, unknown while it is not whole, a fault when it is none', () => {
  assert.equal(messagePack.recordLength(bytes('35'), 0), 1 + 53);
  assert.equal(messagePack.recordLength(bytes('8029'), 0), 2 + 5248);
  assert.equal(messagePack.recordLength(bytes('ff ff ff ff 07'), 0), 5 + 2 ** 31 - 1);
  assert.equal(messagePack.recordLength(bytes('00 02 91 06'), 1), 3);
  for (const partial of ['', '80', 'ff ff ff ff']) assert.equal(messagePack.recordLength(bytes(partial), 0), undefined);
  for (const broken of ['ff ff ff ff 08', 'ff ff ff ff ff', '80 80 80 80 80 01']) {
    assert.throws(() => messagePack.recordLength(bytes(broken), 0), ProtocolFault);
  }
});

test('an argument deeper than any hub reads is refused', () => {
  assert.throws(() => messagePack.invocation('M', ['['.repeat(600) + ']'.repeat(600)]), RangeError);
});
