// The pages against the code: their tables, commands, links, length, and the release.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { type Page, pages, read, render } from '../scripts/readme.ts';
import { lingerMs } from '../src/refusal.ts';
import { version } from '../src/version.ts';

const { scripts, version: packageVersion } = JSON.parse(
  readFileSync(new URL('../package.json', import.meta.url), 'utf8'),
);

for (const page of Object.keys(pages) as Page[]) {
  const text = read(page);

  test(`the tables of ${page} are those of the code`, () => {
    assert.equal(render(page, text), text, 'run: node scripts/readme.ts');
  });

  test(`the npm commands of ${page} exist, and its files too`, () => {
    for (const [, name] of text.matchAll(/npm run (\w+)/g)) assert.ok(scripts[name!], name!);
    for (const [, path] of text.matchAll(/\]\(([\w./-]+)(?:#[\w-]+)?\)/g)) {
      assert.ok(existsSync(new URL(path!, new URL(`../${page}`, import.meta.url))), path as string);
    }
  });
}

test('the README stays what a visitor reads at once', () => {
  assert.ok(read('README.md').split(/\s+/).length < 1_984);
});

test('what SECURITY.md says of refused clients is what the code does', () => {
  assert.ok(read('SECURITY.md').includes(`gone within ${lingerMs / 1000} s`));
});

test('package.json and the program name the same release', () => {
  assert.equal(packageVersion, version);
});
