// What deploy/ asks Prometheus for: in come the dashboard and the rules, out go their queries, and what is selected by each.

import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';

export const deploy = fileURLToPath(new URL('../../deploy/', import.meta.url));

/** For the option `skip` of a test. */
export const noParser =
  !existsSync(new URL('node_modules/@prometheus-io/lezer-promql', import.meta.url)) &&
  'the parser of PromQL is not here: node scripts/setup.mjs --test';

export interface Rule {
  /** Either it records a series, or it is an alert. */
  record?: string;
  alert?: string;
  expr: string;
  for?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
}

/** @param file `rules.yaml` or `alerts.yaml` */
export function rulesOf(file: string): Rule[] {
  const { groups } = parse(readFileSync(`${deploy}prometheus/${file}`, 'utf8'));
  return groups.flatMap(({ rules }: { rules: Rule[] }) => rules);
}

export interface DashboardPanel {
  type: string;
  title: string;
  description?: string;
  gridPos: { x: number; y: number; w: number; h: number };
  targets?: { expr: string }[];
}

export interface Dashboard {
  panels: DashboardPanel[];
  annotations: { list: { expr: string }[] };
}

export function readDashboard(): Dashboard {
  return JSON.parse(readFileSync(`${deploy}grafana/crossfade.json`, 'utf8'));
}

/** What Grafana would send, with its variables filled in. @param range such as `1m` */
export function queriesOf({ panels, annotations }: Dashboard, range: string): string[] {
  const texts = [...panels.flatMap(({ targets = [] }) => targets), ...annotations.list].map(({ expr }) => expr);
  return texts.map((text) =>
    text.replaceAll('$__rate_interval', range).replaceAll('$__range', range).replaceAll('$instance', '.*'),
  );
}

export interface Selector {
  /** As it stands in the query, without a range. */
  text: string;
  name: string;
  /** Those that are matched. */
  labels: string[];
}

interface Node {
  name: string;
  from: number;
  to: number;
  type: { isError: boolean };
}

/** @throws Error where the query is none */
export async function selectorsIn(query: string): Promise<Selector[]> {
  // By a name that the compiler cannot follow: it checks the types also where the parser is not installed.
  const library = '@prometheus-io/lezer-promql';
  const { parser } = await import(library);
  const selectors: Selector[] = [];
  parser.parse(query).iterate({
    enter({ name, from, to, type }: Node) {
      const text = query.slice(from, to);
      if (type.isError) throw new Error(`not PromQL from here on: ${query.slice(from)}`);
      if (name === 'VectorSelector') selectors.push({ text, name: '', labels: [] });
      if (name === 'Identifier') selectors.at(-1)!.name = text;
      const isMatched = name === 'LabelName' && selectors.at(-1)?.text.includes(`${text}=`);
      if (isMatched) selectors.at(-1)!.labels.push(text);
    },
  });
  return selectors;
}
