// What an operator sees of the cutover: in comes the answer of `GET /cutover`, out go a few lines for a terminal. Promises:
// whatever keeps the percent from being what was asked for has a line of its own, with what would release it.

import { stripVTControlCharacters, styleText } from 'node:util';
import type { HubStatus } from '../cutover/hub-moves.ts';
import type { LaneStatus, ReplicaStatus, Status } from '../cutover/status.ts';
import type { PlannedStatus, PlanSummary } from '../plan/report.ts';
import { isOpen } from '../plan/run.ts';

const shownChanges = 5;
const labelWidth = 10;
const stages = ['observe', 'mirror', 'shift', 'full', 'native'];

/** @param suffix behind each command that is named */
export function statusText(status: PlannedStatus, suffix = ''): string {
  const { percent } = status.effective;
  const lines = [`${slider(percent)}   ${styleText('bold', `${percent}% by stream`)}`, ''];
  for (const [label, texts] of Object.entries(partsOf(status, suffix))) {
    for (const [index, text] of texts.entries()) {
      lines.push(styleText('dim', (index === 0 ? label : '').padEnd(labelWidth)) + text);
    }
  }
  return lines.join('\n');
}

/** Label -> its lines; what has none is not shown. */
function partsOf(status: PlannedStatus, suffix: string): Record<string, string[]> {
  const { effective, percent, epoch, pins, bridges, guard, replicas, history, next } = status;
  return {
    stage: [
      `${stages.map((each) => (each === status.stage ? styleText('bold', `[${each}]`) : each)).join(' ')}${status.completed ? ', complete' : ''}, epoch ${epoch}`,
    ],
    'set to':
      effective.percent === percent || status.stage === 'native'
        ? []
        : [`${percent}%, but ${effective.why ?? 'held back'}`],
    plan: planLines(status.plan),
    why: whyLines(status, suffix),
    bridge: bridges.map(({ bridge, reachable, detail }) =>
      reachable ? `${bridge} ${detail}` : styleText('red', `${bridge} is not there: ${detail}`),
    ),
    log: [logText(status.log)],
    guard: guardLines(guard, bridges),
    lanes:
      status.stage === 'native'
        ? [laneText('stream', status)]
        : [laneText('bridge', status), laneText('stream', status)],
    pins: Object.entries(pins).map(([room, lane]) => `${room} by ${lane}`),
    mirror: [mirrorText(status)],
    // A replica of an older release says nothing of it.
    compare: status.compare ? [status.compare] : [],
    hubs: hubLines(status.hubs),
    replicas: replicaLines(replicas, epoch, anyMoved(status.hubs)),
    changes: history
      .slice(-shownChanges)
      .reverse()
      .map(
        ({ when, from, to, what, who, why }) =>
          `${timeOf(when)}   ${`${from}% → ${to}%`.padEnd(12)}${what}, by ${who}${why === undefined ? '' : `: ${why}`}`,
      ),
    next: next === null ? [] : [styleText('cyan', next + suffix)],
  };
}

function whyLines({ standstill, stage, history, plan }: PlannedStatus, suffix: string): string[] {
  const lines = standstill.flatMap(({ why, release }) => {
    const isCommand = release.startsWith('crossfade ');
    return [styleText('yellow', why), `  → ${isCommand ? styleText('cyan', release + suffix) : release}`];
  });
  if (lines.length > 0 || stage === 'native') return lines;
  if (isOpen(plan)) return [plan.why || 'the plan goes on by itself'];
  const last = history.at(-1);
  return [`nothing holds it: it waits for a command${last === undefined ? '' : ` since ${timeOf(last.when)}`}`];
}

function planLines(plan: PlanSummary | null): string[] {
  if (plan === null) return [];
  const ended = plan.state === 'rolled back' || plan.state === 'ended' ? [styleText('yellow', plan.why)] : [];
  return [`${plan.name}: ${plan.line}, by ${plan.by}`, ...ended];
}

function logText({ reachable, isCutOff }: Status['log']): string {
  if (isCutOff) return styleText('red', 'read by others, not by this replica');
  return reachable ? 'reachable' : styleText('red', 'not reachable');
}

function guardLines(guard: Status['guard'], bridges: Status['bridges']): string[] {
  if (guard === null) return [];
  // What it saw last holds no more when there is nobody to count.
  if (!bridges.some(({ reachable }) => reachable)) return ['cannot look: no bridge answers'];
  const seen = `(seen ${timeOf(guard.at)})`;
  return guard.ok ? [`no client is left out ${seen}`] : guard.reasons.map((reason) => `${reason} ${seen}`);
}

