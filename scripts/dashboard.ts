// Writes deploy/grafana/crossfade.json, the dashboard: SC-001 to SC-007, both lanes side by side, what a runbook section tells to
// look at. Names of metrics and labels come from src/telemetry/metrics.ts and deploy/prometheus/rules.yaml: what is renamed there
// changes here or fails here, so that no panel asks for what nobody serves.

import { readFileSync, writeFileSync } from 'node:fs';
import { parse } from 'yaml';
import { createMetrics, type Metrics } from '../src/telemetry/metrics.ts';

const file = new URL('../deploy/grafana/crossfade.json', import.meta.url);
const rulesFile = new URL('../deploy/prometheus/rules.yaml', import.meta.url);
const metrics = createMetrics();
const recorded = new Set<string>(
  parse(readFileSync(rulesFile, 'utf8')).groups.flatMap(({ rules }: { rules: { record: string }[] }) =>
    rules.map(({ record }) => record),
  ),
);

/** Orange and teal, as on the operator's page. */
const laneColors = { 'bridge lane': '#d9730d', 'stream lane': '#0f8b8d' };
const ofReplica = 'instance=~"$instance"';
const columns = 24;

interface Query {
  expr: string;
  /** What the series is called; `{{label}}` is the label's value. */
  legend: string;
}

interface Threshold {
  color: 'green' | 'orange' | 'red';
  /** From here on; null: from the start. */
  value: number | null;
}

interface Panel {
  title: string;
  description: string;
  kind: 'stat' | 'timeseries';
  width: number;
  queries: Query[];
  unit: 'percentunit' | 'percent' | 's' | 'short' | 'ops' | 'reqps' | 'bytes' | 'none';
  thresholds?: Threshold[];
  /** The same axis for panels that are to be compared; logarithmic, as latencies span four decades. */
  axis?: { min: number; max: number };
}

/** A metric of metrics.ts by its key there. @param labels what is matched, or summed by, must be a label of it */
function name(key: Exclude<keyof Metrics, 'registry'>, ...labels: string[]): string {
  const metric = metrics[key] as unknown as { name: string; labelNames: string[] };
  const unknown = labels.find((label) => !metric.labelNames.includes(label));
  if (unknown !== undefined) throw new Error(`${metric.name} has no label ${unknown}`);
  return metric.name;
}

/** A metric of the process, which prom-client brings. */
function ofProcess(metric: string): string {
  if (metrics.registry.getSingleMetric(metric) === undefined) throw new Error(`nobody serves ${metric}`);
  return `${metric}{job="crossfade", ${ofReplica}}`;
}

function rule(record: string, matchers = ''): string {
  if (!recorded.has(record)) throw new Error(`rules.yaml records no ${record}`);
  return `${record}${matchers}`;
}

const rate = (series: string) => `rate(${series}[$__rate_interval])`;
const lane = (transport: 'http' | 'redis_streams') => `{transport="${transport}"}`;
const above = (bad: number, color: Threshold['color'] = 'red'): Threshold[] => [
  { color: 'green', value: null },
  { color, value: bad },
];
const atLeast = (good: number): Threshold[] => [
  { color: 'red', value: null },
  { color: 'green', value: good },
];

