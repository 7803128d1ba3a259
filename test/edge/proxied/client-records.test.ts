// What a client sends, cut anywhere, in both protocols.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ClientRecords } from '../../../src/edge/proxied/client-records.ts';
import { type Codec, codecs } from '../../../src/edge/proxied/codec.ts';

const large = 70_000;
const sizes = fc.array(fc.oneof(fc.nat(300), fc.integer({ min: large, max: 2 * large })), { maxLength: 6 });
const chunkSizes = fc.array(fc.oneof(fc.integer({ min: 1, max: 400 }), fc.integer({ min: 1, max: 3 * large })), {
  minLength: 1,
});

for (const protocol of ['json', 'messagepack'] as const) {
  test(`${protocol}: every record comes out whole, but no large one`, () => {
    const codec = codecs[protocol];
    fc.assert(
      fc.property(sizes, chunkSizes, (lengths, cuts) => {
        const records = lengths.map((length, i) => codec.invocation('M', [`"${'x'.repeat(length)}"`], String(i)));
        const bytes = Buffer.concat(records);
        const splitter = new ClientRecords(codec, Number.POSITIVE_INFINITY);
        const out: Buffer[] = [];
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const size = cuts[i % cuts.length]!;
          out.push(...splitter.push(bytes.subarray(at, at + size)));
          at += size;
        }
        const small = (record: Buffer) => record.length < large;
        assert.deepEqual(out, records.filter(small));
      }),
      { numRuns: 50 },
    );
  });
}

test('bytes that are no MessagePack end the reading, not the connection', () => {
  const splitter = new ClientRecords(codecs.messagepack, 10);
  assert.deepEqual(splitter.push(Buffer.alloc(6, 0xff)), []);
  assert.deepEqual(splitter.push(codecs.messagepack.invocation('M', [], '0')), []);
});

test('of a chunk with more records than a client sends at once no more are cut', () => {
  const splitter = new ClientRecords(codecs.json, 10);
  assert.equal(splitter.push(Buffer.alloc(16 * 1024 * 1024, 0x1e)).length, 11);
});

test('a large record that comes byte by byte is neither copied nor searched anew for each', (t) => {
  for (const known of [codecs.json, codecs.messagepack]) {
    const record = known.invocation('M', [`"${'x'.repeat(900_000)}"`], '0');
    let searched = 0;
    const recordLength: Codec['recordLength'] = (bytes, at) => {
      searched += bytes.length - at;
      return known.recordLength(bytes, at);
    };
    const concat = t.mock.method(Buffer, 'concat');
    const splitter = new ClientRecords({ ...known, recordLength }, 10);
    const limit = 1024 * 1024;
    splitter.push(record.subarray(0, -2_000), limit);
    for (let at = record.length - 2_000; at < record.length - 1; at++)
      assert.deepEqual(splitter.push(record.subarray(at, at + 1), limit), []);
    assert.deepEqual(splitter.push(record.subarray(-1), limit), [record]);
    assert.ok(concat.mock.callCount() < 50, `${concat.mock.callCount()} copies`);
    assert.ok(searched < 4 * record.length, `${searched} bytes searched`);
    concat.mock.restore();
  }
});
