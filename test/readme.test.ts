// The README against the code: its tables, its commands and the release.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { render } from '../scripts/readme.ts';
import { version } from '../src/version.ts';

const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
const { scripts, version: packageVersion } = JSON.parse(
  readFileSync(new URL('../package.json', import.meta.url), 'utf8'),
);

test('the README’s tables of settings, secrets and errors are those of the code', () => {
  assert.equal(render(readme), readme, 'run: node scripts/readme.ts');
});

test('the README’s npm commands exist, and its files too', () => {
  for (const [, name] of readme.matchAll(/npm run (\w+)/g)) assert.ok(scripts[name!], name!);
  for (const [, path] of readme.matchAll(/\]\(([\w./-]+)\)/g)) {
    assert.ok(existsSync(new URL(`../${path}`, import.meta.url)), path as string);
  }
});

test('package.json and the program name the same release', () => {
  assert.equal(packageVersion, version);
});