function criteria(): Panel[] {
  const p95 = rule('transport:event_delivery_duration_seconds:p95_5m', lane('redis_streams'));
  const p50 = rule('transport:event_delivery_duration_seconds:p50_5m', lane('redis_streams'));
  const stat = { kind: 'stat', width: 6 } as const;
  return [
    {
      ...stat,
      title: 'SC-001 Faster than the bridge',
      description: "How far the stream lane's P50 lies below the bridge lane's, over 5 minutes. Wanted: 40% or more.",
      queries: [{ expr: rule('crossfade:delivery_gain:p50_5m'), legend: 'gain' }],
      unit: 'percentunit',
      thresholds: atLeast(0.4),
    },
    {
      ...stat,
      title: 'SC-002 P50 by stream',
      description: 'From the call in hand until a replica has handed it to its clients. Wanted: below 200 ms.',
      queries: [{ expr: p50, legend: 'P50' }],
      unit: 's',
      thresholds: above(0.2),
    },
    {
      ...stat,
      title: 'SC-002 P95 by stream',
      description: 'The same, for 95 of 100 events. Wanted: below 500 ms.',
      queries: [{ expr: p95, legend: 'P95' }],
      unit: 's',
      thresholds: above(0.5),
    },
    {
      ...stat,
      title: 'SC-003 P95 varies by',
      description:
        'Standard deviation over mean, of the last hour. Wanted: below 20% while 50 to 200 users come and go.',
      queries: [{ expr: `stddev_over_time(${p95}[1h]) / avg_over_time(${p95}[1h])`, legend: 'variation' }],
      unit: 'percentunit',
      thresholds: above(0.2),
    },
    {
      ...stat,
      title: 'SC-004 Typing merged',
      description: 'The share of typing by stream that was merged into another event. Wanted: 30% or more.',
      queries: [{ expr: rule('crossfade:typing_merged:ratio5m'), legend: 'merged' }],
      unit: 'percentunit',
      thresholds: atLeast(0.3),
    },
    {
      ...stat,
      title: 'SC-005 Missed',
      description: 'Entries that a replica was too late for, in the time that is shown. Wanted: 0.',
      queries: [{ expr: `sum(increase(${name('missed')}[$__range]))`, legend: 'missed' }],
      unit: 'short',
      thresholds: above(1),
    },
    {
      ...stat,
      title: 'SC-006 In force',
      description: 'The share of rooms on the stream lane. `crossfade cutover rollback` or the kill switch make it 0.',
      queries: [{ expr: `max(${name('cutoverPercent')})`, legend: 'percent' }],
      unit: 'percent',
    },
    {
      ...stat,
      title: 'SC-007 Replicas scraped',
      description: 'Of those that Prometheus knows. Wanted: all.',
      queries: [{ expr: 'avg(up{job="crossfade"})', legend: 'scraped' }],
      unit: 'percentunit',
      thresholds: atLeast(1),
    },
  ];
}

function lanes(): Panel[] {
  const half = { kind: 'timeseries', width: 12 } as const;
  const sides = [
    ['bridge lane', 'http'],
    ['stream lane', 'redis_streams'],
  ] as const;
  const rates = sides.map(
    ([title, transport]): Panel => ({
      ...half,
      title: `Events a second, ${title}`,
      description: 'Accepted, by type.',
      queries: [
        {
          expr: `sum by (event_type) (${rate(`${name('published', 'event_type', 'transport', 'status')}{transport="${transport}", status="success"}`)})`,
          legend: '{{event_type}}',
        },
      ],
      unit: 'ops',
    }),
  );
  const delays = sides.map(
    ([title, transport]): Panel => ({
      ...half,
      title: `Until the clients have it, ${title}`,
      description:
        'From the call in hand until a replica has handed it to its clients, or the 200 of the bridge has come.',
      queries: ['50', '95', '99'].map((part) => ({
        expr: rule(`transport:event_delivery_duration_seconds:p${part}_5m`, lane(transport)),
        legend: `P${part}`,
      })),
      unit: 's',
      axis: { min: 0.0005, max: 5 },
    }),
  );
  return [
    ...rates,
    ...delays,
    {
      ...half,
      title: 'Both lanes, events a second',
      description: 'What has been accepted by either.',
      queries: sides.map(([legend, transport]) => ({
        expr: rule('transport:events_published:rate5m', lane(transport)),
        legend,
      })),
      unit: 'ops',
    },
    {
      ...half,
      title: 'Both lanes, how long the backend waits (P95)',
      description: 'From the call in hand to its answer.',
      queries: sides.map(([legend, transport]) => ({
        expr: rule('transport:event_publish_duration_seconds:p95_5m', lane(transport)),
        legend,
      })),
      unit: 's',
    },
  ];
}

function perReplica(key: Parameters<typeof name>[0]): Query {
  return { expr: `${name(key)}{${ofReplica}}`, legend: '{{instance}}' };
}

