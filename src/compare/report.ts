// The report of a run, for people: in comes what `GET /compare` answers, out go text or a page of HTML. Pure. Promise: the verdict and its
// age come first, what people wrote to each other stands in it only where it was asked for, and what this compare cannot see stands
// in every report.

import { quantileMs, total } from '../telemetry/lane-rates.ts';
import { allTypes, type CompareRun, type TypeTotals } from './run.ts';
import type { CompareSample, Mark } from './slice.ts';
import { type CompareVerdict, grouped, verdictOf } from './verdict.ts';

/** The answer of `GET /compare`. */
export interface CompareView {
  run: CompareRun | null;
  verdict: CompareVerdict | null;
  /** Each sample in words, by ids alone. */
  sampleLines: string[];
  /** What it cannot see. */
  blind: string[];
  next: string | null;
}

/** @param showValues whether what was said in the messages stands in the samples */
export function compareView(run: CompareRun | undefined, nowMs: number, showValues: boolean): CompareView {
  if (run === undefined)
    return { run: null, verdict: null, sampleLines: [], blind: blindSpots(undefined), next: 'crossfade compare start' };
  const samples = showValues ? run.samples : run.samples.map(({ bridge: _, stream: __, ...sample }) => sample);
  const verdict = verdictOf(run, nowMs);
  const next = {
    running: 'crossfade compare stop',
    stopping: 'crossfade compare show',
    ended: verdict.is === 'same' && !verdict.isStale ? 'crossfade cutover show' : 'crossfade compare start',
  };
  return {
    run: { ...run, samples, recent: [] },
    verdict,
    sampleLines: samples.map(sampleLine),
    blind: blindSpots(run),
    next: next[run.state],
  };
}

const unjudgedWords: Record<Exclude<Mark, '=' | '~' | 'o' | 'c' | 'm'>, string> = {
  '.': 'no member was there to look on',
  j: 'its members had come just before',
  l: 'it was read late',
  x: 'it was too large',
  b: 'nobody who was to be shown it could be asked',
};

const sampleWords: Record<CompareSample['kind'], string> = {
  missing: 'not shown by the bridge',
  changed: 'other arguments',
  order: 'out of order',
  alone: 'by the bridge alone',
  foreign: 'written by somebody else',
  twice: 'shown twice',
  outsider: 'to no member',
};

function blindSpots(run: CompareRun | undefined): string[] {
  const byClients = run?.messages.byClients ?? 0;
  return [
    'two connections at most of each group and replica are looked at, and of rooms that are mirrored, or on the stream lane',
    `what clients also send to each other (typing, read receipts, remote sessions) is held against nobody where the bridge shows more of it${
      byClients === 0 ? '' : `: ${grouped(byClients)} such messages`
    }`,
    'the last step of the stream lane: shadows are read as its events are, but shown to nobody',
    'what coalescing makes of typing and read receipts: their shadows are not merged',
    'the order of calls that were under way at the same time',
    'messages above 64 KiB',
  ];
}

/** Reason -> how many events, for those that could not be judged. */
function unjudgedReasons(run: CompareRun): [string, number][] {
  const { unjudged } = allTypes(run);
  const reasons = Object.entries(unjudgedWords).map(([mark, words]): [string, number] => [words, unjudged[mark] ?? 0]);
  return [...reasons, ['they have no shadow', run.unshadowed] satisfies [string, number]].filter(
    ([, number]) => number > 0,
  );
}

const columns = [
  'event type',
  'events',
  'same',
  'ignored',
  'different',
  'not judged',
  'bridge P50 / P95',
  'stream P50 / P95',
];

function rowsOf(run: CompareRun): string[][] {
  const all = Object.entries(run.types).sort(([, a], [, b]) => b.events - a.events);
  const rows = all.map(([type, totals]) => rowOfType(type, totals));
  return all.length > 1 ? [...rows, rowOfType('all', allTypes(run))] : rows;
}

function rowOfType(type: string, totals: TypeTotals): string[] {
  const { events, same, ignored, missing, changed, order, unjudged, bridge, stream } = totals;
  return [
    type,
    ...[events, same, ignored, missing + changed + order, total(Object.values(unjudged))].map(grouped),
    quantilesText(bridge),
    quantilesText(stream),
  ];
}

/** @param counts by bucket */
function quantilesText(counts: number[]): string {
  let sum = 0;
  const delivered = counts.map((count) => {
    sum += count;
    return sum;
  });
  const quantiles = [0.5, 0.95].map((share) => quantileMs({ events: 0, failures: 0, delivered }, share));
  return sum === 0 ? '' : `${quantiles.map((ms) => ms!.toPrecision(3)).join(' / ')} ms`;
}

function messageRows({ messages }: CompareRun): [string, number][] {
  const rows: [string, number][] = [
    ['explained by an event', messages.explained],
    ['also sent by clients to each other', messages.byClients],
    ['of the hub itself', messages.ofHub],
    ['not explained, and not to be judged', messages.unjudged],
    ['by the bridge alone', messages.alone],
    ['written by somebody else, in rooms of the stream lane', messages.foreign],
    ['shown twice', messages.twice],
    ['shown to who is no member here', messages.outsider],
  ];
  return rows.filter(([, number]) => number > 0);
}

