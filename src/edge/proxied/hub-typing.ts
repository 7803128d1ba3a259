// Who types through the bridge's hub: in come a client's records as they pass by, out go the room and the user of each typing
// note. The note itself is the bridge's; its sender's next message may go by stream, and must not overtake it. Promises: who
// types faster than people do is told of without the room, which costs no reading.

import type { Hub } from '../../contract/contract.ts';
import { type ClientBudget, defaultClientLimits } from '../budget.ts';
import type { Codec } from './codec.ts';
import { MethodNames } from './method-names.ts';

export interface HubTyping {
  /** undefined: somewhere */
  room: string | undefined;
  user: string;
}

const typingMethods = new MethodNames((effect) => effect.kind === 'others' && effect.isTyping);

/** @param user the connection's; without one nobody knows whose typing it is */
export function typingIn(
  hub: Hub,
  record: Buffer,
  codec: Codec,
  user: string | undefined,
  budget: ClientBudget,
): HubTyping | undefined {
  if (user === undefined || !typingMethods.mayBeIn(hub, record)) return undefined;
  if (!budget.readsTyping()) return { room: undefined, user };
  const { target = '', args = [] } = codec.readRecord(record) ?? {};
  const method = hub.method(target);
  const values = method?.bind(args.map((arg) => JSON.stringify(arg) ?? 'null'));
  if (method === undefined || values === undefined || method.ignores(values)) return undefined;
  // Nobody is in such a room through crossfade, so there is nobody whom the note could reach behind a message.
  if (method.longestName(values) > defaultClientLimits.nameChars) return undefined;
  values.set('sub', JSON.stringify(user));
  for (const effect of method.effects) {
    if (effect.kind !== 'others' || !effect.isTyping) continue;
    return { room: effect.toEvent(values, '').room, user };
  }
  return undefined;
}
