// Who types through the bridge's hub: in come a client's records as they pass by, out go the room and the user of each typing
// note. The note itself is the bridge's; its sender's next message may go by stream, and must not overtake it.

import type { Hub } from '../../contract/contract.ts';
import type { Codec } from './codec.ts';

export interface HubTyping {
  room: string;
  user: string;
}

const typingMethods = new WeakMap<Hub, RegExp>();

/** @param user the connection's; without one nobody knows whose typing it is */
export function typingIn(hub: Hub, record: Buffer, codec: Codec, user: string | undefined): HubTyping | undefined {
  if (user === undefined || !namesOf(hub).test(record.toString())) return undefined;
  const { target = '', args = [] } = codec.readRecord(record) ?? {};
  const method = hub.method(target);
  const values = method?.bind(args.map((arg) => JSON.stringify(arg) ?? 'null'));
  if (method === undefined || values === undefined || method.ignores(values)) return undefined;
  values.set('sub', JSON.stringify(user));
  for (const effect of method.effects) {
    if (effect.kind !== 'others' || !effect.isTyping) continue;
    return { room: effect.toEvent(values, '').room, user };
  }
  return undefined;
}

/** Names count in any case, and may be escaped; without such a method nothing matches. */
function namesOf(hub: Hub): RegExp {
  let names = typingMethods.get(hub);
  if (names === undefined) {
    const typing = hub.methods.filter(({ effects }) => effects.some((each) => each.kind === 'others' && each.isTyping));
    const patterns = typing.map(({ name }) => RegExp.escape(name));
    names = new RegExp(patterns.length > 0 ? [...patterns, '\\\\u'].join('|') : '(?!)', 'i');
    typingMethods.set(hub, names);
  }
  return names;
}