function factsOf({ id, by, startedAt, endedAt, version, contract, state, why }: CompareRun): string {
  const until = endedAt === null ? 'still compared' : `until ${endedAt}`;
  const judging = state === 'stopping' ? ', its last seconds are being judged' : '';
  return `run ${id} by ${by}, from ${startedAt}, ${until}${judging}; crossfade ${version}, contract ${contract}${why === '' ? '' : `; ${why}`}`;
}

function sampleLine({ kind, eventId, eventType, hub, method, rooms, paths, replica, at }: CompareSample): string {
  const what = eventId === undefined ? '' : ` ${eventType ?? ''} ${eventId}`;
  const differ = paths === undefined ? '' : `, differs in ${paths.join(', ')}`;
  return `${sampleWords[kind]}:${what} ${hub}/${method}, room ${rooms.join(' or ')}${differ} (${replica}, ${at})`;
}

function sampleText(sample: CompareSample): string[] {
  const { bridge, stream } = sample;
  return [
    sampleLine(sample),
    ...(bridge === undefined ? [] : [`  bridge  ${bridge}`]),
    ...(stream === undefined ? [] : [`  stream  ${stream}`]),
  ];
}

/** What stands behind the table, text and page alike: a title, and a line or some for each thing. */
function sectionsOf(run: CompareRun, blind: string[]): [title: string, items: string[][]][] {
  const events = (number: number) => `${grouped(number)} ${number === 1 ? 'event' : 'events'}`;
  return [
    ['not judged', unjudgedReasons(run).map(([words, number]) => [`${events(number)}: ${words}`])],
    ["the bridge's messages", messageRows(run).map(([words, number]) => [`${grouped(number)} ${words}`])],
    ['disturbed', Object.entries(run.disturbed).map(([why, slices]) => [`${grouped(slices)} s: ${why}`])],
    ['samples', run.samples.map(sampleText)],
    ['what this compare cannot see', blind.map((words) => [words])],
  ];
}

/** What `crossfade compare show` writes. */
export function compareText({ run, verdict, blind, next }: CompareView): string {
  if (run === null || verdict === null) return `nothing was compared yet\nnext  ${next}`;
  const hasTable = run.messages.explained + Object.keys(run.types).length > 0;
  const sections: [string, string[]][] = [
    ['by event type', hasTable ? tableText([columns, ...rowsOf(run)]) : []],
    ...sectionsOf(run, blind).map(([title, items]): [string, string[]] => [title, items.flat()]),
  ];
  const lines = sections
    .filter(([, rows]) => rows.length > 0)
    .flatMap(([title, rows]) => ['', title, ...rows.map((row) => `  ${row}`)]);
  return [verdict.line, ...lines, '', factsOf(run), ...(next === null ? [] : [`next  ${next}`])].join('\n');
}

function tableText(rows: string[][]): string[] {
  const widths = columns.map((_, at) => Math.max(...rows.map((row) => row[at]!.length)));
  return rows.map((row) =>
    row.map((cell, at) => (at === 0 ? cell.padEnd(widths[at]!) : cell.padStart(widths[at]!))).join('   '),
  );
}

/** A page by itself: nothing is loaded. */
export function compareHtml({ run, verdict, blind }: CompareView): string {
  const body =
    run === null || verdict === null
      ? '<h1>nothing was compared yet</h1>'
      : [
          `<h1 class="${verdict.is}">${escapedHtml(verdict.line)}</h1>`,
          `<p>${escapedHtml(factsOf(run))}</p>`,
          '<h2>By event type</h2>',
          `<table>${rowHtml('th', columns)}${rowsOf(run)
            .map((row) => rowHtml('td', row))
            .join('')}</table>`,
          ...sectionsOf(run, blind).map(([title, items]) => listHtml(title, items)),
        ].join('\n');
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>crossfade compare</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #1d2327; background: #fff }
h1 { font-size: 1.4rem } h1.same { color: #17693a } h1.different { color: #a4161a } h2 { font-size: 1.05rem; margin-top: 2rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums } td, th { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #ddd }
td:first-child, th:first-child { text-align: left; padding-left: 0 } li { white-space: pre-wrap; overflow-wrap: anywhere }
@media (prefers-color-scheme: dark) { body { color: #e6e8ea; background: #16191d } h1.same { color: #6fcf97 } h1.different { color: #ff8a80 } td, th { border-color: #333 } }
</style>
${body}
</html>
`;
}

function rowHtml(tag: 'td' | 'th', cells: string[]): string {
  return `<tr>${cells.map((cell) => `<${tag}>${escapedHtml(cell)}</${tag}>`).join('')}</tr>`;
}

function listHtml(title: string, items: string[][]): string {
  if (items.length === 0) return '';
  const heading = title.charAt(0).toUpperCase() + title.slice(1);
  const lines = items.map((item) => `<li>${escapedHtml(item.join('\n'))}</li>`);
  return `<h2>${escapedHtml(heading)}</h2><ul>${lines.join('')}</ul>`;
}

/** Names and values are people's. */
function escapedHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
