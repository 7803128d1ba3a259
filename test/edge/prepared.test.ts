// Prepared messages in each of their forms, as the readers of these forms see them.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { frameBody } from '../../src/edge/frame.ts';
import { messagePack } from '../../src/edge/hub-protocol/messagepack.ts';
import { Prepared } from '../../src/edge/prepared.ts';

const json =
  '{"type":1,"target":"M","arguments":[{"n":1.10}]}\x1e' +
  '{"type":1,"target":"N","arguments":["\\ud83d\\ude00é"]}\x1e';

function prepared(): Prepared {
  return new Prepared('r', [
    { method: 'M', payload: '{"n":1.10}', eventId: 'e1' },
    { method: 'N', payload: '"\\ud83d\\ude00é"', eventId: 'e2' },
  ]);
}

test('as JSON the payload keeps its text, bare, in a text frame and in a server-sent event', () => {
  const messages = prepared();
  assert.equal(messages.json.toString(), json);
  assert.equal(frameBody(messages.textFrame).toString(), json);
  assert.equal(messages.textFrame[0], 0x81);
  assert.equal(messages.serverSentEvent.toString(), `data: ${json}\r\n\r\n`);
});

test('as MessagePack the records stand behind each other, bare and in a binary frame', () => {
  const messages = prepared();
  const first = messagePack.recordLength(messages.messagePack, 0)!;
  const second = messages.messagePack.subarray(first);
  assert.deepEqual(messagePack.readRecord(messages.messagePack.subarray(0, first)), {
    type: 1,
    invocationId: undefined,
    target: 'M',
    args: [{ n: 1.1 }],
  });
  assert.deepEqual(messagePack.readRecord(second), {
    type: 1,
    invocationId: undefined,
    target: 'N',
    args: ['\u{1f600}é'],
  });
  assert.equal(messagePack.recordLength(second, 0), second.length);
  assert.deepEqual(frameBody(messages.binaryFrame), messages.messagePack);
  assert.equal(messages.binaryFrame[0], 0x82);
});

test('each form is encoded once for all who ask', () => {
  const messages = prepared();
  for (const form of ['textFrame', 'binaryFrame', 'serverSentEvent'] as const) {
    assert.equal(messages[form], messages[form], form);
  }
});

test('line breaks between JSON tokens do not end the line of a server-sent event', () => {
  const messages = new Prepared('r', [{ method: 'M', payload: '{\r\n  "a":\n"b\\nc" }', eventId: '' }]);
  const lines = messages.serverSentEvent.toString().split('\r\n');
  assert.equal(lines.length, 3);
  const record = lines[0]!.slice('data: '.length, -1);
  assert.deepEqual(JSON.parse(record).arguments, [{ a: 'b\nc' }]);
});

test('what nests too deep for MessagePack does not keep the other records back', () => {
  const deep = '['.repeat(2_000) + ']'.repeat(2_000);
  const messages = new Prepared('r', [
    { method: 'Deep', payload: deep, eventId: '' },
    { method: 'M', payload: '1', eventId: '' },
  ]);
  assert.equal(messagePack.readRecord(messages.messagePack)?.target, 'M');
  assert.ok(messages.json.includes(deep));
});
