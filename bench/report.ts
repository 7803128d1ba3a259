// What the comparison tells: in come the samples of each system under each workload, out go medians, and of these one Markdown table with
// ratios. What was measured is kept as JSON beside it, so that workloads can be measured one at a time.

import type { Measured } from '../src/bench/crowd.ts';
import type { Sample } from './measure.ts';
import { systems } from './systems.ts';
import { workloads } from './workloads.ts';

/** One system under one workload: medians over the rounds, in ms and µs; null where there is nothing to measure. */
export interface Result {
  workload: string;
  system: string;
  rounds: number;
  seconds: number;
  publishMs: { p50: number; p99: number } | null;
  endToEndMs: { p50: number; p95: number; p99: number } | null;
  /** µs per delivery by process; per call where nobody is shown anything. */
  cpuUs: Record<string, number>;
  /** Deliveries and calls that were lost, doubled, out of order or refused, in all rounds together. */
  wrong: number;
  bytesPerConnection: number | null;
}

const columns = [
  'system',
  'publish P50 / P99 ms',
  'end to end P50 / P95 / P99 ms',
  'CPU µs per delivery',
  'CPU : socket.io',
  'P95 : socket.io',
  'P95 : bridge',
  'wrong',
];

export function resultOf(names: Pick<Result, 'workload' | 'system' | 'rounds' | 'seconds'>, samples: Sample[]): Result {
  const runs = samples.filter((sample): sample is Measured => 'deliveries' in sample);
  const median = (of: (run: Measured) => number | undefined) => medianOf(runs.map(of)) ?? 0;
  const has = (key: 'publishMs' | 'endToEndMs') => runs.some((run) => run[key] !== undefined);
  const at = (key: 'publishMs' | 'endToEndMs', name: 'p50' | 'p95' | 'p99') =>
    hundredths(median((run) => run[key]?.[name]));
  const perDelivery = (run: Measured, part: string) =>
    run.deliveries.owed > 0 ? run.cpuPerDeliveryUs[part]! : (run.cpuSeconds[part]! * 1e6) / run.calls.sent;
  const parts = Object.keys(runs[0]?.cpuSeconds ?? {});
  const bytes = medianOf(samples.map((each) => ('deliveries' in each ? undefined : each.bytesPerConnection)));
  return {
    ...names,
    publishMs: has('publishMs') ? { p50: at('publishMs', 'p50'), p99: at('publishMs', 'p99') } : null,
    endToEndMs: has('endToEndMs')
      ? { p50: at('endToEndMs', 'p50'), p95: at('endToEndMs', 'p95'), p99: at('endToEndMs', 'p99') }
      : null,
    cpuUs: Object.fromEntries(parts.map((part) => [part, hundredths(median((run) => perDelivery(run, part)))])),
    wrong: runs.reduce((sum, run) => sum + wrongOf(run), 0),
    bytesPerConnection: bytes === undefined ? null : Math.round(bytes),
  };
}

/** A table for each workload, the systems in their order. */
export function tableText(results: Result[]): string {
  const blocks = workloads.flatMap(({ name, title, isIdle }) => {
    const own = inOrder(results.filter(({ workload }) => workload === name));
    if (own.length === 0) return [];
    const rows = isIdle
      ? [['system', 'kB per connection'], ...own.map(idleRow)]
      : [columns, ...own.map((each) => rowOf(each, own))];
    const lines = rows.map((cells) => `| ${cells.join(' | ')} |`);
    lines.splice(1, 0, `| ${rows[0]!.map((_, n) => (n === 0 ? '---' : '--:')).join(' | ')} |`);
    return [`**${title}**\n\n${lines.join('\n')}`];
  });
  return blocks.join('\n\n');
}

export function inOrder(results: Result[]): Result[] {
  const place = ({ system }: Result) => systems.findIndex(({ name }) => name === system);
  return results.toSorted((one, other) => place(one) - place(other));
}

function idleRow({ system, bytesPerConnection }: Result): string[] {
  return [system, ((bytesPerConnection ?? 0) / 1_000).toFixed(1)];
}

function rowOf(own: Result, all: Result[]): string[] {
  const other = (name: string) => (own.system === name ? undefined : all.find(({ system }) => system === name));
  const [socketIo, bridge] = [other('socket.io'), other('bridge')];
  const { system, publishMs, endToEndMs, cpuUs, wrong } = own;
  const isDeaf = endToEndMs === null;
  return [
    system,
    publishMs === null ? '' : [publishMs.p50, publishMs.p99].map(msText).join(' / '),
    isDeaf ? '' : [endToEndMs.p50, endToEndMs.p95, endToEndMs.p99].map(msText).join(' / '),
    isDeaf ? `${cpuText(cpuUs)} a call` : cpuText(cpuUs),
    isDeaf ? '' : ratio(total(cpuUs), socketIo && total(socketIo.cpuUs)),
    ratio(endToEndMs?.p95, socketIo?.endToEndMs?.p95),
    ratio(endToEndMs?.p95, bridge?.endToEndMs?.p95),
    String(wrong),
  ];
}

function wrongOf({ deliveries: { lost, doubled, outOfOrder }, calls }: Measured): number {
  return lost + doubled + outOfOrder + (calls.sent - calls.accepted);
}

function medianOf(values: (number | undefined)[]): number | undefined {
  const sorted = values.filter((value) => value !== undefined).sort((a, b) => a - b);
  if (sorted.length === 0) return undefined;
  const middle = (sorted.length - 1) / 2;
  return (sorted[Math.floor(middle)]! + sorted[Math.ceil(middle)]!) / 2;
}

function total(cpuUs: Record<string, number>): number {
  return Object.values(cpuUs).reduce((sum, us) => sum + us, 0);
}

/** The server's own first, then what stands behind it. */
function cpuText(cpuUs: Record<string, number>): string {
  return Object.entries(cpuUs)
    .map(([part, us]) => (part === 'server' ? msText(us) : `${msText(us)} ${part}`))
    .join(' + ');
}

function ratio(own: number | undefined, other: number | undefined): string {
  return own === undefined || other === undefined || other === 0 ? '' : (own / other).toFixed(2);
}

function msText(value: number): string {
  return value.toFixed(value < 10 ? 1 : 0);
}

function hundredths(value: number): number {
  return Math.round(value * 100) / 100;
}
