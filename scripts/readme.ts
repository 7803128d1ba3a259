// Writes the tables of the pages from the code's own declarations, so that neither can drift from the other.

import { readFileSync, writeFileSync } from 'node:fs';
import { defaultText, secrets, settings } from '../src/config.ts';
import { type ClientLimits, defaultClientLimits } from '../src/edge/budget.ts';
import { catalogue } from '../src/errors.ts';
import type { Budget } from '../src/telemetry/metrics.ts';

/** Each page with its tables. */
export const pages = {
  'README.md': [],
  'SECURITY.md': ['budgets'],
  'docs/quickstart.md': [],
  'docs/operating.md': [],
  'docs/migration.md': [],
  'docs/runbook.md': [],
  'docs/compare.md': [],
  'docs/settings.md': ['settings', 'secrets', 'errors'],
  'docs/guarantees.md': [],
  'docs/development.md': [],
} as const;
export type Page = keyof typeof pages;

/** What a client may spend, in words, with its label of the metric. */
const budgetWords: Record<keyof ClientLimits, [what: string, label: Budget]> = {
  bytes: ['bytes that a native client sends', 'client_bytes'],
  records: ['records that a client sends (invocations, pings)', 'client_invocations'],
  recordsPerMessage: ['records in one message', 'client_records'],
  publishes: ['messages of a native client to others', 'client_publishes'],
  rooms: ['rooms that a client is in', 'client_rooms'],
  farewells: ['remote sessions that a native client is in', 'client_rooms'],
  nameChars: ['characters of what becomes a name (a room, a session)', 'name_length'],
  searched: ['bytes of a proxied client that are searched for joins and typing', 'client_bytes'],
  typings: ['typing of a proxied client that is read for its room; beyond it counts for all', 'typing_notes'],
};

const tables = {
  settings: table(
    ['flag of `serve`', 'variable', 'default', 'meaning'],
    settings.map((setting) => [
      setting.flag ? code(setting.flag) : '-',
      setting.variables.map(code).join(', '),
      defaultText(setting),
      setting.meaning,
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
  budgets: table(
    ['of one client', 'at once', 'each second', 'budget'],
    Object.entries(defaultClientLimits).map(([name, limit]) => {
      const [what, label] = budgetWords[name as keyof ClientLimits];
      const [most, rate] = typeof limit === 'number' ? [limit, ''] : [limit.burst, count(limit.perSecond)];
      return [what, count(most), rate, code(label)];
    }),
  ),
};

/** @returns the page with every table as the code has it */
export function render(page: Page, text: string): string {
  return pages[page].reduce((whole: string, name) => {
    const place = new RegExp(`(<!-- ${name} -->\n)[\\s\\S]*?(<!-- /${name} -->)`);
    if (!place.test(whole)) throw new Error(`${page} has no place for the table of ${name}`);
    return whole.replace(place, (_, start: string, end: string) => `${start}${tables[name]}\n${end}`);
  }, text);
}

export function read(page: Page): string {
  return readFileSync(new URL(`../${page}`, import.meta.url), 'utf8');
}

function table(head: string[], rows: string[][]): string {
  const line = (cells: string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

function code(text: string): string {
  return `\`${text}\``;
}

/** A whole number as people write it. */
function count(number: number): string {
  return number.toLocaleString('en');
}

if (import.meta.main) {
  for (const page of Object.keys(pages) as Page[]) {
    writeFileSync(new URL(`../${page}`, import.meta.url), render(page, read(page)));
  }
}
