// The load generator finds its numbers in whatever a system sends, without parsing it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { callWriter, type Marker, messageJson, readMarkers, typistName } from '../../src/bench/wire.ts';

function markersIn(text: string): Marker[] {
  const markers: Marker[] = [];
  readMarkers(Buffer.from(text), (marker) => markers.push({ ...marker }));
  return markers;
}

test('several messages in one frame are found one by one, in order', () => {
  const frame = [17, 4, 90_210].map((index) => messageJson('a', index, 'id')).join('\x1e');
  assert.deepEqual(markersIn(frame), [
    { kind: 'message', index: 17 },
    { kind: 'message', index: 4 },
    { kind: 'message', index: 90_210 },
  ]);
});

test('a note of typing says whose it is, and whether it is the last one', () => {
  const note = (isTyping: boolean) => JSON.stringify({ requestId: 'r', userId: typistName(3), isTyping });
  assert.deepEqual(markersIn(note(true) + note(false)), [
    { kind: 'typing', typist: 3, isTyping: true },
    { kind: 'typing', typist: 3, isTyping: false },
  ]);
});

test('text without a number, and tildes of others, are nothing', () => {
  assert.deepEqual(markersIn('{"type":6} ~ ~~ ~x5~'), []);
});

test('a call is made of its template and its values', () => {
  const callOf = callWriter({ path: '/pub/{room}', body: messageJson('{room}', '{index}', '{id}') });
  const call = callOf({ room: 'a', index: 17, id: 'x' });
  assert.deepEqual(call, { path: '/pub/a', body: messageJson('a', 17, 'x') });
});
