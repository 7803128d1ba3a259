// What an operator sees of the cutover: in comes the answer of `GET /cutover`, out go a few lines for a terminal. Promises:
// whatever keeps the percent from being what was asked for has a line of its own.

import { styleText } from 'node:util';
import type { BridgeState } from '../bridge/health.ts';
import { isOverruled } from '../cutover/wishes.ts';

/** The parts of the answer that are shown. */
export interface Status {
  epoch: number;
  percent: number;
  pins: Record<string, string>;
  mirror: boolean;
  effective: { percent: number; why?: string; held?: string };
  operated: boolean;
  /** What the flags of the replica that answers ask for. */
  wish: { percent: number; mirror: boolean };
  outage: { since: string; reason: string; fails: string[] } | null;
  bridges: BridgeState[];
  log: { reachable: boolean; isCutOff: boolean };
  guard: { ok: boolean; reasons: string[] } | null;
  replicas: { instance: string; epoch?: string }[];
  history: { who: string; when: string; what: string; from: number; to: number }[];
}

const shownChanges = 5;
const labelWidth = 10;

export function statusText(status: Status): string {
  const { percent } = status.effective;
  const lines = [`${slider(percent)}   ${styleText('bold', `${percent}% by stream`)}`, ''];
  for (const [label, texts] of Object.entries(partsOf(status))) {
    for (const [index, text] of texts.entries()) {
      lines.push(styleText('dim', (index === 0 ? label : '').padEnd(labelWidth)) + text);
    }
  }
  return lines.join('\n');
}

/** Label -> its lines; what has none is not shown. */
function partsOf(status: Status): Record<string, string[]> {
  const { effective, percent, epoch, pins, mirror, wish, outage, bridges, log, guard, replicas, history } = status;
  const nameWidth = Math.max(...replicas.map(({ instance }) => instance.length));
  return {
    'set to': effective.percent === percent ? [] : [`${percent}%, but ${effective.why ?? 'held back'}`],
    held: effective.held === undefined ? [] : [effective.held],
    flags:
      isOverruled(status, wish) && wish.percent > 0 ? [`ask for ${wish.percent}%, but an operator's word stands`] : [],
    bridge: bridges.map(({ bridge, reachable, detail }) =>
      reachable ? `${bridge} ${detail}` : styleText('red', `${bridge} is not there: ${detail}`),
    ),
    log: [logText(log)],
    outage: outage === null ? [] : [outageText(outage)],
    guard: guardLines(guard, bridges),
    pins: Object.entries(pins).map(([room, lane]) => `${room} by ${lane}`),
    mirror: [mirror ? 'on' : 'off'],
    replicas: replicas.map(({ instance, epoch: at }) => `${instance.padEnd(nameWidth)}   ${epochText(at, epoch)}`),
    changes: history
      .slice(-shownChanges)
      .reverse()
      .map(({ when, from, to, what, who }) => `${timeOf(when)}   ${`${from}% → ${to}%`.padEnd(12)}${what}, by ${who}`),
    ...(replicas.length === 0 && { epoch: [String(epoch)] }),
  };
}

function outageText({ since, reason, fails }: NonNullable<Status['outage']>): string {
  const why = fails.length === 0 ? 'the rooms are about to return' : `the log fails at ${fails.join(', ')}`;
  return styleText('yellow', `all rooms go to the bridge since ${timeOf(since)} (${reason}): ${why}`);
}

function logText({ reachable, isCutOff }: Status['log']): string {
  if (isCutOff) return styleText('red', 'read by others, not by this replica: its clients miss the stream lane');
  return reachable ? 'reachable' : styleText('red', 'not reachable');
}

function guardLines(guard: Status['guard'], bridges: BridgeState[]): string[] {
  if (guard === null) return [];
  // What it saw last holds no more when there is nobody to count.
  if (!bridges.some(({ reachable }) => reachable)) return ['cannot look: no bridge answers'];
  return guard.ok ? ['no client is left out'] : guard.reasons;
}

/** @param at what the replica says of itself */
function epochText(at: string | undefined, epoch: number): string {
  if (at === undefined) return 'epoch not known';
  return Number(at) < epoch ? styleText('yellow', `epoch ${at}, behind ${epoch}`) : `epoch ${at}`;
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
