// Writes the README's tables from the code's own declarations, so that neither can drift from the other.

import { readFileSync, writeFileSync } from 'node:fs';
import { secrets, settings } from '../src/config.ts';
import { catalogue } from '../src/errors.ts';

const file = new URL('../README.md', import.meta.url);

const tables = {
  settings: table(
    ['flag of `serve`', 'variable', 'default', 'meaning'],
    settings.map(({ flag, variables, standard, meaning }) => [
      flag ? code(flag) : '-',
      variables.map(code).join(', '),
      standard,
      meaning,
    ]),
  ),
  secrets: table(
    ['variable', 'meaning'],
    secrets.map(({ variables, meaning }) => [variables.map(code).join(' or '), meaning]),
  ),
  errors: table(
    ['code', 'what happened', 'what to do'],
    Object.entries(catalogue).map(([name, { meaning, remedy }]) => [code(name), meaning, remedy]),
  ),
};

/** @returns the README with every table as the code has it */
export function render(readme: string): string {
  return Object.entries(tables).reduce((text, [name, rows]) => {
    const place = new RegExp(`(<!-- ${name} -->\n)[\\s\\S]*?(<!-- /${name} -->)`);
    if (!place.test(text)) throw new Error(`the README has no place for the table of ${name}`);
    return text.replace(place, (_, start: string, end: string) => `${start}${rows}\n${end}`);
  }, readme);
}

function table(head: string[], rows: string[][]): string {
  const line = (cells: string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

function code(text: string): string {
  return `\`${text}\``;
}

if (import.meta.main) writeFileSync(file, render(readFileSync(file, 'utf8')));
