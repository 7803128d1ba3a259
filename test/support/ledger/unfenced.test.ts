// The recomputed set against a detour made by hand: replica x loses the log for a while, y keeps it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Note } from '../../../src/cutover/control.ts';
import { initialState } from '../../../src/cutover/state.ts';
import { controlStream, type Entry } from '../../../src/log/log.ts';
import type { MadeCall } from './owed.ts';
import { compareUnfenced, type Observed } from './unfenced.ts';
import type { Passed } from './wire.ts';

const bounds = { publishTimeoutMs: 100, lagMs: 5, heldMs: 50 };
const from = { ...initialState, epoch: 1 };

/** Event -> when its call ran, through which replica, and where it stands in the log (0: it went by the bridge). */
const calls: Record<string, { through: string; startedAt: number; answeredAt: number; place: number }> = {
  before: { through: 'y', startedAt: 100, answeredAt: 110, place: 2 },
  first: { through: 'x', startedAt: 200, answeredAt: 400, place: 0 },
  meanwhile: { through: 'y', startedAt: 410, answeredAt: 420, place: 3 },
  second: { through: 'x', startedAt: 430, answeredAt: 440, place: 0 },
  late: { through: 'y', startedAt: 450, answeredAt: 460, place: 4 },
  held: { through: 'x', startedAt: 490, answeredAt: 505, place: 6 },
  after: { through: 'x', startedAt: 510, answeredAt: 520, place: 7 },
};

const commit: Note = {
  kind: 'commit',
  id: 'c',
  from,
  to: { ...from, epoch: 2, percent: 100 },
  participants: [],
  late: [],
};
const fence: Note = { kind: 'fence', id: 'f', rooms: ['r'] };

function passedNote(note: Note, place: number, at: number, instance: string) {
  const entry = { stream: controlStream, position: `1-${place}`, instance } as Entry;
  return { entry, note, times: [at] };
}

interface Change {
  /** Where a fence stands that its replica has read too late. */
  vainFence?: number;
  heldMs?: number;
  /** Event -> when a replica read it, instead of at its call's end. */
  readAt?: Record<string, number>;
  typing?: string;
}

function compare(
  counted: { x: Record<string, string>; y: Record<string, string> },
  { readAt = {}, typing, heldMs = bounds.heldMs, vainFence }: Change = {},
) {
  const made = Object.entries(calls).map(([eventId, { through, startedAt, answeredAt }]): MadeCall => {
    const kind = eventId === typing ? { typing: { user: 'u', isTyping: true } } : {};
    const call = { eventId, room: 'r', path: '', body: {}, shows: [], ...kind };
    return { call, address: through, startedAt, answeredAt, accepted: true };
  });
  const events = Object.entries(calls).flatMap(([eventId, { through, answeredAt, place }]): [string, Passed][] => {
    const entry = { eventId, room: 'r', position: `1-${place}`, instance: through } as Entry;
    return place === 0 ? [] : [[eventId, { entry, times: [readAt[eventId] ?? answeredAt] }]];
  });
  const vain = vainFence === undefined ? [] : [passedNote(fence, vainFence, 425, 'x')];
  const notes = [passedNote(commit, 1, 0, 'x'), ...vain, passedNote(fence, 5, 500, 'x')];
  const observed = Object.entries(counted).map(([instance, of]): Observed => {
    return { instance, listen: instance, wire: { events: new Map(events), notes }, counted: Object.entries(of) };
  });
  return compareUnfenced(new Map([['r', made]]), observed, { ...bounds, heldMs });
}

const right = {
  x: { meanwhile: 'other_replica', late: 'other_replica' },
  y: { meanwhile: 'unread', late: 'unread' },
};

test('what is read between the first call by the bridge and the fence is counted, on every replica', () => {
  assert.deepEqual(compare(right), []);
});

test('what is not counted is a difference, whichever replica it is', () => {
  const { late: _, ...short } = right.y;
  assert.deepEqual(compare({ ...right, y: short }), [
    'y has counted meanwhile and not late, with no fence in between',
    'y has not counted late',
  ]);
});

test('what was read before, or stands behind the fence, must not be counted', () => {
  assert.deepEqual(compare({ ...right, x: { before: 'other_replica', ...right.x } }), [
    'x has counted before as other_replica',
  ]);
  assert.deepEqual(compare({ ...right, x: { ...right.x, after: 'unread' } }), ['x has counted after as unread']);
});

test('what was acknowledged before, but read late, is counted', () => {
  const readLate = { readAt: { before: 470 } };
  assert.deepEqual(compare(right, readLate), ['x has not counted before', 'y has not counted before']);
  const counted = { x: { before: 'other_replica', ...right.x }, y: { before: 'unread', ...right.y } };
  assert.deepEqual(compare(counted, readLate), []);
});

test('what is read during the first call may be counted; once that has begun, it goes on until the fence', () => {
  const during = { readAt: { before: 250, meanwhile: 260 } };
  assert.deepEqual(compare(right, during), []);
  const begun = { ...right, x: { before: 'other_replica', ...right.x } };
  assert.deepEqual(compare(begun, during), []);
  const { meanwhile: _, ...stopped } = begun.x;
  assert.deepEqual(compare({ ...right, x: stopped }, during), [
    'x has counted before and not meanwhile, with no fence in between',
  ]);
});

test('what was read, but may have waited for the fence of a handover, may be counted as unread', () => {
  const counted = { ...right, x: { before: 'unread', ...right.x } };
  assert.deepEqual(compare(counted, { heldMs: 250 }), []);
  assert.deepEqual(compare(counted, { heldMs: 150 }), ['x has counted before as unread']);
});

test('a fence that its replica has read too late ends nothing', () => {
  assert.deepEqual(compare(right, { vainFence: 3.5 }), []);
});

test('stale typing is not shown, and need not be counted', () => {
  const { meanwhile: _, ...short } = right.x;
  assert.deepEqual(compare({ ...right, x: short }, { typing: 'meanwhile' }), []);
});

test('a wrong reason, an event that nobody read and one that is counted twice are differences', () => {
  const wrong = { ...right, x: { ...right.x, late: 'unread', 'from nowhere': 'unread' } };
  assert.deepEqual(compare(wrong), ['x has counted from nowhere too often', 'x has counted late as unread']);
});
