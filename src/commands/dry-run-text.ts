// What a dry run says at a terminal: in comes its JSON, out go its findings and what would move.

import { styleText } from 'node:util';
import type { CompletionDryRun } from '../cutover/completion.ts';
import type { DryRun } from '../cutover/dry-runs.ts';
import { findingLines } from './findings-text.ts';

const nameWidth = 13;

/** @param suffix behind the command that is named */
export function dryRunText(found: DryRun, suffix: string): string {
  const { what, from, to, epoch, possible, changes, findings, next } = found;
  const would = styleText('bold', `${what} (${from}% → ${to}%)`);
  const verdict = !changes
    ? 'everything is so already'
    : possible
      ? 'it would be done'
      : styleText('red', 'it would be refused');
  return [
    `${would}, over epoch ${epoch}: ${verdict}`,
    '',
    ...findingLines(findings, nameWidth),
    ...outcomeLines(found).map(([label, text]) => `  ${styleText('dim', label.padEnd(nameWidth))}${text}`),
    '',
    'nothing was changed',
    ...(next === null ? [] : [`${styleText('dim', 'next')}  ${styleText('cyan', next + suffix)}`]),
  ].join('\n');
}

/** Of `complete`. @param suffix behind the command that is named */
export function completionText(
  { epoch, possible, findings, irreversible, next }: CompletionDryRun,
  suffix: string,
): string {
  const verdict = possible ? 'it would be done' : styleText('red', 'it would be refused');
  return [
    `${styleText('bold', 'complete: the bridge is left for good')}, over epoch ${epoch}: ${verdict}`,
    '',
    ...findingLines(findings, nameWidth),
    '',
    'what cannot be taken back:',
    ...irreversible.map((line) => `  - ${line}`),
    '',
    'nothing was changed',
    ...(next === null ? [] : [`${styleText('dim', 'next')}  ${styleText('cyan', next + suffix)}`]),
  ].join('\n');
}

function outcomeLines({ moves, fences, hubs, callsWait }: DryRun): [label: string, text: string][] {
  const { rooms, connections, biggest } = moves;
  const share = rooms.known === 0 ? 0 : (100 * rooms.moving) / rooms.known;
  const about = rooms.exact ? '' : 'about ';
  const most = biggest === null ? '' : `; most at one replica: ${biggest.room}, ${biggest.connections}`;
  const longest =
    callsWait.longestMs === null
      ? 'no handover was seen here yet'
      : `longest of the last handovers: ${callsWait.longestMs} ms`;
  return [
    ['would move', `${about}${count(rooms.moving)} of ${count(rooms.known)} rooms with members (${share.toFixed(1)}%)`],
    ['', `${count(connections.moving)} of ${count(connections.known)} connections${most}`],
    ...hubs.map(({ hub, to, connections, overMs }): [string, string] => [
      'would close',
      `${count(connections)} connections of ${hub} ${overMs === 0 ? 'at once' : `over ${(overMs / 1_000).toFixed(1)} s`}: they come back ${to === 'native' ? 'to crossfade' : 'to the bridge'}`,
    ]),
    ...(rooms.moving === 0
      ? []
      : ([
          ['would wait', `their calls (${longest}; at most ${callsWait.atMostMs} ms)`],
          ...(fences === 0 ? [] : [['would fence', `${count(fences)} connections`]]),
        ] as [string, string][])),
  ];
}

function count(number: number): string {
  return number.toLocaleString('en');
}
