// One replica's comparison, moved by a clock of the test: in come entries and the bridge's messages as the test plays them, out go the
// reports. Its witnesses are connections that the test lets join, leave and end.

import { readFileSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Comparison } from '../../src/compare/comparison.ts';
import type { SliceReport } from '../../src/compare/slice.ts';
import type { Contract } from '../../src/contract/contract.ts';
import { loadContract } from '../../src/contract/load.ts';
import type { HubProtocolName } from '../../src/edge/hub-protocol/protocol.ts';
import { readSeen, type Watched, type WatchedGroup } from '../../src/edge/proxied/watched.ts';
import type { Entry } from '../../src/log/log.ts';
import { Faults } from '../../src/telemetry/faults.ts';
import { silentLogger } from '../../src/telemetry/logger.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { TestClock } from '../support/clock.ts';

const contractFile = new URL('../../src/contract/support-center.yaml', import.meta.url);
export const supportCenterText = readFileSync(contractFile, 'utf8');
const supportCenter = loadContract(supportCenterText, 'support-center.yaml');

export class PlayedConnection implements Watched {
  readonly hub: { name: string };
  readonly protocol: HubProtocolName;
  isOpen = true;
  groupsChangedAt = Number.NEGATIVE_INFINITY;
  /** Whether the bridge answers a fence. */
  answersFences = true;
  readonly #joined = new Map<string, number>();
  readonly #clock: TestClock;

  constructor(clock: TestClock, hub: string, protocol: HubProtocolName) {
    this.#clock = clock;
    this.hub = { name: hub };
    this.protocol = protocol;
  }

  get groupNames(): Iterable<string> {
    return this.#joined.keys();
  }

  memberSince(group: string): number | undefined {
    return this.#joined.get(group);
  }

  join(group: string): void {
    this.#joined.set(group, this.#clock.monotonic());
    this.groupsChangedAt = this.#clock.monotonic();
  }

  leave(group: string): void {
    this.#joined.delete(group);
    this.groupsChangedAt = this.#clock.monotonic();
  }

  messagesIn(message: Buffer) {
    return readSeen(message, this.protocol);
  }

  fence(): Promise<void> {
    return this.answersFences ? Promise.resolve() : new Promise(() => {});
  }
}

export type Way = 'stream' | 'mirrored' | 'unwatched';

export class PlayedReplica {
  readonly clock = new TestClock();
  readonly comparison: Comparison;
  readonly connections: PlayedConnection[] = [];
  readonly reports: SliceReport[] = [];
  readonly ways = new Map<string, Way>();
  readsAlong = true;
  #ms = 0;

  constructor(contract: Contract = supportCenter) {
    this.comparison = new Comparison({
      instance: 'a',
      contract,
      watchedGroups: () => this.#groups(),
      wayOf: (room) => this.ways.get(room) ?? 'mirrored',
      logClock: { offset: { toLogMs: 0, withinMs: 0 } },
      clock: this.clock,
      faults: new Faults(silentLogger, createMetrics()),
    });
  }

  connect(hub: string, groups: string[], protocol: HubProtocolName = 'json'): PlayedConnection {
    const connection = new PlayedConnection(this.clock, hub, protocol);
    for (const group of groups) connection.join(group);
    this.connections.push(connection);
    return connection;
  }

  /** Lets time pass, as the job does it: a look four times a second. */
  async pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 50) {
      this.clock.advance(50);
      this.#ms += 50;
      if (this.readsAlong) await this.comparison.read([], true);
      if (this.#ms % 1_000 === 0) await this.comparison.witnesses.choose();
      if (this.#ms % 250 === 0) this.reports.push(...this.comparison.look());
      for (let turn = 0; turn < 4; turn++) await nextTurn();
    }
  }

  /** The bridge shows messages to some, at once. @param each JSON */
  show(to: PlayedConnection[], method: string, ...each: string[]): void {
    const records = each.map((argument) => `{"type":1,"target":"${method}","arguments":[${argument}]}\x1e`);
    for (const connection of to) this.comparison.witnesses.saw(connection, Buffer.from(records.join('')));
  }

  /** The shadow of a call is read. */
  async read(entry: Partial<Entry> & Pick<Entry, 'payload' | 'room' | 'deliveries'>, sentMsAgo = 10): Promise<void> {
    const now = this.clock.monotonic();
    await this.comparison.read(
      [
        {
          stream: 'crossfade:shadow:events:chat',
          position: `${this.clock.now()}-${seq++}`,
          eventId: `e${seq}`,
          eventType: 'chat_message',
          publishedAtMs: this.clock.now(),
          instance: 'a',
          mirrored: { sentAt: now - sentMsAgo, answeredAt: now - 1, toLogMs: 0, withinMs: 0 },
          ...entry,
        },
      ],
      true,
    );
  }

  /** A message of a room: the bridge shows it to some, then its shadow is read. @param shown what the bridge shows in its place */
  async message(
    room: string,
    content: string,
    to = this.connections,
    shown: string | undefined = content,
  ): Promise<void> {
    if (shown !== '') this.show(to, 'ReceiveMessage', argumentOf(room, shown));
    await this.read({ room, payload: argumentOf(room, content), deliveries: deliveriesTo(room) });
  }

  /** Lets everything be judged. @returns the marks of all entries, and what no entry explains */
  async judged(): Promise<{ marks: string; suspects: string[]; samples: string[] }> {
    await this.pass(16_000);
    const done = this.reports.filter(({ isJudged }) => isJudged);
    return {
      marks: done.flatMap(({ types }) => Object.values(types).map(({ marks }) => marks)).join(''),
      suspects: done.flatMap(({ suspects }) => suspects.map(({ sample }) => sample.kind)),
      samples: done.flatMap(({ samples }) => samples.map(({ kind }) => kind)),
    };
  }

  *#groups(): Generator<WatchedGroup> {
    const names = new Set(
      this.connections.flatMap((each) => [...each.groupNames].map((group) => `${each.hub.name} ${group}`)),
    );
    for (const name of names) {
      const [hub = '', group = ''] = name.split(' ');
      const isIn = (each: PlayedConnection) => each.hub.name === hub && each.memberSince(group) !== undefined;
      yield { hub, group, members: this.connections.filter(isIn) };
    }
  }
}

let seq = 0;

export function argumentOf(room: string, content: string): string {
  return JSON.stringify({ id: content, requestId: room, content, senderId: 'u1', type: 'text', isRead: false });
}

export function deliveriesTo(room: string) {
  return [{ hub: 'chat', group: `request:${room}`, method: 'ReceiveMessage' }];
}
