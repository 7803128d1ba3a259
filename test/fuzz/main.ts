// `npm run fuzz -- --minutes N --seed S [--only <begin of a slice>] [--path P]`: a line of progress a slice, then counts by slice, the
// longest stall, and exit code 1 with the input on a find.

import { parseArgs } from 'node:util';
import { createRunner, type Find, type Report } from './run.ts';
import { slices } from './slices.ts';

const maxStallMs = 50;
const sliceSeconds = 30;

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000_000) },
    only: { type: 'string' },
    path: { type: 'string' },
  },
});
const seed = Number(values.seed);
const limitSeconds = Number(values.minutes) * 60;
const chosen = slices.filter(({ name }) => values.only === undefined || name.startsWith(values.only));
if (chosen.length === 0 || !Number.isSafeInteger(seed) || !(limitSeconds > 0)) {
  console.error(
    `usage: npm run fuzz -- [--minutes N] [--seed S] [--only <${slices.map(({ name }) => name).join('|')}>]`,
  );
  process.exit(2);
}

console.log(`seed ${seed}`);
const runner = createRunner({ maxStallMs });
const totals = new Map<string, Report>();
const begun = performance.now();
const elapsed = () => (performance.now() - begun) / 1000;
let find: Find | undefined;
try {
  // Each slice has seeds of its own, so that another length of the run changes none of them.
  for (let round = 0; find === undefined && elapsed() < limitSeconds; round++) {
    for (const [index, slice] of chosen.entries()) {
      const left = limitSeconds - elapsed();
      if (left <= 0) break;
      const seconds = Math.min(sliceSeconds, left, Math.max(2, limitSeconds / chosen.length));
      const sliceSeed = values.path === undefined ? seed + 1_000_000 * index + 10_000 * round : seed;
      const report =
        values.path === undefined
          ? await runner.run(slice, seconds, sliceSeed)
          : await runner.replay(slice, seed, values.path);
      console.log(`${elapsed().toFixed(0).padStart(5)} s  ${slice.name}: ${line(report)}`);
      totals.set(slice.name, sum(totals.get(slice.name), report));
      find = report.find;
      if (find !== undefined) break;
    }
    if (values.path !== undefined) break;
  }
} finally {
  await runner.close();
}

console.log(`\nin sum, seed ${seed}:`);
for (const [name, report] of totals) {
  console.log(`  ${name}: ${line(report)}`);
  for (const fault of report.faults) console.log(`    caught: ${fault}`);
}
const all = [...totals.values()];
const longest = Math.max(0, ...all.map(({ longestStallMs }) => longestStallMs));
console.log(
  `  ${all.reduce((inputs, report) => inputs + report.inputs, 0)} inputs, longest stall ${longest.toFixed(0)} ms of CPU`,
);
if (find !== undefined) {
  console.error(`\nFOUND in ${find.slice}: ${find.what}`);
  if (find.input !== undefined) {
    console.error(
      `again: npm run fuzz -- --only '${find.slice}' --seed ${find.seed} --path ${find.path}\ninput: ${find.input}`,
    );
  }
  process.exitCode = 1;
}

function line({ inputs, seconds, longestStallMs, longestWallStallMs, settledMs }: Report): string {
  return (
    `${inputs} inputs in ${seconds.toFixed(0)} s, longest stall ${longestStallMs.toFixed(0)} ms of CPU ` +
    `(${longestWallStallMs.toFixed(0)} ms on the wall), back to where it was after ${(settledMs / 1000).toFixed(1)} s`
  );
}

function sum(before: Report | undefined, report: Report): Report {
  if (before === undefined) return report;
  return {
    inputs: before.inputs + report.inputs,
    seconds: before.seconds + report.seconds,
    longestStallMs: Math.max(before.longestStallMs, report.longestStallMs),
    longestWallStallMs: Math.max(before.longestWallStallMs, report.longestWallStallMs),
    settledMs: Math.max(before.settledMs, report.settledMs),
    faults: [...new Set([...before.faults, ...report.faults])].slice(0, 50),
  };
}
