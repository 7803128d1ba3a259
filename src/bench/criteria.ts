// The success criteria of the migration, SC-001 to SC-007: in come measurements, out goes a verdict on each. Promises: what each is judged
// by is fixed here, before anything is measured; what was not measured is said and is no pass.

import type { Deliveries, Percentiles } from './ledger.ts';
import { latencyText } from './plot.ts';
import type { TypingSeen } from './typing.ts';

/** One load by both lanes, one after the other. */
export interface LaneComparison {
  load: string;
  bridge: Percentiles | undefined;
  stream: Percentiles | undefined;
}

/** What became of the messages of a run, or of several. */
export interface Kept extends Deliveries {
  /** Calls that were not accepted. */
  refused: number;
}

export interface Measurements {
  lanes: LaneComparison[];
  /** Why the bridge that was measured says nothing about the system that is to be replaced. */
  noBaseline: string | undefined;
  hundredUsers: Percentiles | undefined;
  /** Medians of 3 rounds. */
  growth: { users: number; p50: number; p95: number }[];
  fiveHundredUsers: Kept;
  typing: TypingSeen | undefined;
  /** Of every run, and of one during which the percent moved. */
  kept: Kept;
  percentMoves: number;
  /** Under the kill switch, by crossfade's own count; `not`: why it was not tried. */
  killSwitch: (Kept & { byBridge: number; byStream: number }) | { not: string };
  metrics: { replicas: number; expected: number; missing: string[] };
}

export interface Criterion {
  id: string;
  name: string;
  target: string;
  measured: string;
  /** null: not measured, which is no pass. */
  ok: boolean | null;
  /** What stands behind it, a line each. */
  details: string[];
}

const gain = 0.4;
const p50BelowMs = 200;
const p95BelowMs = 500;
const variation = 0.2;
const typingLess = 0.3;

/** What is asked for, before anything is measured: also what is shown first. */
export const targets = {
  'SC-001': [
    'latency',
    `P95 ${percent(gain)} or more below the bridge lane's, under the load that hurts the bridge most`,
  ],
  'SC-002': ['100 users', `P50 below ${p50BelowMs} ms, P95 below ${p95BelowMs} ms`],
  'SC-003': ['50 to 200 users', `P50 and P95 vary by less than ${percent(variation)}; 500 users work`],
  'SC-004': ['typing', `${percent(typingLess)} or more less of it, and the last state is what is shown last`],
  'SC-005': ['messages', '0 lost, 0 doubled, 0 out of order, also while the percent moves'],
  'SC-006': ['kill switch', 'every call by the bridge, and shown'],
  'SC-007': ['metrics', 'every one scraped, of every replica, both lanes in it'],
} as const;
export type CriterionId = keyof typeof targets;

export function judge(measured: Measurements): Criterion[] {
  return [
    faster(measured),
    fastEnough(measured),
    steady(measured),
    lessTyping(measured),
    nothingLost(measured),
    killed(measured),
    scraped(measured),
  ];
}

function criterion(id: CriterionId, measured: string, ok: boolean | null, details: string[] = []): Criterion {
  const [name, target] = targets[id];
  return { id, name, target, measured, ok, details };
}

/** The load is chosen by the bridge's own latency, not by the gain. */
function faster({ lanes, noBaseline }: Measurements): Criterion {
  const compared = lanes.filter((lane) => lane.bridge !== undefined && lane.stream !== undefined);
  const details = compared.map(({ load, bridge, stream }) => {
    const pair = (own: number, other: number) =>
      `${latencyText(other)} → ${latencyText(own)} (${changeText(own, other)})`;
    return `${load}: P50 ${pair(stream!.p50, bridge!.p50)}, P95 ${pair(stream!.p95, bridge!.p95)}`;
  });
  const hurts = compared.toSorted((one, other) => other.bridge!.p95 - one.bridge!.p95)[0];
  if (hurts === undefined)
    return criterion('SC-001', noBaseline ?? 'nothing arrived by one of the lanes', null, details);
  const [bridge, stream] = [hurts.bridge!.p95, hurts.stream!.p95];
  const text = `${latencyText(bridge)} → ${latencyText(stream)} (${changeText(stream, bridge)}): ${hurts.load}`;
  if (noBaseline !== undefined) return criterion('SC-001', noBaseline, null, details);
  return criterion('SC-001', text, stream <= (1 - gain) * bridge, details);
}

