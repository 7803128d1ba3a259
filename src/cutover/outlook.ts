// Where the cutover stands and why it stands still: in comes what is known of it, out go the stage, each reason that keeps it
// from moving with what would release it, and the next command. Pure. Promise: whatever keeps the percent from being what
// somebody asked for has a reason here.

import type { BridgeState } from '../bridge/health.ts';
import type { Outage } from '../rooms/outage.ts';
import { type CutoverState, type Stage, stageOf } from '../rooms/state.ts';
import type { Verdict } from './guard.ts';
import { isOverruled, type Wish } from './own-flags.ts';
import type { Seen } from './survey.ts';

export interface KnownCutover {
  state: CutoverState;
  /** Whether there is no bridge: nothing ever moves. */
  standalone: boolean;
  /** `native`: all of them are. */
  hubs: 'proxy' | 'native';
  /** What the flags of this replica ask for, and why the guard does not let it happen (empty: it does). */
  wish: Wish | null;
  heldFor: string;
  outage: Outage['status'];
  guard: Verdict | undefined;
  bridges: BridgeState[];
  log: { reachable: boolean; followed: boolean; isCutOff: boolean };
  replicas: Pick<Seen, 'instance' | 'view' | 'heardMs'>[];
}

export interface Standstill {
  /** In words for the operator. */
  why: string;
  /** What ends it: a command, or what is to be done. */
  release: string;
}

export interface Outlook {
  stage: Stage;
  standstill: Standstill[];
  /** A command; null: there is nothing to be done. */
  next: string | null;
}

/** Each is looked at for a while before the next. */
const steps = [1, 5, 25, 50, 100];

export function outlook(known: KnownCutover): Outlook {
  const { state, standalone, hubs } = known;
  if (standalone) return { stage: 'native', standstill: [], next: null };
  const stage = hubs === 'native' ? 'native' : stageOf(state);
  const standstill = standstills(known);
  return { stage, standstill, next: nextCommand(state, stage, standstill) };
}

/** The most telling first. */
function standstills(known: KnownCutover): Standstill[] {
  const { state, wish, heldFor, outage, log } = known;
  const { hold, killed } = state;
  return [
    ...(hold === null ? [] : [{ why: `${hold.who} holds it: ${hold.why}`, release: 'crossfade cutover release' }]),
    ...killed.map((instance) => ({
      why: `${instance} has the kill switch: every room of every replica is at the bridge`,
      release: `start ${instance} without EVENT_TRANSPORT_USE_REDIS_STREAMS=false`,
    })),
    ...ofLog(log, outage),
    ...(heldFor === '' || hold !== null
      ? []
      : [{ why: `held back: ${heldFor}`, release: 'remove what it names: it goes on by itself' }]),
    ...ofGuard(known),
    ...(wish !== null && isOverruled(state, wish) && wish.percent > 0
      ? [
          {
            why: `the flags ask for ${wish.percent}%, but an operator's word stands`,
            release: 'crossfade cutover reset',
          },
        ]
      : []),
    ...ofReplicas(known),
  ];
}

function ofLog({ followed, isCutOff }: KnownCutover['log'], outage: KnownCutover['outage']): Standstill[] {
  if (isCutOff)
    return [
      {
        why: 'others read the log, this replica does not',
        release: 'give it the way to Redis back',
      },
    ];
  if (outage !== null) return [ofOutage(outage)];
  if (followed) return [];
  return [{ why: 'what stands in the log is not known: nothing can be moved', release: 'bring Redis back' }];
}

function ofOutage({ since, reason, fails }: NonNullable<KnownCutover['outage']>): Standstill {
  const why = fails.length === 0 ? 'the rooms are about to return' : `the log fails at ${fails.join(', ')}`;
  const release = fails.length === 0 ? 'wait a moment' : 'bring Redis back: the rooms return by themselves';
  return { why: `all rooms go to the bridge since ${since.slice(11, 19)}Z (${reason}): ${why}`, release };
}

function ofGuard({ guard, bridges, heldFor, hubs }: KnownCutover): Standstill[] {
  // Nobody needs the bridge any more.
  if (hubs === 'native') return [];
  // What it saw last holds no more when there is nobody to count.
  if (!bridges.some(({ reachable }) => reachable))
    return [{ why: 'no bridge answers: nobody can count its clients', release: 'bring the bridge back' }];
  if (guard === undefined || guard.ok || heldFor !== '') return [];
  return guard.reasons.map((why) => ({ why, release: 'remove what it names, or `--force` where it is harmless' }));
}

function ofReplicas({ replicas }: KnownCutover): Standstill[] {
  return replicas
    .filter(({ view }) => view === undefined)
    .map(({ instance }) => ({
      why: `${instance} does not answer at its admin port`,
      release: `look at ${instance}; without it a rollback needs the log`,
    }));
}

function nextCommand({ percent, mirror, pins }: CutoverState, stage: Stage, standstill: Standstill[]): string | null {
  const first = standstill[0];
  if (first !== undefined) return first.release.startsWith('crossfade ') ? first.release : 'crossfade check';
  if (percent === 0 && !mirror && !Object.values(pins).includes('stream')) return 'crossfade cutover mirror 10';
  if (stage === 'full') return 'crossfade cutover hubs native --dry-run';
  if (stage === 'native') return 'crossfade cutover complete --dry-run';
  const step = steps.find((each) => each > percent);
  return step === undefined ? null : `crossfade cutover set ${step} --dry-run`;
}
