// What keeps the source a stranger can follow: one name for one thing, functions that fit on a page, imports that go one way.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { readSourceTree } from './support/source-tree.ts';

const maxFunctionLines = 60;
/** What a stage asks of others: a longer list is more than one can keep in mind, and mostly serves more than one purpose. */
const maxAsked = 8;
const maxReplicaLines = 110;
/** Long because they are one table, a line an entry. */
const tables = ['telemetry/metrics.ts createMetrics'];

/** An import goes to the same level or to one below it; no file or folder of the source is missing here. */
const levels = [
  ['main.ts'],
  ['commands'],
  ['bench', 'demo'],
  ['replica.ts', 'stages.ts', 'doors.ts', 'clients-side.ts', 'parts.ts', 'checks.ts', 'health.ts'],
  ['admin'],
  ['ingress'],
  ['plan', 'compare'],
  ['cutover'],
  ['rooms'],
  ['lanes'],
  ['consumer'],
  ['edge'],
  ['peers'],
  ['bridge', 'log'],
  ['contract'],
  [
    'telemetry',
    'assets.ts',
    'checked-yaml.ts',
    'config.ts',
    'did-you-mean.ts',
    'errors.ts',
    'expiring-map.ts',
    'findings.ts',
    'keep-newest.ts',
    'listen.ts',
    'new-id.ts',
    'recent.ts',
    'redis-url.ts',
    'refusal.ts',
    'request-body.ts',
    'room-set.ts',
    'secret.ts',
    'short-key.ts',
    'token-bucket.ts',
    'version.ts',
  ],
];

const modules = readSourceTree('src');
const byPath = new Map(modules.map((module) => [module.path, module]));

describe('the source', () => {
  test('no type and no function name is defined twice', () => {
    const owners = new Map<string, string[]>();
    for (const { path, names } of modules) {
      for (const name of names) owners.set(name, [...(owners.get(name) ?? []), path]);
    }
    const twice = [...owners].filter(([, paths]) => new Set(paths).size > 1).map(([name]) => name);
    assert.deepEqual(twice.sort(), []);
  });

  test(`no function is longer than ${maxFunctionLines} lines, tables excepted`, () => {
    const long = modules.flatMap(({ path, functions }) =>
      functions.filter(({ lines }) => lines > maxFunctionLines).map(({ name }) => `${path} ${name}`),
    );
    assert.deepEqual(long.sort(), tables);
  });

  test(`nothing asks for more than ${maxAsked} others`, () => {
    const long = modules.flatMap(({ path, asks }) =>
      asks
        .filter(({ members }) => members.length > maxAsked)
        .map(({ name, members }) => `${path} ${name}: ${members.join(', ')}`),
    );
    assert.deepEqual(long, []);
    assert.ok(
      modules.some(({ asks }) => asks.some(({ members }) => members.length === maxAsked)),
      'there are such lists',
    );
  });

  test(`one replica is read in one go: at most ${maxReplicaLines} lines`, () => {
    const lines = readFileSync('src/replica.ts', 'utf8').split('\n').length - 1;
    assert.ok(lines <= maxReplicaLines, `src/replica.ts has ${lines}`);
  });

  test('no import leads back to where it came from, types included', () => {
    assert.deepEqual(
      modules.map(({ path }) => circleFrom(path)).find((circle) => circle !== undefined),
      undefined,
    );
  });

  test('no import points up', () => {
    const up = modules.flatMap(({ path, imports }) =>
      imports.filter((imported) => levelOf(imported) < levelOf(path)).map((imported) => `${path} -> ${imported}`),
    );
    assert.deepEqual(up, []);
  });
});

function levelOf(path: string): number {
  const level = levels.findIndex((members) => members.includes(path.split('/')[0]!));
  assert.notEqual(level, -1, `${path} stands in no level of this test`);
  return level;
}

/** @returns the shortest way from a module back to itself */
function circleFrom(start: string): string[] | undefined {
  const seen = new Set<string>();
  const ways = [[start]];
  for (const way of ways) {
    for (const next of byPath.get(way.at(-1)!)?.imports ?? []) {
      if (next === start) return [...way, start];
      if (seen.has(next)) continue;
      seen.add(next);
      ways.push([...way, next]);
    }
  }
  return undefined;
}