function cutover(): Panel[] {
  const third = { kind: 'timeseries', width: 8 } as const;
  const increase = (key: Parameters<typeof name>[0], by: string): Query => ({
    expr: `sum by (${by}) (${rate(name(key, by))})`,
    legend: `{{${by}}}`,
  });
  return [
    {
      ...third,
      title: 'Percent in force',
      description: 'As it holds on each replica. All the same, but for the second of a change.',
      queries: [perReplica('cutoverPercent')],
      unit: 'percent',
    },
    {
      ...third,
      title: 'Surplus: clients past crossfade',
      description: 'Connections at the bridge that no replica has. 0 before the percent may rise.',
      queries: [perReplica('guardSurplus')],
      unit: 'short',
      thresholds: above(1),
    },
    {
      ...third,
      title: 'Fallbacks a second',
      description: 'Calls that the log could not take and that went to the bridge.',
      queries: [increase('fallback', 'reason')],
      unit: 'ops',
    },
    {
      ...third,
      title: 'Unfenced events a second',
      description: 'May have been shown out of order; counted, one by one.',
      queries: [increase('unfenced', 'reason')],
      unit: 'ops',
    },
    {
      ...third,
      title: 'Messages that wait for a fence',
      description: 'At connections, while rooms change lane.',
      queries: [perReplica('fenceQueue')],
      unit: 'short',
    },
    {
      ...third,
      title: 'Answers to the backend',
      description: 'By status.',
      queries: [increase('answers', 'status')],
      unit: 'reqps',
    },
  ];
}

function health(): Panel[] {
  const third = { kind: 'timeseries', width: 8 } as const;
  const byStream = (key: Parameters<typeof name>[0]): Query => ({
    expr: `max by (instance, stream) (${name(key, 'stream')}{${ofReplica}})`,
    legend: '{{instance}} {{stream}}',
  });
  return [
    {
      ...third,
      title: 'Age of the probe',
      description:
        'Each replica delivers an event to itself every second, by the real path. Above 5 s an edge is not ready.',
      queries: [perReplica('probeAge')],
      unit: 's',
      thresholds: above(5),
    },
    {
      ...third,
      title: 'Lag',
      description: 'Entries of the log that a replica has not acknowledged yet.',
      queries: [byStream('consumerLag')],
      unit: 'short',
      thresholds: above(200),
    },
    {
      ...third,
      title: 'Depth of the streams',
      description: 'Entries; the oldest go when a stream has its length.',
      queries: [{ expr: `max by (stream) (${name('queueDepth', 'stream')})`, legend: '{{stream}}' }],
      unit: 'short',
    },
    {
      ...third,
      title: 'Clients',
      description: 'Open hub connections.',
      queries: [{ expr: `sum by (instance) (${name('connections', 'hub')}{${ofReplica}})`, legend: '{{instance}}' }],
      unit: 'short',
    },
    {
      ...third,
      title: 'Connections that ended, a second',
      description: 'By reason; `slow` are those that read too slowly.',
      queries: [
        {
          expr: `sum by (reason) (${rate(`${name('connectionsClosed', 'reason')}{${ofReplica}}`)})`,
          legend: '{{reason}}',
        },
        { expr: `sum(${rate(`${name('slowClients')}{${ofReplica}}`)})`, legend: 'cut as too slow' },
      ],
      unit: 'ops',
    },
    {
      ...third,
      title: 'Still to be drained',
      description: 'Connections that a replica which ends has not closed yet.',
      queries: [perReplica('drainRemaining')],
      unit: 'short',
    },
    {
      ...third,
      title: 'Bridge and log within reach',
      description: '1: it answers. 0: it does not.',
      queries: [
        { expr: `min by (bridge) (${name('bridgeReachable', 'bridge')})`, legend: '{{bridge}}' },
        { expr: `min(${name('logReachable')})`, legend: 'log' },
      ],
      unit: 'none',
    },
    {
      ...third,
      title: 'Event loop, late by (P99)',
      description: 'What holds it holds every client of the replica.',
      queries: [{ expr: ofProcess('nodejs_eventloop_lag_p99_seconds'), legend: '{{instance}}' }],
      unit: 's',
      thresholds: above(0.1),
    },
    {
      ...third,
      title: 'Memory',
      description: 'Resident.',
      queries: [{ expr: ofProcess('process_resident_memory_bytes'), legend: '{{instance}}' }],
      unit: 'bytes',
    },
  ];
}

