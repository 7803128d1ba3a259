// What MessagePack clients send to native hubs: literal bytes, the library's own writer, and what a client may make of them. What ASP.NET does
// with each was seen at the reference bridge.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encode } from '@msgpack/msgpack';
import fc from 'fast-check';
import { MessagePackSplitter, messagePack } from '../../../src/edge/hub-protocol/messagepack.ts';
import { ProtocolFault } from '../../../src/edge/hub-protocol/protocol.ts';

const bytes = (hex: string) => Buffer.from(hex.replaceAll(' ', ''), 'hex');
const all = Number.POSITIVE_INFINITY;
const read = (value: unknown) => messagePack.readMessage(Buffer.from(encode(value, { maxDepth: 1_000 })));

/** The JSON text of an argument, given as MessagePack in hex; undefined where it fails its invocation. */
function jsonOf(hex: string): string | undefined {
  const message = messagePack.readMessage(Buffer.concat([bytes('96 01 80 c0 a1 4d 91'), bytes(hex), bytes('90')]));
  assert.equal(message.kind, 'invocation');
  return message.kind === 'invocation' ? message.args?.[0] : undefined;
}

test('invocations, pings and closes are understood as the clients write them, everything else is passed over', () => {
  const invocation = { kind: 'invocation', invocationId: '1', target: 'M', args: ['1'], streaming: false };
  assert.deepEqual(read([1, {}, '1', 'M', [1]]), invocation);
  assert.deepEqual(read([1, { a: 'b' }, '1', 'M', [1], [], 'more']), invocation);
  assert.deepEqual(read([4, {}, '1', 'M', [1], []]), { ...invocation, streaming: true });
  for (const none of [null, '']) {
    assert.deepEqual(read([1, {}, none, 'M', [1], []]), { ...invocation, invocationId: undefined });
  }
  assert.deepEqual(read([6]), { kind: 'ping' });
  for (const close of [
    [7, null],
    [7, 'x', true],
  ]) {
    assert.deepEqual(read(close), { kind: 'close' });
  }
  for (const ignored of [[99], [2, {}, '1', 1], [3, {}, '1', 2], [5, {}, '1'], [8, 1], [9, 1]]) {
    assert.deepEqual(read(ignored), { kind: 'ignored' });
  }
});

test('what breaks the protocol ends the connection', () => {
  for (const broken of [
    [],
    { a: 1 },
    'x',
    null,
    ['1'],
    [1],
    [1, null, '1', 'M', [], []],
    [1, { a: 1 }, '1', 'M', [], []],
    [1, { a: null }, '1', 'M', [], []],
    [1, {}, 7, 'M', [], []],
    [1, {}, '1', null, [], []],
    [1, {}, '1', '', [], []],
    [4, {}, null, 'M', [], []],
  ]) {
    assert.throws(() => read(broken), ProtocolFault, JSON.stringify(broken));
  }
  assert.throws(() => messagePack.readMessage(Buffer.alloc(0)), ProtocolFault);
});

test('what is wrong with the arguments fails the invocation alone', () => {
  let deep: unknown = 1;
  for (let depth = 0; depth < 70; depth++) deep = [deep];
  for (const args of [[deep], [Number.NaN], [Number.POSITIVE_INFINITY], 'x', null, new Uint8Array(2)]) {
    const message = read([1, {}, '1', 'M', args, []]);
    assert.equal(message.kind === 'invocation' && message.args, undefined);
  }
  assert.equal((read([1, {}, '1', 'M']) as { args?: unknown }).args, undefined);
  // A string, a list, bytes that are longer by their header than the record is.
  for (const hex of [
    'db ff ff ff ff',
    'dd ff ff ff ff',
    'c6 ff ff ff ff 00',
    'df ff ff ff ff',
    'c1',
    'd4 01 00',
    'ca',
  ]) {
    assert.equal(jsonOf(hex), undefined, hex);
  }
});