function fastEnough({ hundredUsers }: Measurements): Criterion {
  if (hundredUsers === undefined) return criterion('SC-002', 'nothing arrived', false);
  const { p50, p95 } = hundredUsers;
  return criterion('SC-002', `P50 ${latencyText(p50)}, P95 ${latencyText(p95)}`, p50 < p50BelowMs && p95 < p95BelowMs);
}

/** By the largest over the smallest, of medians of 3 rounds. */
function steady({ growth, fiveHundredUsers }: Measurements): Criterion {
  const spread = (values: number[]) => Math.max(...values) / Math.min(...values) - 1;
  const [p50, p95] = [spread(growth.map((each) => each.p50)), spread(growth.map((each) => each.p95))];
  const works = allCame(fiveHundredUsers);
  return criterion(
    'SC-003',
    `P50 by ${percent(p50)}, P95 by ${percent(p95)}; 500 users: ${keptWords(fiveHundredUsers)}`,
    p50 < variation && p95 < variation && works,
    growth.map((each) => `${each.users} users: P50 ${latencyText(each.p50)}, P95 ${latencyText(each.p95)}`),
  );
}

function lessTyping({ typing }: Measurements): Criterion {
  if (typing === undefined || typing.accepted === 0) return criterion('SC-004', 'no typing was accepted', false);
  const less = 1 - typing.shown / typing.uncoalesced;
  const wrong =
    typing.wrongAtEnd === 0 ? '' : `; ${typing.wrongAtEnd} typists are shown a state that is not their last`;
  return criterion('SC-004', `${percent(less)} less${wrong}`, less >= typingLess && typing.wrongAtEnd === 0, [
    `${typing.accepted} notes of the backend, one every 80 ms of each typist; ${typing.uncoalesced} to be shown, ${typing.shown} were`,
  ]);
}

function nothingLost({ kept, percentMoves }: Measurements): Criterion {
  return criterion('SC-005', keptWords(kept), allCame(kept), [
    `${kept.owed} messages owed to clients, by both lanes, and while the percent moved ${percentMoves} times`,
  ]);
}

function killed({ killSwitch }: Measurements): Criterion {
  if ('not' in killSwitch) return criterion('SC-006', killSwitch.not, null);
  const { byBridge, byStream } = killSwitch;
  return criterion(
    'SC-006',
    `${byBridge} calls by the bridge, ${byStream} by stream; ${keptWords(killSwitch)}`,
    byBridge > 0 && byStream === 0 && allCame(killSwitch),
  );
}

function scraped({ metrics: { replicas, expected, missing } }: Measurements): Criterion {
  const of = replicas === 1 ? 'one replica' : `${replicas} replicas`;
  return criterion('SC-007', `${expected - missing.length} of ${expected}, of ${of}`, missing.length === 0, missing);
}

function allCame({ lost, doubled, outOfOrder, refused, delivered }: Kept): boolean {
  return delivered > 0 && lost + doubled + outOfOrder + refused === 0;
}

function keptWords({ lost, doubled, outOfOrder, refused }: Kept): string {
  const text = `${lost} lost, ${doubled} doubled, ${outOfOrder} out of order`;
  return refused === 0 ? text : `${text}, ${refused} calls refused`;
}

function changeText(own: number, other: number): string {
  const change = own / other - 1;
  return `${change > 0 ? '+' : '-'}${percent(Math.abs(change))}`;
}

function percent(share: number): string {
  return `${Math.round(share * 100)}%`;
}