/** One panel as Grafana has it. */
function asPanel(panel: Panel, id: number, gridPos: object): object {
  const { title, description, kind, queries, unit, thresholds, axis } = panel;
  return {
    id,
    type: kind,
    title,
    description,
    gridPos,
    datasource: { type: 'prometheus', uid: '$datasource' },
    targets: queries.map(({ expr, legend }, index) => ({
      refId: String.fromCharCode(65 + index),
      expr,
      legendFormat: legend,
    })),
    fieldConfig: {
      defaults: {
        unit,
        ...(axis ?? { min: 0 }),
        color: { mode: kind === 'stat' ? 'thresholds' : 'palette-classic' },
        thresholds: { mode: 'absolute', steps: thresholds ?? [{ color: 'green', value: null }] },
        ...(kind === 'timeseries' && {
          custom: {
            lineWidth: 2,
            fillOpacity: 8,
            showPoints: 'never',
            thresholdsStyle: { mode: thresholds === undefined ? 'off' : 'dashed' },
            scaleDistribution: axis === undefined ? { type: 'linear' } : { type: 'log', log: 10 },
          },
        }),
      },
      overrides: Object.entries(laneColors).map(([legend, fixedColor]) => ({
        matcher: { id: 'byName', options: legend },
        properties: [{ id: 'color', value: { mode: 'fixed', fixedColor } }],
      })),
    },
    options:
      kind === 'stat'
        ? { colorMode: 'background', graphMode: 'area', reduceOptions: { calcs: ['lastNotNull'] } }
        : { legend: { displayMode: 'list', placement: 'bottom' }, tooltip: { mode: 'multi', sort: 'desc' } },
  };
}

/** Rows of panels, from left to right and from top to bottom. */
function layOut(rows: [title: string, panels: Panel[]][]): object[] {
  const placed: object[] = [];
  let [x, y] = [0, 0];
  for (const [title, panels] of rows) {
    placed.push({
      id: placed.length + 1,
      type: 'row',
      title,
      collapsed: false,
      gridPos: { x: 0, y, w: columns, h: 1 },
    });
    y += 1;
    for (const panel of panels) {
      const h = panel.kind === 'stat' ? 4 : 8;
      placed.push(asPanel(panel, placed.length + 1, { x, y, w: panel.width, h }));
      x += panel.width;
      if (x < columns && panel !== panels.at(-1)) continue;
      [x, y] = [0, y + h];
    }
  }
  return placed;
}

/** @returns the text of the dashboard's file */
export function render(): string {
  const dashboard = {
    uid: 'crossfade',
    title: 'crossfade',
    description: 'Made by scripts/dashboard.ts.',
    tags: ['crossfade'],
    schemaVersion: 39,
    editable: true,
    graphTooltip: 1,
    refresh: '10s',
    time: { from: 'now-1h', to: 'now' },
    annotations: {
      list: [
        {
          name: 'The percent changes',
          enable: true,
          iconColor: 'purple',
          datasource: { type: 'prometheus', uid: '$datasource' },
          expr: `max(changes(${name('cutoverPercent')}[1m])) > 0`,
          titleFormat: 'the percent changes',
        },
      ],
    },
    templating: {
      list: [
        { name: 'datasource', label: 'Prometheus', type: 'datasource', query: 'prometheus' },
        {
          name: 'instance',
          label: 'replica',
          type: 'query',
          datasource: { type: 'prometheus', uid: '$datasource' },
          query: { query: 'label_values(up{job="crossfade"}, instance)', refId: 'instance' },
          refresh: 2,
          includeAll: true,
          multi: true,
          current: { text: 'All', value: '$__all' },
        },
      ],
    },
    panels: layOut([
      ['The success criteria', criteria()],
      ['Both lanes', lanes()],
      ['Cutover', cutover()],
      ['Replicas', health()],
    ]),
  };
  return `${JSON.stringify(dashboard, null, 2)}\n`;
}

if (import.meta.main) writeFileSync(file, render());
