// What the judge finds: one fault of one member in one room, by which rules, and how it is told to people.

import type { Bounds, MadeCall, Stay } from './owed.ts';
import type { Mismatch } from './sequence.ts';

export interface Rules extends Bounds {
  /** Ids of the events of which a replica has said that their order cannot be proven: those may be out of order. */
  unfenced: ReadonlySet<string>;
  /** Ids of those among them of which a replica has said that it may show them twice. */
  inDoubt: ReadonlySet<string>;
  /** A stay whose member was closed in order to fetch what it missed: it is owed nothing, and judged by its order alone. */
  isExcused(stay: Stay): boolean;
  /** What was in a window may be lost, as by a crash (promise 4): it is then judged by its order alone. */
  mayLose(coalesced: MadeCall): boolean;
}

export const standardRules: Rules = {
  endMarginMs: 1_000,
  replayMs: 5_000,
  unfenced: new Set(),
  inDoubt: new Set(),
  isExcused: () => false,
  mayLose: () => false,
};

export interface Fault {
  kind: Mismatch['kind'] | 'typing' | 'receipts';
  client: string;
  hub: string;
  room: string;
  text: string;
}

/** @returns how many faults there are, of which kinds, and the first of each kind as a text for people */
export function describeFaults(faults: Fault[], shownPerKind = 3): string {
  const clients = new Set(faults.map(({ client }) => client));
  const byKind = [...Map.groupBy(faults, ({ kind }) => kind)];
  const kinds = byKind.map(([kind, of]) => `${of.length} ${kind}`);
  const lines = byKind.flatMap(([, of]) => of.slice(0, shownPerKind)).map(describeFault);
  return [`${faults.length} faults at ${clients.size} clients (${kinds.join(', ')})`, ...lines].join('\n');
}

function describeFault({ kind, client, hub, room, text }: Fault): string {
  return `${kind}: ${client} (${hub}) in ${room}: ${text}`;
}
