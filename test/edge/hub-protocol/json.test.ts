// The JSON hub protocol, fed with literal records, whole and byte by byte.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import * as protocol from '../../../src/edge/hub-protocol/json.ts';
import { ProtocolFault } from '../../../src/edge/hub-protocol/protocol.ts';

const mebibyte = 1024 * 1024;
const all = Number.POSITIVE_INFINITY;

test('records come out whole, wherever the bytes were cut', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: 'binary' })), fc.array(fc.nat(40)), (texts, cuts) => {
      const records = texts.map((text) => text.replaceAll('\x1e', ''));
      const bytes = Buffer.from(records.map((record) => `${record}\x1e`).join(''));
      const splitter = new protocol.JsonSplitter(mebibyte);
      const out: Buffer[] = [];
      let at = 0;
      for (const cut of cuts) {
        out.push(...splitter.push(bytes.subarray(at, at + cut), all));
        at += cut;
      }
      for (const byte of bytes.subarray(at)) out.push(...splitter.push(Buffer.from([byte]), all));
      assert.deepEqual(
        out,
        records.map((record) => Buffer.from(record)),
      );
    }),
  );
});

test('a record of exactly the limit passes, one byte more does not, and several in one chunk count each for itself', () => {
  const record = (bytes: number) => Buffer.from(`${'x'.repeat(bytes - 1)}\x1e`);
  const splitter = new protocol.JsonSplitter(100);
  assert.equal(splitter.push(Buffer.concat([record(100), record(100), record(100)]), all).length, 3);
  assert.throws(() => new protocol.JsonSplitter(100).push(record(101), all), ProtocolFault);
  assert.throws(() => new protocol.JsonSplitter(100).push(Buffer.alloc(100, 'x'), all), ProtocolFault);
});

test('an invocation keeps its arguments’ JSON text, and its members may stand in any order', () => {
  const message = protocol.readMessage(
    '{ "target":"Foo", "arguments":[1.10, {"a" : -0.0,"a":1e3}, null], "headers":{"x":"y"}, "type":1 }',
  );
  assert.deepEqual(message, {
    kind: 'invocation',
    invocationId: undefined,
    target: 'Foo',
    args: ['1.10', '{"a":-0.0,"a":1e3}', 'null'],
    streaming: false,
  });
});

test('what asks nothing is ignored, what breaks the protocol is a fault', () => {
  for (const type of [2, 3, 5, 8, 9, 42])
    assert.deepEqual(protocol.readMessage(`{"type":${type}}`), { kind: 'ignored' });
  assert.deepEqual(protocol.readMessage('{"type":6}'), { kind: 'ping' });
  assert.deepEqual(protocol.readMessage('{"type":7,"error":"x"}'), { kind: 'close' });
  for (const broken of [
    'not json',
    '[]',
    '{}',
    '{"type":"1"}',
    '{"type":1,"arguments":[]}',
    '{"type":1,"target":"x"}',
    '{"type":1,"target":"x","arguments":{}}',
    '{"type":1,"invocationId":null,"target":"x","arguments":[]}',
    '{"type":4,"target":"x","arguments":[]}',
  ]) {
    assert.throws(() => protocol.readMessage(broken), ProtocolFault, broken);
  }
});

test('what is written is what ASP.NET writes', () => {
  assert.equal(protocol.invocation('M', ['{"a":1}']), '{"type":1,"target":"M","arguments":[{"a":1}]}\x1e');
  assert.equal(
    protocol.invocation('M', [], 'a"b'),
    '{"type":1,"invocationId":"a\\"b","target":"M","arguments":[]}\x1e',
  );
  assert.equal(protocol.completion('0'), '{"type":3,"invocationId":"0","result":null}\x1e');
  assert.equal(protocol.failedCompletion('0', 'no'), '{"type":3,"invocationId":"0","error":"no"}\x1e');
  assert.equal(protocol.close(), '{"type":7}\x1e');
  assert.equal(protocol.close({ allowReconnect: true }), '{"type":7,"allowReconnect":true}\x1e');
});

test('what passes by is read as far as a tap needs it', () => {
  const read = (record: string) => protocol.readRecord(Buffer.from(`${record}\x1e`));
  assert.deepEqual(read('{"target":"M","arguments":[1.10,null],"invocationId":"0","type":1}'), {
    type: 1,
    invocationId: '0',
    target: 'M',
    args: [1.1, null],
  });
  assert.deepEqual(read('{"type":3,"invocationId":"0","result":null}'), { type: 3, invocationId: '0', failed: false });
  assert.deepEqual(read('{"type":3,"invocationId":"0","error":"no"}'), { type: 3, invocationId: '0', failed: true });
  assert.deepEqual(read('{"type":6}'), { type: 6, invocationId: undefined });
  for (const broken of ['', 'no json', 'null', '[]', '{}', '{"type":"1"}'])
    assert.equal(read(broken), undefined, broken);
  assert.deepEqual(read('{"type":1,"target":1,"arguments":[]}'), { type: 1, invocationId: undefined });
});

test('a record’s length is known once its separator is there', () => {
  const bytes = Buffer.from('{}\x1e{"type":6}\x1e{"ty');
  assert.equal(protocol.recordLength(bytes, 0), 3);
  assert.equal(protocol.recordLength(bytes, 3), 11);
  assert.equal(protocol.recordLength(bytes, 14), undefined);
});
