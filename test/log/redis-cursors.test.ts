// A log that was replaced by an older one, as the reader's cursors see it: nothing that was read of the old one stays behind, nothing
// of the new one is passed over, and what is history in one stream says nothing of the others.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Entry } from '../../src/log/log.ts';
import type { RawEntry } from '../../src/log/redis/cursor.ts';
import { Cursors } from '../../src/log/redis/cursors.ts';

const tail = (lastId: string) => ({ lastId, topId: lastId, added: 0, length: 0, hasGroup: true });
const publishedAt = (ms: number) => new Date(ms).toISOString();

function raw(position: string, publishedAtMs = 0): RawEntry {
  const fields = { event_type: 'x', room_id: 'r', payload: `"${position}"`, timestamp: publishedAt(publishedAtMs) };
  return [position, Object.entries(fields).flat()];
}

/** What each stream has is read, at most `count` entries of each at a time, until all of it is handed out. */
function readAll(cursors: Cursors, streams: Record<string, RawEntry[]>, count: number): Entry[] {
  const out: Entry[] = [];
  for (let turn = 0; !cursors.isDrained; turn++) {
    assert.ok(turn < 1_000, `${out.length} were handed out, and no more come`);
    const wanted = cursors.all.filter((cursor) => cursor.held.length < count);
    const replies = wanted.flatMap(({ stream }): [string, RawEntry[]][] => {
      const read = streams[stream]!.splice(0, count);
      return read.length === 0 ? [] : [[stream, read]];
    });
    for (const [stream, entries] of replies) cursors.take(stream, entries);
    cursors.noteRead(wanted, count, replies);
    out.push(...(cursors.takeBatch()?.entries ?? []));
  }
  return out;
}

/** `chat` came back full at 5-0, so that what was read of `ticket` behind that is held. */
function heldUp(): Cursors {
  const cursors = new Cursors(['chat', 'ticket'], [tail('1-0'), tail('1-0')]);
  const replies: [string, RawEntry[]][] = [
    ['chat', [raw('4-0'), raw('5-0')]],
    ['ticket', [raw('8-0')]],
  ];
  for (const [stream, entries] of replies) cursors.take(stream, entries);
  cursors.noteRead([...cursors.all], 2, replies);
  assert.deepEqual(
    cursors.takeBatch()?.entries.map(({ position }) => position),
    ['4-0', '5-0'],
  );
  return cursors;
}

test('what was held of a stream whose log was replaced is handed out first, and then all of the new one', () => {
  const cursors = heldUp();
  cursors.restart(cursors.all[1]!, 0);
  const ticket = Array.from({ length: 1_000 }, (_, number) => raw(`2-${number}`));
  const entries = readAll(cursors, { chat: [raw('6-0')], ticket: [...ticket] }, 32);
  assert.deepEqual(
    entries.map(({ position }) => position),
    ['8-0', ...ticket.map(([position]) => position), '6-0'],
  );
});

test('history is what a replaced stream has from before, and nothing that was not read yet of another one', () => {
  const cursors = heldUp();
  cursors.restart(cursors.all[1]!, 5_000);
  const unread = { chat: [raw('6-0', 1_000)], ticket: [raw('2-0', 1_000), raw('2-1', 6_000)] };
  const isHistory = (entries: Entry[]) => entries.map((each) => [each.position, each.isHistory ?? false]);
  assert.deepEqual(isHistory(readAll(cursors, unread, 32)), [
    ['8-0', false],
    ['2-0', true],
    ['2-1', false],
    ['6-0', false],
  ]);
  cursors.all[1]!.complete = false;
  assert.deepEqual(isHistory(readAll(cursors, { chat: [], ticket: [raw('3-0', 1_000)] }, 32)), [['3-0', false]]);
});
