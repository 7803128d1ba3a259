// Judges typing and read receipts, which may be merged: a user's typing is never shown after its later message, what it
// is shown to be doing last is what it did last, and every id that was read is shown, none that was not.

import type { Fault, Rules } from './fault.ts';
import { claimOf, describeCall, type MadeCall, type Stay } from './owed.ts';

export function judgeCoalesced(calls: MadeCall[], stay: Stay, rules: Rules): Fault[] {
  const { client, hub, room } = stay;
  const fault = (kind: Fault['kind'], text: string | undefined): Fault[] =>
    text === undefined ? [] : [{ kind, client, hub, room, text }];
  return [
    ...fault('typing', findLateTyping(calls, stay, rules)),
    ...fault('foreign', findForeign(calls, stay)),
    ...(hub !== 'chat' ? [] : fault('typing', findWrongState(calls, stay, rules))),
    ...(hub !== 'chat' ? [] : fault('receipts', findUnread(calls, stay, rules))),
  ];
}

function findLateTyping(calls: MadeCall[], { seen }: Stay, { unfenced }: Rules): string | undefined {
  const fenced = calls.filter(({ call }) => !unfenced.has(call.eventId));
  const loose = new Set(
    calls.flatMap(({ call: { typing, eventId } }) => (unfenced.has(eventId) ? [typing?.user] : [])),
  );
  const enders = new Map(
    fenced.flatMap(({ call }) => (call.endsTypingOf ? [[call.shows[0]!.label, call.endsTypingOf] as const] : [])),
  );
  const silent = new Set<string>();
  for (const { label, typing } of seen) {
    if (typing !== undefined && silent.has(typing.user)) {
      const its = calls.filter(({ call }) => [call.typing?.user, call.endsTypingOf].includes(typing.user));
      return `${label} after the message of ${typing.user}; called ${its.map(describeCall).join(', ')}`;
    }
    const sender = enders.get(label);
    if (sender !== undefined && !loose.has(sender)) silent.add(sender);
  }
  return undefined;
}

function findForeign(calls: MadeCall[], { seen }: Stay): string | undefined {
  const typed = new Set(calls.flatMap(({ call: { typing } }) => (typing ? [`${typing.user} ${typing.isTyping}`] : [])));
  const read = new Set(idsOf(calls));
  for (const { label, typing, receipt } of seen) {
    if (typing !== undefined && !typed.has(`${typing.user} ${typing.isTyping}`)) return label;
    if (receipt?.ids.some((id) => !read.has(`${receipt.user} ${id}`))) return label;
  }
  return undefined;
}

/** A typist who has sent no message is shown as it was last, where that is owed. */
function findWrongState(calls: MadeCall[], stay: Stay, rules: Rules): string | undefined {
  const last = new Map(calls.flatMap((made) => (made.call.typing ? [[made.call.typing.user, made] as const] : [])));
  for (const { call } of calls) if (call.endsTypingOf !== undefined) last.delete(call.endsTypingOf);
  const shown = new Map(stay.seen.flatMap(({ typing }) => (typing ? [[typing.user, typing.isTyping] as const] : [])));
  for (const [user, made] of last) {
    const { isTyping } = made.call.typing!;
    if (!isOwed(stay, made, rules) || shown.get(user) === isTyping) continue;
    return `${user} was last shown typing: ${shown.get(user)}, called: ${isTyping} (${made.call.eventId})`;
  }
  return undefined;
}

function findUnread(calls: MadeCall[], stay: Stay, rules: Rules): string | undefined {
  const shown = new Set(stay.seen.flatMap(({ receipt }) => receipt?.ids.map((id) => `${receipt.user} ${id}`) ?? []));
  const owed = idsOf(calls.filter((made) => isOwed(stay, made, rules)));
  const missing = owed.filter((id) => !shown.has(id));
  return missing.length === 0 ? undefined : `${missing.length} read ids were never shown, the first is ${missing[0]}`;
}

function isOwed(stay: Stay, made: MadeCall, rules: Rules): boolean {
  return claimOf(stay, made, rules) === 'owed' && !rules.mayLose(made);
}

function idsOf(calls: MadeCall[]): string[] {
  return calls.flatMap(({ call: { receipt } }) => receipt?.ids.map((id) => `${receipt.user} ${id}`) ?? []);
}
