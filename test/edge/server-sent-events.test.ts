// Server-sent events out of bytes that are cut anywhere.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventSplitter, eventOf } from '../../src/edge/server-sent-events.ts';

const stream =
  ':\r\ndata: {}\x1e\r\n\r\n: a note\r\n\r\ndata: a\r\ndata: b\r\n\r\nid: 7\r\ndata: é\r\n\r\nevent: none\r\n\r\n';
const expected = [':', undefined, '{}\x1e', undefined, 'a\nb', 'é', undefined].slice(1);

function split(chunks: Buffer[]): { data: (string | undefined)[]; raw: string; rest: string } {
  const splitter = new EventSplitter();
  const parts = chunks.flatMap((chunk) => splitter.push(chunk));
  return {
    data: parts.map(({ data }) => data?.toString()),
    raw: Buffer.concat(parts.map(({ raw }) => raw)).toString(),
    rest: splitter.rest.toString(),
  };
}

test('a stream is the same events wherever it is cut in two, and byte by byte', () => {
  const bytes = Buffer.from(stream);
  const whole = split([bytes]);
  assert.equal(whole.raw, stream);
  assert.deepEqual(
    whole.data.filter((data) => data !== undefined),
    expected.filter((data) => data !== undefined),
  );
  for (let at = 1; at < bytes.length; at++) assert.deepEqual(split([bytes.subarray(0, at), bytes.subarray(at)]), whole);
  assert.deepEqual(split(Array.from(bytes, (byte) => Buffer.from([byte]))), whole);
});

test('an event is given out when it is whole, a comment when its line is', () => {
  const splitter = new EventSplitter();
  assert.deepEqual(splitter.push(Buffer.from(':\r')), []);
  assert.equal(splitter.push(Buffer.from('\nda')).length, 1);
  assert.deepEqual(splitter.push(Buffer.from('ta: x\r\n\r')), []);
  assert.equal(splitter.pendingBytes, 10);
  assert.equal(splitter.rest.toString(), 'data: x\r\n\r');
  assert.equal(splitter.push(Buffer.from('\n'))[0]!.data!.toString(), 'x');
  assert.equal(splitter.pendingBytes, 0);
});

test('data with line breaks is written in as many data lines', () => {
  assert.equal(eventOf(Buffer.from('a\nb\r\nc')).toString(), 'data: a\r\ndata: b\r\ndata: c\r\n\r\n');
});

test('a large event in many chunks takes no time to speak of', () => {
  const splitter = new EventSplitter();
  const chunk = Buffer.alloc(64 * 1024, 'x');
  splitter.push(Buffer.from('data: '));
  const startedAt = performance.now();
  for (let i = 0; i < 1_000; i++) splitter.push(chunk);
  assert.equal(splitter.push(Buffer.from('\r\n\r\n'))[0]!.data!.length, 1_000 * chunk.length);
  assert.ok(performance.now() - startedAt < 2_000);
});
