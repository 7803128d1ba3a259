// The fan-out with hand-made members: what is gathered into one frame, in which order, and who gets it.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import type { Member, OutgoingMessage } from '../../src/edge/audience.ts';
import { Fanout } from '../../src/edge/fanout.ts';
import { Groups } from '../../src/edge/groups.ts';
import type { Prepared } from '../../src/edge/prepared.ts';
import { Faults } from '../../src/telemetry/faults.ts';
import { silentLogger } from '../../src/telemetry/logger.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';

class FakeMember implements Member {
  readonly id: string;
  readonly written: Prepared[] = [];

  constructor(id: string) {
    this.id = id;
  }

  write(prepared: Prepared): void {
    this.written.push(prepared);
  }

  terminated = '';

  terminate(reason: string): void {
    this.terminated = reason;
  }

  /** The arguments of the records, in order. */
  get shown(): string[] {
    return this.written.flatMap(({ records }) => records.map(({ payload }) => JSON.parse(payload)));
  }
}

function setUp() {
  const groups = new Groups();
  const metrics = createMetrics();
  const fanout = new Fanout(groups, metrics, new Faults(silentLogger, metrics));
  const joined = (id: string, ...names: string[]) => {
    const member = new FakeMember(id);
    for (const name of names) groups.join('chat', name, member);
    return member;
  };
  return { groups, fanout, joined, metrics };
}

async function socketPair(t: TestContext): Promise<{ there: Socket; here: Socket }> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const there = connect((server.address() as AddressInfo).port, '127.0.0.1').setNoDelay();
  const [here] = (await once(server, 'connection')) as [Socket];
  t.after(() => {
    for (const each of [there, here]) each.destroy();
    server.close();
  });
  return { there, here };
}

function message(room: string, text: string, group = room, except?: string): OutgoingMessage {
  const delivery = { hub: 'chat', group, method: 'M', ...(except !== undefined && { except }) };
  return { room, payload: JSON.stringify(text), deliveries: [delivery], eventId: `id of ${text}` };
}

test('several events of one room in one batch go out together, another room’s by themselves', async () => {
  const { fanout, joined } = setUp();
  const member = joined('a', 'r');
  await fanout.deliver([message('r', '1'), message('other', 'x', 'r'), message('r', '2'), message('r', '3')]);
  const written = member.written.map(({ room, records }) => [room, ...records.map(({ eventId }) => eventId)]);
  assert.deepEqual(written, [
    ['r', 'id of 1', 'id of 2', 'id of 3'],
    ['other', 'id of x'],
  ]);
});

test('a room’s order holds at a connection that is in two groups of the hub, and with exceptions in between', async () => {
  const { fanout, joined } = setUp();
  const both = joined('both', 'r', 'user');
  const excepted = joined('excepted', 'r');
  await fanout.deliver([
    message('r', '1'),
    message('r', '2', 'user'),
    message('r', '3'),
    message('r', '4', 'r', 'excepted'),
    message('r', '5'),
  ]);
  assert.deepEqual(both.shown, ['1', '2', '3', '4', '5']);
  assert.deepEqual(excepted.shown, ['1', '3', '5']);
});

test('two deliveries to one group show twice', async () => {
  const { fanout, joined } = setUp();
  const member = joined('a', 'r');
  const [delivery] = message('r', '').deliveries;
  await fanout.deliver([{ room: 'r', payload: '"x"', deliveries: [delivery!, delivery!], eventId: '' }]);
  assert.deepEqual(member.shown, ['x', 'x']);
});

test('a large group is written in slices; order holds, who left gets nothing, who joined later nothing older', async () => {
  const { groups, fanout, joined } = setUp();
  const members = Array.from({ length: 300 }, (_, i) => joined(String(i), 'r'));
  const last = members.at(-1)!;
  const first = fanout.deliver([message('r', '1')]);
  assert.equal(last.written.length, 0, 'the event loop has its turn first');
  groups.leave('chat', 'r', last);
  const late = joined('late', 'r');
  const second = fanout.deliver([message('r', '2')]);
  await Promise.all([first, second]);
  assert.deepEqual(last.shown, []);
  assert.deepEqual(late.shown, ['2']);
  for (const member of members.slice(0, -1)) assert.deepEqual(member.shown, ['1', '2']);
});

test('what takes several turns begins behind the next look at the sockets: a call that is answered by then is answered first', async (t) => {
  const { fanout, joined } = setUp();
  const members = Array.from({ length: 300 }, (_, i) => joined(String(i), 'r'));
  const one = joined('alone', 'small');
  const [reader, log] = [await socketPair(t), await socketPair(t)];
  let writtenBefore: number | undefined;
  log.here.on('data', () => {
    writtenBefore = members.filter(({ written }) => written.length > 0).length;
  });
  reader.there.write('entry');
  await once(reader.here, 'data');
  log.there.write('answer');
  const delivered = fanout.deliver([message('r', '1'), message('small', '2')]);
  assert.equal(one.written.length, 0, 'behind it, as it came');
  await delivered;
  assert.equal(writtenBefore, 0);
  await fanout.deliver([message('small', '3')]);
  assert.deepEqual(one.shown, ['2', '3']);
});

test('a delivery to nobody is done at once', async () => {
  const { fanout } = setUp();
  await fanout.deliver([message('nobody', '1')]);
});

test('a member that cannot take its message is cut, and keeps it from nobody else', async () => {
  const { fanout, joined, metrics } = setUp();
  const members = ['a', 'b', 'c'].map((id) => joined(id, 'r'));
  const [a, b, c] = members as [FakeMember, FakeMember, FakeMember];
  b.write = () => {
    throw new Error('fault');
  };
  await fanout.deliver([message('r', '1')]);
  assert.deepEqual([a.shown, b.terminated, c.shown], [['1'], 'fault', ['1']]);
  const { values } = await metrics.faults.get();
  assert.equal(values.find(({ labels }) => labels.where === 'client')!.value, 1);
});
