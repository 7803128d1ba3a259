// When the log, or the way back from it, was out of order: in come the steps of a run and what its replicas have said, out go the
// calls that were counted as unfenced although their time was in no outage. More may be counted than was shown out of order
// (DESIGN 3), but only events of an outage.

import type { MadeCall } from './owed.ts';
import type { Replica } from './stage.ts';

/** ms of performance.now() */
export interface Outage {
  from: number;
  to: number;
}

/** A call that was acknowledged a little before an outage may be unread when it begins, and rooms return a little after it. */
const slackMs = 5_000;

/**
 * What a replica has said of its log: a machine that is short of CPU makes outages of its own.
 * @param clockOffsetMs how far its wall clock is off
 */
export function toldOutages({ lines }: Pick<Replica, 'lines'>, clockOffsetMs = 0): Outage[] {
  const outages: Outage[] = [];
  let from: number | undefined;
  for (const { msg, time } of lines) {
    const at = Date.parse(String(time)) - clockOffsetMs - performance.timeOrigin;
    if (msg === 'all rooms go to the bridge') from ??= at;
    if (msg !== 'all rooms are back from the bridge' || from === undefined) continue;
    outages.push({ from, to: at });
    from = undefined;
  }
  return from === undefined ? outages : [...outages, { from, to: Number.POSITIVE_INFINITY }];
}

/** @returns a line for each event that was counted and made outside of every outage, or never */
export function findCountedOutside(
  made: ReadonlyMap<string, MadeCall[]>,
  counted: Iterable<string>,
  outages: Outage[],
): string[] {
  const calls = new Map([...made.values()].flat().map((one) => [one.call.eventId, one]));
  return [...new Set(counted)].flatMap((eventId) => {
    const call = calls.get(eventId);
    if (call === undefined) return [`${eventId} was counted, and never made`];
    const isWithin = outages.some(
      ({ from, to }) => call.answeredAt >= from - slackMs && call.startedAt <= to + slackMs,
    );
    return isWithin ? [] : [`${eventId} was counted, and made from ${call.startedAt} to ${call.answeredAt}`];
  });
}
