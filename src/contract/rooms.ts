// Which room a group belongs to: in come the contract's calls and hubs, each of which names the groups that events of a room go
// to; out goes the reverse. A group whose name does not hold the room (a call names both by different values) is no room's.

import type { ContractDocument, EffectDocument } from './schema.ts';

interface Pattern {
  hub: string;
  /** What stands before and behind the room's own part in the group's name. */
  before: string;
  after: string;
  roomBefore: string;
  roomAfter: string;
}

const onePlaceholder = /^([^{}]*)\{([^{}]+)\}([^{}]*)$/;

/** @returns hub and group -> the room; undefined where none can be told */
export function compileRooms({
  calls,
  hubs,
}: Pick<ContractDocument, 'calls' | 'hubs'>): (hub: string, group: string) => string | undefined {
  const named = [
    ...Object.values(calls).flatMap(({ room, deliver }) => deliver.map(({ hub, group }) => ({ hub, group, room }))),
    ...Object.entries(hubs).flatMap(([hub, { connect, methods }]) =>
      [...connect, ...Object.values(methods).flatMap(({ effects }) => effects)].flatMap((effect) =>
        publishedBy(effect).map((each) => ({ hub, ...each })),
      ),
    ),
  ];
  const patterns = new Map<string, Pattern>();
  for (const { hub, group, room } of named) {
    const pattern = patternOf(hub, group, room);
    if (pattern !== undefined) patterns.set(`${hub} ${pattern.before} ${pattern.after}`, pattern);
  }
  // `request-notifications:` is not `request` with something behind it.
  const ordered = [...patterns.values()].sort((a, b) => b.before.length - a.before.length);
  return (hub, group) => {
    const found = ordered.find(
      (each) =>
        each.hub === hub &&
        group.length >= each.before.length + each.after.length &&
        group.startsWith(each.before) &&
        group.endsWith(each.after),
    );
    if (found === undefined) return undefined;
    const value = group.slice(found.before.length, group.length - found.after.length);
    return found.roomBefore + value + found.roomAfter;
  };
}

function publishedBy(effect: EffectDocument): { group: string; room: string }[] {
  if ('others' in effect) return [{ group: effect.others, room: effect.room }];
  if ('join' in effect && effect.on_disconnect !== undefined)
    return [{ group: effect.join, room: effect.on_disconnect.room }];
  return [];
}

function patternOf(hub: string, group: string, room: string): Pattern | undefined {
  const [, before, name, after] = onePlaceholder.exec(group) ?? [];
  const [, roomBefore, roomName, roomAfter] = onePlaceholder.exec(room) ?? [];
  if (name === undefined || name !== roomName) return undefined;
  return { hub, before: before!, after: after!, roomBefore: roomBefore!, roomAfter: roomAfter! };
}
