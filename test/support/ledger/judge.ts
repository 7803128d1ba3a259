// The ledger's judge: in go all calls as they were made and all stays with what they saw, out go the faults, readable.
// Promises: every member was shown what it is owed exactly once and in its room's order, and nothing else.

import type { Fault, Rules } from './fault.ts';
import { judgeCoalesced } from './judge-coalesced.ts';
import { claimOf, describeCall, describeStay, type MadeCall, type Stay } from './owed.ts';
import { compareSequence, type Expected, type Mismatch } from './sequence.ts';

/** @param made room -> its calls in their order */
export function judge(made: ReadonlyMap<string, MadeCall[]>, stays: Stay[], rules: Rules): Fault[] {
  return stays.flatMap((stay) => {
    const calls = made.get(stay.room) ?? [];
    return [...judgeOrder(calls, stay, rules), ...judgeCoalesced(calls, stay, rules)];
  });
}

function judgeOrder(calls: MadeCall[], stay: Stay, rules: Rules): Fault[] {
  const expected = calls.flatMap((made) => expectedOf(made, stay, rules));
  const seen = stay.seen.flatMap(({ label, typing, receipt }) => ((typing ?? receipt) ? [] : [label]));
  const mismatch = compareSequence(expected, seen);
  if (mismatch === undefined) return [];
  const { client, hub, room } = stay;
  const text = `${describeMismatch(mismatch, expected, seen)}\n  stayed   ${describeStay(stay)}`;
  return [{ kind: mismatch.kind, client, hub, room, text }];
}

function expectedOf(made: MadeCall, stay: Stay, rules: Rules): ExpectedOfCall[] {
  const claim = claimOf(stay, made, rules);
  if (claim === 'barred') return [];
  const { shows, eventId } = made.call;
  const here = shows.filter(({ hub }) => hub === stay.hub);
  return here.flatMap(({ label }) => {
    const isOwed = claim === 'owed' && !rules.isExcused(stay);
    const once = { label, isOwed, isLoose: rules.unfenced.has(eventId), made };
    return rules.inDoubt.has(eventId) ? [once, { ...once, isOwed: false, isLoose: true }] : [once];
  });
}

/** An expected message and the call that causes it. */
interface ExpectedOfCall extends Expected {
  made: MadeCall;
}

const aroundCount = 4;

/** What is not owed carries a question mark. */
function describeMismatch({ label, seenAt, expectedAt }: Mismatch, expected: ExpectedOfCall[], seen: string[]): string {
  const ordered = expected.filter(({ isLoose }) => !isLoose);
  const loose = expected.filter(({ isLoose }) => isLoose);
  const alike = loose.filter((one) => one.label === label).map(({ made }) => describeCall(made));
  const wanted = ordered.map((one) => (one.isOwed ? one.label : `${one.label}?`));
  return [
    `${label}; the ${seenAt + 1}th of ${seen.length} seen`,
    `  expected ${around(wanted, expectedAt)}`,
    `  seen     ${around(seen, seenAt)}`,
    `  called   ${around(
      ordered.map(({ made }) => describeCall(made)),
      expectedAt,
    )}`,
    ...(loose.length > 0 ? [`  and ${loose.length} more at any place, of these alike: ${alike.join(', ')}`] : []),
  ].join('\n');
}

function around(labels: string[], at: number): string {
  const from = Math.max(0, at - aroundCount);
  const shown = labels.slice(from, at + aroundCount + 1).map((label, i) => (from + i === at ? `[${label}]` : label));
  if (at >= labels.length) shown.push('[the end]');
  return `${from > 0 ? '… ' : ''}${shown.join(', ')}${at + aroundCount + 1 < labels.length ? ' …' : ''}`;
}
