// A plot of latency over time in characters: in come slices of a run, out go lines for a terminal. A column is a slice; its full block
// reaches up to P50, its light one up to P99. A row is a step of 1, 2, 5, 10, …, so that a spike does not flatten the rest.

import { styleText } from 'node:util';
import type { Slice } from './ledger.ts';

const labelWidth = 8;
/** ms; rows of the plot end at two of them. */
const steps = [0.1, 1, 10, 100, 1_000, 10_000, 100_000].flatMap((power) => [power, 2 * power, 5 * power]);

/** @returns no line where there is nothing to plot */
export function latencyPlot(slices: Slice[]): string[] {
  if (slices.length === 0) return [];
  const lowest = Math.min(...slices.map(({ p50 }) => p50));
  const highest = Math.max(...slices.map(({ p99 }) => p99));
  const first = Math.max(
    0,
    steps.findLastIndex((step) => step < lowest),
  );
  const last = steps.findIndex((step) => step >= highest);
  const rows = Array.from({ length: last - first }, (_, n) => last - n);
  const lines = rows.map((row) => {
    const cells = slices.map(({ p50, p99 }) => cellOf(p50, p99, row, row === first + 1));
    return `${latencyText(steps[row]!).padStart(labelWidth)} ┤${cells.join('')}`;
  });
  const sliceSeconds = (slices.at(-1)!.at - slices[0]!.at) / Math.max(1, slices.length - 1);
  const end = `${Math.round(slices.at(-1)!.at + sliceSeconds)} s`;
  return [
    ...lines,
    `${' '.repeat(labelWidth)} └${'─'.repeat(slices.length)}`,
    `${' '.repeat(labelWidth + 2)}0${end.padStart(Math.max(slices.length - 1, end.length + 1))}`,
  ];
}

/** Full from half of a row's height on; the lowest row always, as no latency is nothing. */
function cellOf(p50: number, p99: number, row: number, isLowest: boolean): string {
  const half = Math.sqrt(steps[row]! * steps[row - 1]!);
  if (p50 >= half || isLowest) return styleText('cyan', '█');
  return p99 >= half ? styleText('dim', '░') : ' ';
}

/** ms as people read it. */
export function latencyText(ms: number): string {
  if (ms >= 100 || Number.isInteger(ms)) return `${Math.round(ms)} ms`;
  return `${ms.toFixed(ms >= 10 ? 1 : 2)} ms`;
}
