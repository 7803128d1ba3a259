// The plot of `crossfade bench`, as characters.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stripVTControlCharacters } from 'node:util';
import { latencyPlot } from '../../src/bench/plot.ts';

test('a column reaches up to P50, lighter up to P99, on an axis of round numbers', () => {
  const slices = [
    { at: 0, p50: 1.5, p99: 9 },
    { at: 1, p50: 1.2, p99: 1.9 },
    { at: 2, p50: 4.9, p99: 90 },
  ];
  assert.deepEqual(latencyPlot(slices).map(stripVTControlCharacters), [
    '  100 ms ┤  ░',
    '   50 ms ┤  ░',
    '   20 ms ┤  ░',
    '   10 ms ┤░ ░',
    '    5 ms ┤░ █',
    '    2 ms ┤███',
    '         └───',
    '          0 3 s',
  ]);
});

test('a run in which nothing came has no plot', () => {
  assert.deepEqual(latencyPlot([]), []);
});
