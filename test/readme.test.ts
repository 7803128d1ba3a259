// The pages against the code: their tables, commands, links, length, and the release.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Command } from 'commander';
import { type Page, pages, read, render } from '../scripts/readme.ts';
import { addBench } from '../src/commands/bench-words.ts';
import { addCompare } from '../src/commands/compare.ts';
import { addCutover } from '../src/commands/cutover-words.ts';
import { lingerMs } from '../src/refusal.ts';
import { version } from '../src/version.ts';

const { scripts, version: packageVersion } = JSON.parse(
  readFileSync(new URL('../package.json', import.meta.url), 'utf8'),
);

const program = new Command();
for (const add of [addBench, addCutover, addCompare]) add(program);

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

for (const page of Object.keys(pages) as Page[]) {
  test(`every command of ${page} is one of the program, with its flags`, () => {
    const wrong = commandsIn(read(page)).flatMap((line) => faultsOf(line).map((fault) => `${line}: ${fault}`));
    assert.deepEqual(wrong, []);
  });
}

test('the commands of main.ts are there', () => {
  const main = readFileSync(new URL('../src/main.ts', import.meta.url), 'utf8');
  for (const name of ofMain) assert.match(main, new RegExp(`\\('${name}[' ]`), name);
});

test('a command or a flag that there is not is found in a page', () => {
  const page =
    '    crossfade cutover set 1 --dry-run\n    crossfade cutover fly\nand `crossfade cutover hubs native --hup chat`.';
  assert.deepEqual(commandsIn(page).flatMap(faultsOf), ["no command 'fly'", 'no flag --hup']);
});

/** What stands behind `crossfade` in lines of code and between backticks. */
function commandsIn(page: string): string[] {
  const lines = [...page.matchAll(/^(?: {4}|\$ )crossfade (\w.*)$/gm), ...page.matchAll(/`crossfade (\w[^`]*)`/g)];
  return lines.map(([, words]) => words!.replace(/ {2,}#.*$/, '').trim());
}

/** Commands that stand in main.ts itself, which cannot be looked at without being run. */
const ofMain = ['serve', 'check', 'drain', 'health', 'demo', 'contract'];

function faultsOf(line: string): string[] {
  const words = line.split(/\s+/);
  if (ofMain.includes(words[0]!)) return [];
  let command = program;
  for (const word of words) {
    if (command.commands.length === 0) break;
    const next = command.commands.find((each) => each.name() === word.replace(/,$/, ''));
    if (next === undefined) return [`no command '${word}'`];
    command = next;
  }
  const flags = [...line.matchAll(/(?<=\s)--[a-z-]+/g)].map(([flag]) => flag);
  const known = command.options.map(({ long }) => long);
  return flags.filter((flag) => !known.includes(flag)).map((flag) => `no flag ${flag}`);
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
