// The upper half of the recording: a backend at work over 20 rooms with 60 clients, one line a second of what they are owed
// and have got. In come the addresses of the replicas (as JSON); ends with Ctrl-C.
// Promises what it prints: a room's next call is made after the 200 of the one before, through the other replica.

import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { styleText } from 'node:util';
import { call, jwtSecret } from '../../test/support/bridge.ts';
import { connect, makeToken } from '../../test/support/signalr.ts';

const replicas: { listen: string; edge: string; admin: string }[] = JSON.parse(process.argv[2]!);
const rooms = Array.from({ length: 20 }, (_, index) => `room-${index + 1}`);
const membersPerRoom = 3;
const betweenCallsMs = 250;
const lostAfterMs = 3_000;
const shownLines = 6;
/** The cursor goes home, and the screen is empty. */
const clear = '\x1b[H\x1b[2J';
/** This process ends with its terminal, and its clients with it. */
const context = { after() {} } as unknown as TestContext;

/** What one client has got of its room. */
class Reader {
  readonly seen = new Set<number>();
  highest = 0;
  doubled = 0;
  outOfOrder = 0;
  dropped = 0;

  read(number: number): void {
    if (this.seen.has(number)) this.doubled++;
    else if (number < this.highest) this.outOfOrder++;
    this.seen.add(number);
    this.highest = Math.max(this.highest, number);
  }
}

interface Room {
  name: string;
  readers: Reader[];
  /** Number -> when it was accepted. */
  accepted: Map<number, number>;
}

async function openRoom(name: string): Promise<Room> {
  const readers = Array.from({ length: membersPerRoom }, () => new Reader());
  for (const [index, reader] of readers.entries()) {
    const { edge } = replicas[index % replicas.length]!;
    const token = await makeToken({ sub: `${name}-${index}` }, jwtSecret);
    const { connection } = await connect(context, `${edge}/hubs/chat`, token);
    connection.on('ReceiveMessage', (message) => reader.read(message.sequenceNumber));
    connection.on('RoomJoined', () => {});
    connection.onclose(() => reader.dropped++);
    await connection.invoke('JoinRoom', name);
  }
  return { name, readers, accepted: new Map() };
}

async function work({ name, accepted }: Room): Promise<never> {
  for (let number = 1; ; number++) {
    const { listen } = replicas[number % replicas.length]!;
    const id = `${name}-${number}`;
    const message = {
      id,
      requestId: name,
      sequenceNumber: number,
      content: 'at work',
      createdAt: '2026-01-16T10:30:00Z',
    };
    const { status } = await call(listen, 'chat/message', { event_id: id, request_id: name, message });
    if (status === 200) accepted.set(number, Date.now());
    await sleep(betweenCallsMs);
  }
}

interface Counts {
  owed: number;
  received: number;
  lost: number;
  doubled: number;
  outOfOrder: number;
  dropped: number;
}

function count(all: Room[]): Counts {
  const counts: Counts = { owed: 0, received: 0, lost: 0, doubled: 0, outOfOrder: 0, dropped: 0 };
  for (const { readers, accepted } of all) {
    for (const reader of readers) {
      for (const [number, at] of accepted) {
        counts.owed++;
        if (reader.seen.has(number)) counts.received++;
        else if (Date.now() - at > lostAfterMs) counts.lost++;
      }
      counts.doubled += reader.doubled;
      counts.outOfOrder += reader.outOfOrder;
      counts.dropped += reader.dropped;
    }
  }
  return counts;
}

/** Calls that each lane has carried, by the replicas' own metrics. */
async function countLanes(): Promise<{ bridge: number; stream: number }> {
  const texts = await Promise.all(
    replicas.map(({ admin }) => fetch(`${admin}/metrics`).then((answer) => answer.text())),
  );
  const sum = (transport: string) => {
    const line = new RegExp(`^events_published_total\\{transport="${transport}".*\\} (\\d+)$`, 'gm');
    return [...texts.join('\n').matchAll(line)].reduce((total, [, value]) => total + Number(value), 0);
  };
  return { bridge: sum('http'), stream: sum('redis_streams') };
}

const columns = [
  'time',
  'owed',
  'received',
  'lost',
  'doubled',
  'out of order',
  'connections lost',
  'by bridge',
  'by stream',
];

function line(cells: (string | number)[]): string {
  return cells.map((cell, index) => String(cell).padStart(Math.max(columns[index]!.length, 8))).join('  ');
}

const open = await Promise.all(rooms.map(openRoom));
const shown: string[] = [];
for (const room of open) work(room);
let before = await countLanes();
for (;;) {
  await sleep(1_000);
  const { owed, received, lost, doubled, outOfOrder, dropped } = count(open);
  const lanes = await countLanes();
  const perSecond = [`${lanes.bridge - before.bridge}/s`, `${lanes.stream - before.stream}/s`];
  before = lanes;
  const time = new Date().toISOString().slice(11, 19);
  shown.push(line([time, owed, received, lost, doubled, outOfOrder, dropped, ...perSecond]));
  process.stdout.write(`${clear}${styleText('dim', line(columns))}\n${shown.slice(-shownLines).join('\n')}`);
}
