// What proxied clients send to others, for the members of the same groups whose connections end at crossfade: in comes a client's record
// as it passes by to the bridge, which shows it to the proxied members; out go the events that the native members are to be shown. What
// native clients send needs nothing of this: it is an event of the log, injected at proxied connections like any other.
// Promises: what joins or leaves is told when the bridge has confirmed it (membership.ts), everything else as it passes by; a payload is
// never re-built.

import type { Hub, HubMethod, Values } from '../../contract/contract.ts';
import type { Event } from '../../contract/event.ts';
import type { ClientBudget } from '../budget.ts';
import { type HubProtocolName, ProtocolFault } from '../hub-protocol/protocol.ts';
import { hubProtocols } from '../native/protocols.ts';
import { MethodNames } from './method-names.ts';

/** A record of SignalR's own limit. */
export const maxCrossingBytes = 1024 * 1024;

const crossingMethods = new MethodNames(({ kind }) => kind === 'others');

/** @returns what this record sends to others, if it does. Error: OverBudget. */
export function crossingIn(
  hub: Hub,
  record: Buffer,
  protocol: HubProtocolName,
  user: string | undefined,
  budget: ClientBudget,
): Event[] {
  if (user === undefined || !crossingMethods.mayBeIn(hub, record)) return [];
  const invocation = readCrossing(record, protocol);
  const method = invocation && hub.method(invocation.target);
  if (method === undefined || changesGroups(method)) return [];
  const values = invocation?.args && method.bind(invocation.args);
  if (values === undefined || method.ignores(values)) return [];
  budget.allowName(method.longestName(values));
  values.set('sub', JSON.stringify(user));
  const events = crossingsOf(method, values);
  budget.takePublishes(events.length);
  return events;
}

/** What the method sends to others. */
export function crossingsOf(method: HubMethod, values: Values): Event[] {
  return method.effects.flatMap((effect) => (effect.kind === 'others' ? [forNative(effect.toEvent(values, ''))] : []));
}

/** The same for native members alone. A window of its own: what native clients send is for everybody. */
export function forNative(event: Event): Event {
  const { coalescing } = event;
  return {
    ...event,
    deliveries: event.deliveries.map(({ hub, group, method }) => ({ hub, group, method, to: 'native' })),
    ...(coalescing && { coalescing: { ...coalescing, key: `${coalescing.key} to native` } }),
  };
}

function changesGroups({ effects }: HubMethod): boolean {
  return effects.some(({ kind }) => kind === 'join' || kind === 'leave');
}

/** undefined: another kind of record, or one that the bridge ends the connection for. */
function readCrossing(record: Buffer, protocol: HubProtocolName) {
  try {
    const { splitter, readMessage } = hubProtocols[protocol];
    const [body] = splitter(maxCrossingBytes).push(record, 1);
    const message = body && readMessage(body);
    return message?.kind === 'invocation' ? message : undefined;
  } catch (error) {
    if (error instanceof ProtocolFault) return undefined;
    throw error;
  }
}
