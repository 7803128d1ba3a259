// docs/benchmarks/: in come new results, out go results.json (with what was measured before of other workloads and systems), a picture of
// each workload, and the tables of README.md.

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { workloadSvg } from './plot-svg.ts';
import { type Result, tableText } from './report.ts';
import { workloads } from './workloads.ts';

const folder = fileURLToPath(new URL('../docs/benchmarks/', import.meta.url));
const page = `${folder}README.md`;
const kept = `${folder}results.json`;

export function writePages(fresh: Result[]): void {
  const before: Result[] = existsSync(kept) ? JSON.parse(readFileSync(kept, 'utf8')) : [];
  const isFresh = (old: Result) =>
    fresh.some(({ workload, system }) => workload === old.workload && system === old.system);
  const results = [...before.filter((old) => !isFresh(old)), ...fresh];
  writeFileSync(kept, `${JSON.stringify(results, null, 2)}\n`);
  for (const { name, title } of workloads) {
    const own = results.filter(({ workload }) => workload === name);
    if (own.length > 0) writeFileSync(`${folder}${name}.svg`, workloadSvg(title, own));
  }
  const place = /(<!-- tables -->\n)[\s\S]*?(<!-- \/tables -->)/;
  const text = readFileSync(page, 'utf8');
  writeFileSync(
    page,
    text.replace(place, (_, start: string, end: string) => `${start}${tableText(results)}\n${end}`),
  );
}