test('values become the JSON that a hub would get: 64 bits, names in their order, repeats, times and bytes', () => {
  const cases: [hex: string, json: string][] = [
    ['c0', 'null'],
    ['c2', 'false'],
    ['c3', 'true'],
    ['7f', '127'],
    ['e0', '-32'],
    ['cc ff', '255'],
    ['cd ff ff', '65535'],
    ['ce ff ff ff ff', '4294967295'],
    ['cf ff ff ff ff ff ff ff ff', '18446744073709551615'],
    ['d0 80', '-128'],
    ['d1 80 00', '-32768'],
    ['d2 80 00 00 00', '-2147483648'],
    ['d3 80 00 00 00 00 00 00 00', '-9223372036854775808'],
    ['ca 3f c0 00 00', '1.5'],
    ['cb 3f f8 00 00 00 00 00 00', '1.5'],
    ['cb 80 00 00 00 00 00 00 00', '-0'],
    ['cb 54 b2 49 ad 25 94 c3 7d', '1e+100'],
    ['a2 c3 a9', '"é"'],
    ['d9 01 22', '"\\""'],
    ['a3 5c 0a 1f', '"\\\\\\u000a\\u001f"'],
    ['da 00 01 ff', '"\ufffd"'],
    ['c4 03 00 01 02', '"AAEC"'],
    ['92 01 90', '[1,[]]'],
    ['dc 00 01 80', '[{}]'],
    ['84 a1 62 01 a1 31 02 a9 5f 5f 70 72 6f 74 6f 5f 5f 03 a1 62 04', '{"b":1,"1":2,"__proto__":3,"b":4}'],
    ['82 07 01 ff 02', '{"7":1,"-1":2}'],
    ['d6 ff 00 00 00 00', '"1970-01-01T00:00:00.0000000Z"'],
    ['d7 ff 00 00 03 20 00 00 00 01', '"1970-01-01T00:00:01.0000002Z"'],
  ];
  for (const [hex, json] of cases) assert.equal(jsonOf(hex), json, hex);
});

test('any JSON value that a client sends is the same value for the others', () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 6 }), (text) => {
      const value = JSON.parse(text);
      const message = read([1, {}, '1', 'M', [value], []]);
      assert(message.kind === 'invocation');
      assert.deepEqual(JSON.parse(message.args![0]!), JSON.parse(JSON.stringify(value)));
    }),
  );
});

test('a value whose JSON is larger than a record may be is read no further, and fails its invocation', () => {
  const filled = (count: number) => read([1, {}, '1', 'M', [Array(count).fill(null)], []]);
  const message = filled(200_000);
  assert.equal(message.kind === 'invocation' && message.args![0]!.length, 1_000_001);
  assert.equal((filled(1_000_000) as { args?: unknown }).args, undefined);
});

test('records come out whole, wherever the bytes were cut', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 300 })), fc.array(fc.nat(40)), (bodies, cuts) => {
      const records = bodies.map((body) => Buffer.concat([prefix(body.length), body]));
      const stream = Buffer.concat(records);
      const splitter = new MessagePackSplitter(1_000);
      const out: Buffer[] = [];
      let at = 0;
      for (const cut of cuts) {
        out.push(...splitter.push(stream.subarray(at, at + cut), all));
        at += cut;
      }
      for (const byte of stream.subarray(at)) out.push(...splitter.push(Buffer.from([byte]), all));
      assert.deepEqual(
        out,
        bodies.map((body) => Buffer.from(body)),
      );
    }),
  );
});

function prefix(length: number): Buffer {
  return length < 0x80 ? Buffer.from([length]) : Buffer.from([(length & 0x7f) | 0x80, length >> 7]);
}

test('a record of exactly the limit passes, one byte more does not, and no more are cut than are asked for', () => {
  const record = (length: number) => Buffer.concat([Buffer.from([length - 1]), Buffer.alloc(length - 1)]);
  const splitter = new MessagePackSplitter(100);
  assert.equal(splitter.push(Buffer.concat([record(100), record(100)]), all).length, 2);
  assert.throws(() => new MessagePackSplitter(100).push(record(101).subarray(0, 1), all), ProtocolFault);
  assert.equal(new MessagePackSplitter(100).push(Buffer.alloc(1_000), 5).length, 6);
});

test('answers are those of .NET, byte by byte', () => {
  assert.equal(messagePack.completion('0').toString('hex'), '07950380a13003c0');
  assert.equal(messagePack.failedCompletion('0', 'x').toString('hex'), '08950380a13001a178');
  assert.equal(messagePack.close().toString('hex'), '049307c0c2');
  assert.equal(messagePack.close({ allowReconnect: true }).toString('hex'), '049307c0c3');
  assert.equal(messagePack.close({ error: 'x' }).toString('hex'), '059307a178c2');
  assert.equal(messagePack.ping.toString('hex'), '029106');
});
