// Who is in which group of which hub, on this replica.

import type { Member } from './audience.ts';

export class Groups {
  readonly #members = new Map<string, Set<Member>>();

  /** @returns how many members the group has now */
  join(hub: string, group: string, member: Member): number {
    const key = groupKey(hub, group);
    const members = this.#members.get(key) ?? new Set();
    this.#members.set(key, members.add(member));
    return members.size;
  }

  /** @returns how many members the group has now */
  leave(hub: string, group: string, member: Member): number {
    const key = groupKey(hub, group);
    const members = this.#members.get(key);
    if (members === undefined) return 0;
    members.delete(member);
    if (members.size === 0) this.#members.delete(key);
    return members.size;
  }

  /** Every group that has members; what joins or leaves meanwhile may be in it or not. */
  *all(): Generator<{ hub: string; group: string; members: ReadonlySet<Member> }> {
    for (const [key, members] of this.#members) {
      const end = key.indexOf(' ');
      yield { hub: key.slice(0, end), group: key.slice(end + 1), members };
    }
  }

  members(hub: string, group: string): ReadonlySet<Member> | undefined {
    return this.#members.get(groupKey(hub, group));
  }
}

/** The contract lets no hub's name have a space, so that keys cannot meet. */
function groupKey(hub: string, group: string): string {
  return `${hub} ${group}`;
}
