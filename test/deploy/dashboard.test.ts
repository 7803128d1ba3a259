// The dashboard and the rules against the code: what they ask for is what a replica serves.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { render } from '../../scripts/dashboard.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { deploy, noParser, queriesOf, readDashboard, rulesOf, selectorsIn } from './queries.ts';

const dashboard = readDashboard();
/** Of Prometheus itself, about every target. */
const ofEveryTarget = ['up'];
/** Which Prometheus adds to every series. */
const targetLabels = ['job', 'instance'];

/** Every series that can be asked for, with the labels that it has. */
function knownSeries(): Map<string, string[]> {
  const known = new Map<string, string[]>(ofEveryTarget.map((name) => [name, []]));
  for (const { name, type, labelNames } of createMetrics().registry.getMetricsAsArray() as unknown as Metric[]) {
    // The type of prom-client's metric is a number or a word, by release; only a histogram has buckets.
    const suffixes = String(type) === 'histogram' ? ['_bucket', '_sum', '_count'] : [''];
    for (const suffix of suffixes) known.set(name + suffix, suffix === '_bucket' ? [...labelNames, 'le'] : labelNames);
  }
  for (const { record } of rulesOf('rules.yaml')) known.set(record!, ['transport']);
  return known;
}

interface Metric {
  name: string;
  type: unknown;
  labelNames: string[];
}

test('the dashboard is the one that scripts/dashboard.ts makes', () => {
  assert.equal(readFileSync(`${deploy}grafana/crossfade.json`, 'utf8'), render(), 'run: node scripts/dashboard.ts');
});

test('each success criterion has its panel, and both lanes stand side by side', () => {
  const titles = dashboard.panels.map(({ title }) => title);
  for (let number = 1; number <= 7; number++) {
    assert.ok(
      titles.some((title) => title.startsWith(`SC-00${number} `)),
      `SC-00${number}`,
    );
  }
  const bridge = dashboard.panels.filter(({ title }) => title.endsWith(', bridge lane'));
  assert.equal(bridge.length, 2);
  for (const { title, gridPos } of bridge) {
    const stream = dashboard.panels.find((panel) => panel.title === title.replace('bridge', 'stream'))!;
    assert.deepEqual(stream.gridPos, { ...gridPos, x: gridPos.x + gridPos.w }, title);
  }
});

test('every panel says what is wanted, and none lies over another', () => {
  const cells = new Set<string>();
  for (const { title, type, description, gridPos } of dashboard.panels) {
    if (type !== 'row') assert.ok(description, title);
    for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
      for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
        assert.ok(x < 24 && !cells.has(`${x} ${y}`), title);
        cells.add(`${x} ${y}`);
      }
    }
  }
});

test('every series that dashboard and rules select is served, with the labels that they match', {
  skip: noParser,
}, async () => {
  const known = knownSeries();
  const rules = [...rulesOf('rules.yaml'), ...rulesOf('alerts.yaml')].map(({ expr }) => expr);
  const queries = [...queriesOf(dashboard, '1m'), ...rules];
  assert.ok(queries.length > 50, `${queries.length}`);
  for (const query of queries) {
    const selectors = await selectorsIn(query);
    assert.notEqual(selectors.length, 0, query);
    for (const { name, labels } of selectors) {
      assert.ok(known.has(name), `nobody serves ${name}, which ${query} asks for`);
      for (const label of labels) {
        assert.ok([...targetLabels, ...known.get(name)!].includes(label), `${name} has no label ${label}`);
      }
    }
  }
});

test('a query for what nobody serves is noticed', { skip: noParser }, async () => {
  const [selector] = await selectorsIn('sum by (x) (rate(crossfade_no_such_total{reason=~"a|b"}[5m]))');
  assert.deepEqual([selector?.name, selector?.labels], ['crossfade_no_such_total', ['reason']]);
  assert.ok(!knownSeries().has(selector!.name));
  await assert.rejects(selectorsIn('sum(rate(a[5m))'));
});
