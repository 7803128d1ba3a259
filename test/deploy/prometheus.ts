// A real Prometheus with the configuration of deploy/prometheus/: in come the replicas to scrape, out go answers to queries and
// the states of rules. Ends with the test.

import { type ChildProcess, spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { parse, stringify } from 'yaml';
import { freePort } from '../support/redis.ts';
import { until } from '../support/wait.ts';
import { deploy } from './queries.ts';

export interface RuleState {
  name: string;
  type: 'recording' | 'alerting';
  health: string;
  lastError?: string;
  /** Of an alert: inactive, pending or firing. */
  state?: string;
}

export class Prometheus {
  readonly #url: string;

  constructor(url: string) {
    this.#url = url;
  }

  /** The values of an instant query, as numbers; NaN where there is none. */
  async query(query: string): Promise<number[]> {
    const result = await this.#ask<{ value: [number, string] }[]>('query', { query });
    return result.map(({ value }) => Number(value[1]));
  }

  async rules(): Promise<RuleState[]> {
    const response = await fetch(`${this.#url}/api/v1/rules`);
    const { data } = (await response.json()) as { data: { groups: { rules: RuleState[] }[] } };
    return data.groups.flatMap(({ rules }) => rules);
  }

  async #ask<Result>(path: string, words: Record<string, string>): Promise<Result> {
    const response = await fetch(`${this.#url}/api/v1/${path}?${new URLSearchParams(words)}`);
    const { data, error } = (await response.json()) as { data?: { result: Result }; error?: string };
    if (data === undefined) throw new Error(`${words.query}: ${error}`);
    return data.result;
  }
}

/** @param targets `host:port` of admin ports; they are scraped, and rules evaluated, each second */
export async function startPrometheus(t: TestContext, targets: string[], token: string): Promise<Prometheus> {
  const dir = mkdtempSync(join(tmpdir(), 'crossfade-prometheus-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  cpSync(`${deploy}prometheus`, dir, { recursive: true });
  const config = parse(readFileSync(join(dir, 'prometheus.yml'), 'utf8'));
  config.global = { scrape_interval: '1s', evaluation_interval: '1s' };
  config.scrape_configs[0].static_configs = [{ targets }];
  writeFileSync(join(dir, 'prometheus.yml'), stringify(config));
  writeFileSync(join(dir, 'admin-token'), token);

  const address = `127.0.0.1:${await freePort()}`;
  const flags = [`--config.file=${join(dir, 'prometheus.yml')}`, `--storage.tsdb.path=${join(dir, 'data')}`];
  const child = spawn('prometheus', [...flags, `--web.listen-address=${address}`], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let words = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    words += text;
  });
  t.after(() => ended(child));
  const isReady = () =>
    fetch(`http://${address}/-/ready`).then(
      (answer) => answer.ok,
      () => false,
    );
  await until(isReady, { timeoutMs: 20_000, what: () => `Prometheus to be ready\n${words}` });
  return new Prometheus(`http://${address}`);
}

/** Before its directory goes. */
async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await exited;
}
