import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { comparePositions, type Position } from '../../src/log/log.ts';
import { type Held, mergeReady } from '../../src/log/redis/merge.ts';

interface Item {
  position: Position;
}

const position = fc.tuple(fc.nat(6), fc.nat(6)).map(([ms, seq]) => `${ms}-${seq}`);

/** Positions that are unique over all streams, each with the stream that it stands in. */
const log = fc
  .uniqueArray(fc.record({ position, stream: fc.nat(2) }), { selector: (entry) => entry.position, maxLength: 40 })
  .map((entries) => entries.sort((a, b) => comparePositions(a.position, b.position)));

function items(positions: Position[]): Item[] {
  return positions.map((each) => ({ position: each }));
}

test('whatever the counts, merging round by round gives every entry once and in log order', () => {
  fc.assert(
    fc.property(log, fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1 }), (entries, counts) => {
      const unread = [0, 1, 2].map((stream) => entries.filter((entry) => entry.stream === stream));
      const streams: Held<Item>[] = unread.map(() => ({ held: [], readTo: '0-0', complete: true }));
      const out: Item[] = [];
      for (let round = 0; round <= entries.length + 1; round++) {
        const count = counts[round % counts.length]!;
        for (const [index, stream] of streams.entries()) {
          const read = unread[index]!.splice(0, count);
          stream.held = [...stream.held, ...read];
          stream.readTo = read.at(-1)?.position ?? stream.readTo;
          stream.complete = read.length < count;
        }
        const { ready, rest } = mergeReady(streams);
        out.push(...ready);
        for (const [index, stream] of streams.entries()) stream.held = rest[index]!;
      }
      assert.deepEqual(
        out.map((item) => item.position),
        entries.map((entry) => entry.position),
      );
    }),
  );
});

test('what stands above the end of a stream that came back full is held back', () => {
  const { ready, rest } = mergeReady([
    { held: items(['1-0', '3-0']), readTo: '3-0', complete: false },
    { held: items(['2-0', '3-1', '9-0']), readTo: '9-0', complete: true },
  ]);
  assert.deepEqual(ready, items(['1-0', '2-0', '3-0']));
  assert.deepEqual(rest, [[], items(['3-1', '9-0'])]);
});
