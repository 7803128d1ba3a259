// The rules and alerts: right by Prometheus' own tool, each tested by it, and each alert with its section in the runbook.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { render } from '../../scripts/prometheus-rule.ts';
import { spawnCrossfade } from '../support/process.ts';
import { deploy, rulesOf } from './queries.ts';

const runbook = readFileSync(fileURLToPath(new URL('../../docs/runbook.md', import.meta.url)), 'utf8');
const alerts = rulesOf('alerts.yaml');

function promtool(words: string[], cwd = `${deploy}prometheus`): void {
  const { error, status, stdout, stderr } = spawnSync('promtool', words, { cwd, encoding: 'utf8' });
  assert.deepEqual([error, status], [undefined, 0], stdout + stderr);
}

test('promtool finds no fault in rules and scrape configuration', (t) => {
  promtool(['check', 'rules', 'rules.yaml', 'alerts.yaml']);
  const dir = mkdtempSync(join(tmpdir(), 'crossfade-prometheus-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  cpSync(`${deploy}prometheus`, dir, { recursive: true });
  // Whoever runs it puts the token there.
  writeFileSync(join(dir, 'admin-token'), 'token');
  promtool(['check', 'config', 'prometheus.yml'], dir);
});

test('the unit tests of the rules pass', () => promtool(['test', 'rules', 'tests.yaml']));

test('a cluster gets the same rules', () => {
  const made = readFileSync(`${deploy}kubernetes/monitoring/rules.yaml`, 'utf8');
  assert.equal(made, render(), 'run: node scripts/prometheus-rule.ts');
});

test('each alert has a unit test in which it fires, and each recorded number of the criteria one', () => {
  const { tests } = parse(readFileSync(`${deploy}prometheus/tests.yaml`, 'utf8'));
  const fired = tests
    .flatMap((each: { alert_rule_test?: { alertname: string; exp_alerts: unknown[] }[] }) => each.alert_rule_test ?? [])
    .filter(({ exp_alerts }: { exp_alerts: unknown[] }) => exp_alerts.length > 0)
    .map(({ alertname }: { alertname: string }) => alertname);
  assert.deepEqual([...new Set(fired)].sort(), alerts.map(({ alert }) => alert!).sort());
  const text = JSON.stringify(tests);
  for (const { record } of rulesOf('rules.yaml')) {
    if (record!.startsWith('crossfade:')) assert.ok(text.includes(`round(${record}, `), record!);
  }
});

test('each alert has its section in the runbook, and each section its alert', () => {
  const sections = [...runbook.matchAll(/^## (Crossfade\w+)$/gm)].map(([, name]) => name!);
  assert.deepEqual(sections.sort(), alerts.map(({ alert }) => alert!).sort());
  for (const { alert, annotations, labels } of alerts) {
    assert.equal(annotations!.runbook_url, `docs/runbook.md#${alert!.toLowerCase()}`);
    const [, section] = new RegExp(`^## ${alert}\n([\\s\\S]*?)(?=^## |$(?![\\s\\S]))`, 'm').exec(runbook)!;
    assert.ok(section!.startsWith(`\n*${labels!.severity}.* **What it means.** `), alert!);
    assert.match(section!, /\*\*What to look at\.\*\*[\s\S]*\*\*What to do\.\*\*/, alert!);
  }
});

test('the runbook begins with the way back', () => {
  const firstScreen = runbook.split('\n').slice(0, 8).join('\n');
  assert.match(firstScreen, /^# Runbook\n\n## Is it on fire\? Roll back\n/);
  assert.ok(firstScreen.includes('\n    crossfade cutover rollback '));
});

test('what the runbook names exists', async (t) => {
  const help = spawnCrossfade(t, ['cutover', '--help']);
  await help.exited;
  const commands = [...runbook.matchAll(/crossfade cutover (\w+)/g)].map(([, command]) => command!);
  for (const command of commands) assert.match(help.stdout, new RegExp(`^  ${command} `, 'm'));
  const titles = new Set(
    [...readFileSync(`${deploy}grafana/crossfade.json`, 'utf8').matchAll(/"title": "(.*)"/g)].map(
      ([, title]) => title!,
    ),
  );
  const quoted = [...runbook.matchAll(/"([A-Z][^"]+)"/g)].map(([, title]) => title!.replaceAll('\n', ' '));
  assert.notEqual(quoted.length, 0);
  for (const title of quoted) {
    assert.ok(
      [...titles].some((each) => each.startsWith(title)),
      `no panel is called "${title}"`,
    );
  }
  for (const [, anchor] of runbook.matchAll(/\]\(#([\w-]+)\)/g)) {
    assert.ok(
      alerts.some(({ alert }) => alert!.toLowerCase() === anchor),
      `#${anchor}`,
    );
  }
});
