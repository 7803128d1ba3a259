// The fan-out: in come the messages of one batch, out go a room's messages for one group, prepared once for all its
// members.
// Promises: per connection and room the order of the messages; one queue, written in slices so that a large room does
// not hold the event loop; who left in between gets nothing, who joined later nothing older.

import type { Delivery } from '../contract/event.ts';
import type { Faults } from '../telemetry/faults.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Audience, Member, OutgoingMessage } from './audience.ts';
import type { Groups } from './groups.ts';
import { Prepared, type PreparedRecord } from './prepared.ts';

/** Sockets written per turn of the event loop: free down to 64, and keeps everyone else's latency low. */
const socketsPerTurn = 128;
/** Records of one room and group go out together up to this size. */
const gatheredChars = 256 * 1024;

/** Records of one room for one group (all members but `except`; those of one kind alone) that go out together. */
interface Gathered {
  hub: string;
  group: string;
  except: string | undefined;
  to: 'native' | undefined;
  room: string;
  records: PreparedRecord[];
  chars: number;
}

interface Job {
  prepared: Prepared;
  members: Member[];
  group: string;
  /** The group's members as they are now: who left meanwhile is not among them. */
  present: ReadonlySet<Member>;
  next: number;
}

export class Fanout implements Audience {
  readonly #groups: Groups;
  readonly #metrics: Metrics;
  readonly #faults: Faults;
  readonly #queue: Job[] = [];
  #whenDrained: (() => void)[] = [];
  #scheduled = false;

  constructor(groups: Groups, metrics: Metrics, faults: Faults) {
    this.#groups = groups;
    this.#metrics = metrics;
    this.#faults = faults;
  }

  deliver(messages: OutgoingMessage[]): Promise<void> {
    for (const gathered of mergeByRoom(messages)) this.#enqueue(gathered);
    if (!this.#scheduled) this.#begin();
    return this.#queue.length === 0 ? Promise.resolve() : new Promise((resolve) => this.#whenDrained.push(resolve));
  }

  countMembers(deliveries: Delivery[]): number {
    return deliveries.reduce((sum, { hub, group }) => sum + (this.#groups.members(hub, group)?.size ?? 0), 0);
  }

  #enqueue({ hub, group, except, to, room, records }: Gathered): void {
    const present = this.#groups.members(hub, group);
    if (present === undefined) return;
    const members = except === undefined ? [...present] : [...present].filter((member) => member.id !== except);
    if (members.length > 0)
      this.#queue.push({
        prepared: new Prepared(room, records, to === 'native'),
        ...{ group, members, present, next: 0 },
      });
  }

  /**
   * What takes several turns begins behind the next look at the sockets: the log has answered the append of what it has just given to the
   * reader, and the backend, which waits for that answer, would have to wait for the first slices, too.
   */
  #begin(): void {
    const writes = this.#queue.reduce((sum, { members }) => sum + members.length, 0);
    if (writes <= socketsPerTurn) return this.#writeSlice();
    this.#scheduled = true;
    setImmediate(() => this.#schedule());
  }

  #writeSlice(): void {
    this.#scheduled = false;
    let written = 0;
    let done = 0;
    for (const job of this.#queue) {
      while (job.next < job.members.length && written < socketsPerTurn) {
        const member = job.members[job.next++]!;
        if (!job.present.has(member)) continue;
        this.#write(member, job);
        written++;
      }
      if (job.next < job.members.length) break;
      done++;
    }
    this.#queue.splice(0, done);
    this.#metrics.framesWritten.inc(written);
    if (this.#queue.length > 0) return this.#schedule();
    const waiting = this.#whenDrained;
    this.#whenDrained = [];
    for (const resolve of waiting) resolve();
  }

  /** A member that cannot take its message ends alone. */
  #write(member: Member, { prepared, group }: Job): void {
    try {
      member.write(prepared, group);
    } catch (error) {
      this.#faults.report('client', error);
      member.terminate('fault');
    }
  }

  #schedule(): void {
    this.#scheduled = true;
    setImmediate(() => this.#writeSlice());
  }
}

/**
 * Once per room, group and batch. A room whose events go on to another group of the same hub must not overtake itself at
 * a connection that is in both, so what it was gathered in is closed then.
 */
function mergeByRoom(messages: OutgoingMessage[]): Gathered[] {
  const all: Gathered[] = [];
  const open = new Map<string, Gathered>();
  const lastOfRoom = new Map<string, string>();
  for (const { room, payload, deliveries, eventId } of messages) {
    for (const { hub, group, method, except, to } of deliveries) {
      const key = JSON.stringify([hub, group, except, to, room]);
      const roomAtHub = JSON.stringify([hub, room]);
      const last = lastOfRoom.get(roomAtHub);
      if (last !== undefined && last !== key) open.delete(last);
      lastOfRoom.set(roomAtHub, key);
      let gathered = open.get(key);
      if (gathered === undefined || gathered.chars >= gatheredChars) {
        gathered = { hub, group, except, to, room, records: [], chars: 0 };
        open.set(key, gathered);
        all.push(gathered);
      }
      gathered.records.push({ method, payload, eventId });
      gathered.chars += payload.length;
    }
  }
  return all;
}
