// What the comparison tells: in come the samples of each system under each workload, out go medians as one table.

import type { Measured } from '../src/bench/crowd.ts';
import type { Sample } from './measure.ts';
import type { System } from './systems.ts';
import type { Workload } from './workloads.ts';

export interface Cell {
  system: System;
  workload: Workload;
  samples: Sample[];
}

/** Medians over the rounds; ms and µs. */
export interface Medians {
  publish50: number | undefined;
  publish99: number | undefined;
  p50: number | undefined;
  p95: number | undefined;
  p99: number | undefined;
  /** µs per delivery by process; per call where nobody is shown anything. */
  cpu: Record<string, number>;
  wrong: number;
  bytesPerConnection: number | undefined;
}

const columns = [
  'workload',
  'system',
  'publish P50 / P99 ms',
  'end to end P50 / P95 / P99 ms',
  'CPU µs per delivery',
  'CPU : socket.io',
  'P95 : socket.io',
  'P95 : bridge',
  'lost, doubled, disordered, failed',
];

export function tableText(cells: Cell[]): string {
  const rows = cells.map((cell) => rowOf(cell, cells));
  const line = (texts: string[]) => `| ${texts.join(' | ')} |`;
  return [line(columns), line(columns.map(() => '---')), ...rows.map(line)].join('\n');
}

function rowOf(cell: Cell, cells: Cell[]): string[] {
  const own = mediansOf(cell.samples);
  const of = (name: string) => {
    const other = cells.find(({ system, workload }) => system.name === name && workload === cell.workload);
    return other === undefined || other === cell ? undefined : mediansOf(other.samples);
  };
  const name = [cell.workload.title, cell.system.name];
  if (own.bytesPerConnection !== undefined) {
    return [...name, '', '', `${(own.bytesPerConnection / 1_000).toFixed(1)} kB per connection`, '', '', '', ''];
  }
  const [socketIo, bridge] = [of('socket.io'), of('bridge')];
  const { publish50, publish99, p50, p95, p99, cpu, wrong } = own;
  return [
    ...name,
    `${ms(publish50)} / ${ms(publish99)}`,
    p50 === undefined ? '' : `${ms(p50)} / ${ms(p95)} / ${ms(p99)}`,
    cpuText(cpu) + (cell.system.isDeaf ? ' per call' : ''),
    cell.system.isDeaf ? '' : ratio(total(cpu), socketIo && total(socketIo.cpu)),
    ratio(p95, socketIo?.p95),
    ratio(p95, bridge?.p95),
    String(wrong),
  ];
}

export function mediansOf(samples: Sample[]): Medians {
  const runs = samples.filter((sample): sample is Measured => 'deliveries' in sample);
  const median = (of: (run: Measured) => number | undefined) => medianOf(runs.map(of));
  const parts = Object.keys(runs[0]?.cpuSeconds ?? {});
  const perDelivery = (run: Measured, part: string) =>
    run.deliveries.owed > 0 ? run.cpuPerDeliveryUs[part]! : (run.cpuSeconds[part]! * 1e6) / run.calls.sent;
  return {
    publish50: median(({ publishMs }) => publishMs?.p50),
    publish99: median(({ publishMs }) => publishMs?.p99),
    p50: median(({ endToEndMs }) => endToEndMs?.p50),
    p95: median(({ endToEndMs }) => endToEndMs?.p95),
    p99: median(({ endToEndMs }) => endToEndMs?.p99),
    cpu: Object.fromEntries(parts.map((part) => [part, median((run) => perDelivery(run, part))!])),
    wrong: runs.reduce((sum, run) => sum + wrongOf(run), 0),
    bytesPerConnection: medianOf(samples.map((each) => ('deliveries' in each ? undefined : each.bytesPerConnection))),
  };
}

function wrongOf({ deliveries: { lost, doubled, outOfOrder }, calls }: Measured): number {
  return lost + doubled + outOfOrder + (calls.sent - calls.accepted);
}

export function medianOf(values: (number | undefined)[]): number | undefined {
  const sorted = values.filter((value) => value !== undefined).sort((a, b) => a - b);
  if (sorted.length === 0) return undefined;
  const middle = (sorted.length - 1) / 2;
  return (sorted[Math.floor(middle)]! + sorted[Math.ceil(middle)]!) / 2;
}

export function total(cpu: Record<string, number>): number {
  return Object.values(cpu).reduce((sum, us) => sum + us, 0);
}

function cpuText(cpu: Record<string, number>): string {
  return Object.entries(cpu)
    .map(([part, us]) => (part === 'server' ? us.toFixed(us < 10 ? 1 : 0) : `${us.toFixed(us < 10 ? 1 : 0)} ${part}`))
    .join(' + ');
}

function ratio(own: number | undefined, other: number | undefined): string {
  return own === undefined || other === undefined || other === 0 ? '' : (own / other).toFixed(2);
}

function ms(value: number | undefined): string {
  if (value === undefined) return '-';
  return value < 10 ? value.toFixed(1) : value.toFixed(0);
}