function laneText(lane: 'bridge' | 'stream', { lanes }: Status): string {
  const { perSecond, p50, p95, failures }: LaneStatus = lanes[lane];
  const rate = `${perSecond.toFixed(1).padStart(7)}/s`;
  const times = p50 === null ? 'nothing delivered' : `P50 ${msText(p50)}   P95 ${msText(p95)}`;
  const failed = failures === 0 ? 'no errors' : styleText('red', counted(failures, 'error'));
  const fallen = lane === 'stream' && lanes.fallbacks > 0 ? styleText('red', `, ${lanes.fallbacks} fell back`) : '';
  return `by ${lane}${rate}   ${times.padEnd(29)}   ${failed}${fallen}`;
}

function mirrorText({ mirror, mirrorPercent }: Status): string {
  if (!mirror) return 'off';
  return mirrorPercent === 100 ? 'on' : `on for ${mirrorPercent}% of the rooms`;
}

/** Where all are at the bridge, and nobody is on his way, there is nothing to be said. */
function hubLines(hubs: Status['hubs']): string[] {
  return anyMoved(hubs) ? Object.entries(hubs).map(([hub, where]) => hubText(hub, where)) : [];
}

function anyMoved(hubs: Status['hubs']): boolean {
  return Object.values(hubs).some(({ at, native }) => at === 'native' || native > 0);
}

/** Who is where its hub is not any more is on its way. */
function hubText(hub: string, { at, native, proxied }: HubStatus): string {
  const [here, left] = at === 'native' ? [native, proxied] : [proxied, native];
  const still =
    left === 0 ? '' : styleText('yellow', `, ${left} still ${at === 'native' ? 'at the bridge' : 'native'}`);
  return `${hub.padEnd(14)} ${at === 'native' ? 'native' : 'at the bridge'}, ${counted(here, 'client')}${still}`;
}

/** Columns as wide as what stands in them. */
function replicaLines(replicas: ReplicaStatus[], epoch: number, isMoved: boolean): string[] {
  const rows = replicas.map((each) => [
    each.instance,
    epochText(each.epoch, epoch),
    ...(each.answers ? numbersOf(each) : [styleText('red', silenceText(each))]),
    each.version ?? '',
    // Its flag; where an operator has moved hubs, they have lines of their own.
    each.hubs === undefined || isMoved ? '' : `hubs ${each.hubs}`,
    each.admin ?? '',
  ]);
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => visible(row[column] ?? '')))) ?? [];
  return rows.map((row) =>
    row
      .map((cell, column) => cell + ' '.repeat(widths[column]! - visible(cell)))
      .join('   ')
      .trimEnd(),
  );
}

function numbersOf({ clients, rooms, lag, unfenced, draining, bridges }: ReplicaStatus): string[] {
  const parts = [
    counted(clients ?? 0, 'client'),
    counted(rooms ?? 0, 'room'),
    lag === null ? 'lag not known' : `lag ${lag}`,
    ...(unfenced ? [styleText('yellow', `${unfenced} unfenced`)] : []),
    ...(bridges !== null && bridges.up < bridges.of
      ? [styleText('red', `reaches ${bridges.up} of ${bridges.of} bridges`)]
      : []),
    ...(draining ? [styleText('yellow', 'draining')] : []),
  ];
  return [parts.join(', ')];
}

function silenceText({ heardMs }: ReplicaStatus): string {
  return heardMs === null ? 'does not answer' : `does not answer, last did ${Math.round(heardMs / 1_000)} s ago`;
}

/** @param at what the replica says of itself */
function epochText(at: string | undefined, epoch: number): string {
  if (at === undefined) return 'epoch not known';
  return Number(at) < epoch ? styleText('yellow', `epoch ${at}, behind ${epoch}`) : `epoch ${at}`;
}

function counted(number: number, what: string): string {
  return `${number.toLocaleString('en')} ${what}${number === 1 ? '' : 's'}`;
}

function msText(ms: number | null): string {
  return `${(ms ?? 0).toFixed(1).padStart(6)} ms`;
}

/** Characters without colours. */
function visible(text: string): number {
  return stripVTControlCharacters(text).length;
}

/** @param when ISO 8601, in UTC */
function timeOf(when: string): string {
  return `${when.slice(0, 10)} ${when.slice(11, 19)}Z`;
}

/** The slider in 21 characters. */
function slider(percent: number): string {
  const at = Math.round(percent / 5);
  const [left, right] = [styleText('cyan', '━'.repeat(at)), styleText('yellow', '─'.repeat(20 - at))];
  return `bridge ${left}●${right} stream`;
}
