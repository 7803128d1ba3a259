// Control notes as another program, or another release, may write them.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Note, readNote, toEntry } from '../../src/cutover/control.ts';
import { initialState, readState } from '../../src/rooms/state.ts';

const state = { ...initialState, epoch: 3, percent: 25, pins: { r: 'stream' as const } };
const notes: Note[] = [
  { kind: 'roll call', id: 'i' },
  { kind: 'here', id: 'i', instance: 'a' },
  { kind: 'announce', id: 'i', from: initialState, to: state },
  { kind: 'ready', id: 'i', instance: 'a', late: ['r'] },
  {
    kind: 'commit',
    id: 'i',
    from: initialState,
    to: state,
    participants: ['a'],
    late: [{ instance: 'a', rooms: ['r'] }],
    endsOutage: true,
  },
  { kind: 'passed', id: 'i', instance: 'a' },
  { kind: 'abandon', id: 'i' },
  { kind: 'late fence', id: 'i', instance: 'a' },
  { kind: 'hub typing', room: 'r', user: 'u' },
  { kind: 'hub typing anywhere', user: 'u' },
  { kind: 'remembered', epoch: 3, instance: 'a' },
  { kind: 'restored', to: state },
];
const read = (value: unknown) => readNote({ payload: JSON.stringify(value) });

test('every note is read as it was written', () => {
  for (const note of notes) assert.deepEqual(readNote(toEntry(note)), note);
});

test('a note without one of its fields, or with another type there, is refused in one line', () => {
  for (const note of notes) {
    for (const field of Object.keys(note)) {
      for (const wrong of [undefined, null, 7, { a: 1 }, [null], true]) {
        if ((field === 'epoch' && wrong === 7) || (field === 'endsOutage' && wrong === true)) continue;
        assert.throws(
          () => read({ ...note, [field]: wrong }),
          ({ message }: Error) => !message.includes('\n'),
          `${note.kind} ${field} ${wrong}`,
        );
      }
    }
  }
});

test('a kind that another release has added is passed over, and so is a field', () => {
  assert.equal(read({ kind: 'of another release', id: 1 }), undefined);
  assert.equal(read({ kind: 'toString' }), undefined);
  assert.deepEqual(read({ kind: 'abandon', id: 'i', why: 'news' }), { kind: 'abandon', id: 'i' });
});

test('a state of another release is read: what is missing has its initial value, what is new is kept', () => {
  assert.deepEqual(readState('{"epoch":1,"percent":5}'), { ...initialState, epoch: 1, percent: 5 });
  assert.deepEqual(readState(JSON.stringify({ ...state, plan: 'p' })), { ...state, plan: 'p' });
});

test('a state with a field of another type is refused', () => {
  const nullable = ['hold', 'hubs'];
  for (const field of Object.keys(initialState)) {
    for (const wrong of [...(nullable.includes(field) ? [] : [null]), 'x', { a: 1 }, [7]]) {
      assert.throws(() => readState(JSON.stringify({ ...state, [field]: wrong })), Error, `${field} ${wrong}`);
    }
  }
  for (const percent of [-1, 101, 0.5]) assert.throws(() => readState(JSON.stringify({ ...state, percent })));
});

test('whatever JSON or text stands there, a note or a state comes out, or an error', () => {
  const almost = fc.oneof(...notes.map((note) => fc.record(withAnyFields(note), { requiredKeys: ['kind'] })));
  fc.assert(
    fc.property(
      fc.oneof(
        fc.json(),
        fc.string(),
        almost.map((note) => JSON.stringify(note)),
      ),
      (payload) => {
        for (const each of [() => readNote({ payload }), () => readState(payload)]) {
          try {
            const value = each();
            assert.ok(value === undefined || typeof value === 'object');
          } catch (error) {
            assert.ok(error instanceof Error);
          }
        }
      },
    ),
    { seed: 4, numRuns: 2_000 },
  );
});

/** Each field is as it should be, or any JSON value. */
function withAnyFields(note: Note) {
  const entries = Object.entries(note).map(([name, value]) => {
    return [name, name === 'kind' ? fc.constant(value) : fc.oneof(fc.constant(value), fc.jsonValue())];
  });
  return Object.fromEntries(entries) as Record<string, fc.Arbitrary<unknown>>;
}
