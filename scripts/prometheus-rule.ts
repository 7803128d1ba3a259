// Writes deploy/kubernetes/monitoring/rules.yaml: the rules and alerts of deploy/prometheus/ in the form in which the Prometheus
// operator takes them, so that a cluster has the same ones.

import { readFileSync, writeFileSync } from 'node:fs';
import { parse, stringify } from 'yaml';

const deploy = new URL('../deploy/', import.meta.url);
const file = new URL('kubernetes/monitoring/rules.yaml', deploy);

/** @returns the text of the file */
export function render(): string {
  const groups = ['rules.yaml', 'alerts.yaml'].flatMap(
    (name) => parse(readFileSync(new URL(`prometheus/${name}`, deploy), 'utf8')).groups,
  );
  const rule = {
    apiVersion: 'monitoring.coreos.com/v1',
    kind: 'PrometheusRule',
    metadata: { name: 'crossfade' },
    spec: { groups },
  };
  return `# Made by scripts/prometheus-rule.ts from ../../prometheus/.\n${stringify(rule, { lineWidth: 0 })}`;
}

if (import.meta.main) writeFileSync(file, render());
