// What one replica holds against a bridge, and what it must not: by entries, messages and members that a test plays in its own time.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { loadContract } from '../../src/contract/load.ts';
import { argumentOf, deliveriesTo, PlayedReplica, supportCenterText } from './setup.ts';

const nothing = { suspects: [], samples: [] };

/** A replica with a member of each room, who has been there for a while. */
async function replicaIn(rooms: string[], replica = new PlayedReplica()): Promise<PlayedReplica> {
  replica.connect(
    'chat',
    rooms.map((room) => `request:${room}`),
  );
  await replica.pass(4_000);
  return replica;
}

describe('a bridge that shows what the stream lane would show', () => {
  test('is not accused, whether its messages come before their shadows or behind them', async () => {
    const replica = await replicaIn(['r1']);
    await replica.message('r1', 'one');
    await replica.read({ room: 'r1', payload: argumentOf('r1', 'two'), deliveries: deliveriesTo('r1') });
    await replica.pass(2_000);
    replica.show(replica.connections, 'ReceiveMessage', argumentOf('r1', 'two'));
    assert.deepEqual(await replica.judged(), { marks: '==', ...nothing });
  });

  test('is not accused where it shows a message seconds late, behind later ones of other rooms', async () => {
    const replica = await replicaIn(['r1', 'r2']);
    await replica.message('r1', 'late', []);
    await replica.pass(6_000);
    await replica.message('r2', 'on time');
    replica.show(replica.connections, 'ReceiveMessage', argumentOf('r1', 'late'));
    assert.deepEqual(await replica.judged(), { marks: '==', ...nothing });
  });

  test('may order the members of an object as it likes, and repeat a content as often as it was said', async () => {
    const replica = await replicaIn(['r1']);
    await replica.message('r1', 'hello');
    await replica.message('r1', 'hello');
    const [payload, shown] = ['{"a":1,"b":{"c":2,"d":3}}', '{"b":{"d":3,"c":2},"a":1}'];
    replica.show(replica.connections, 'ReceiveMessage', shown);
    await replica.read({ room: 'r1', payload, deliveries: deliveriesTo('r1') });
    assert.deepEqual(await replica.judged(), { marks: '===', ...nothing });
  });

  test('is not accused for who joins, leaves or ends in the middle', async () => {
    const replica = await replicaIn(['r1']);
    const late = replica.connect('chat', ['request:r1']);
    await replica.message('r1', 'one', [replica.connections[0]!]);
    const [stays] = replica.connections;
    await replica.pass(4_000);
    // The bridge has let it go; this replica hears of it a moment later.
    await replica.message('r1', 'two', [stays!]);
    late.leave('request:r1');
    await replica.pass(4_000);
    // A new member is shown messages before its join is confirmed.
    const early = replica.connect('chat', ['request:r9']);
    await replica.pass(4_000);
    await replica.message('r1', 'three', [stays!, early]);
    early.join('request:r1');
    await replica.pass(1_000);
    await replica.pass(4_000);
    // One ends before its message has come.
    await replica.message('r1', 'four', [early]);
    stays!.isOpen = false;
    assert.deepEqual(await replica.judged(), { marks: '====', ...nothing });
  });

  test('is not accused by a member whose bridge does not answer a fence, or that was not looked at all the time', async () => {
    const replica = await replicaIn(['r1']);
    replica.connections[0]!.answersFences = false;
    await replica.message('r1', 'one', []);
    await replica.pass(8_000);
    replica.connections[0]!.answersFences = true;
    replica.comparison.witnesses.saw(replica.connections[0]!, Buffer.from('not a record'));
    await replica.pass(50);
    await replica.read({ room: 'r1', payload: argumentOf('r1', 'two'), deliveries: deliveriesTo('r1') }, 100);
    assert.deepEqual(await replica.judged(), { marks: 'bb', ...nothing });
  });

  test('is not accused for what clients, or the hub itself, send', async () => {
    const replica = await replicaIn(['r1']);
    const typing = '{"requestId":"r1","userId":"u2","isTyping":true}';
    replica.show(replica.connections, 'TypingIndicator', typing);
    replica.show(replica.connections, 'RoomJoined', '"r1"');
    replica.show(replica.connections, 'Maintenance', '"at noon"');
    assert.deepEqual(await replica.judged(), { marks: '', ...nothing });
    const messages = replica.reports.filter(({ isJudged }) => isJudged).map((report) => report.messages);
    assert.equal(
      messages.reduce((sum, { byClients }) => sum + byClients, 0),
      1,
    );
    assert.equal(
      messages.reduce((sum, { ofHub }) => sum + ofHub, 0),
      2,
    );
  });

  test('is not accused for a room that is not mirrored, nor where one of the possible rooms is not', async () => {
    const replica = await replicaIn(['r1', 'r2']);
    replica.ways.set('r2', 'unwatched');
    await replica.pass(2_000);
    replica.show(replica.connections, 'ReceiveMessage', '{"content":"r1"}');
    assert.deepEqual(await replica.judged(), { marks: '', ...nothing });
  });

  test('is not accused of what it showed in a room before that came under the mirror', async () => {
    const replica = await replicaIn(['r1', 'r2']);
    replica.ways.set('r2', 'unwatched');
    await replica.pass(2_000);
    replica.show(replica.connections, 'ReceiveMessage', argumentOf('r2', 'without a shadow'));
    await replica.pass(4_000);
    replica.ways.set('r2', 'mirrored');
    replica.comparison.moved();
    await replica.pass(100);
    replica.show(replica.connections, 'ReceiveMessage', argumentOf('r2', 'made up'));
    await replica.judged();
    const suspects = replica.reports.filter(({ isJudged }) => isJudged).flatMap((report) => report.suspects);
    assert.equal(suspects.length, 1, 'what has come since is judged');
    assert.match(suspects[0]!.sample.bridge!, /made up/);
    const isDisturbed = replica.reports.some(({ disturbed }) => disturbed.includes('the cutover moved'));
    assert.ok(isDisturbed, 'and not where calls were under way then');
  });

  test('is not accused by a replica that judges late what it has long seen', async () => {
    const replica = await replicaIn(['r1']);
    await replica.message('r1', 'one');
    await replica.pass(50);
    // It stands still with a message that it has not read yet, and looks first at what it has.
    replica.show(replica.connections, 'RoomJoined', '"r1"');
    replica.clock.advance(13_000);
    replica.comparison.look();
    assert.deepEqual(await replica.judged(), { marks: '=', ...nothing });
  });

  test('is not accused while the log is not read, nor behind a replica that stood still', async () => {
    const replica = await replicaIn(['r1']);
    replica.readsAlong = false;
    replica.show(replica.connections, 'ReceiveMessage', argumentOf('r1', 'unread'));
    await replica.pass(20_000);
    replica.readsAlong = true;
    const { suspects } = await replica.judged();
    assert.deepEqual(suspects, []);
    assert.ok(replica.reports.some(({ disturbed }) => disturbed.includes('the log was read late')));
  });
});

test('an entry of a far future is not judged, holds nobody up, and is held against nobody', async () => {
  const replica = await replicaIn(['r1']);
  const entry = { room: 'r1', payload: argumentOf('r1', 'from the future'), deliveries: deliveriesTo('r1') };
  await replica.read({ ...entry, position: '18446744073709551614-0' });
  replica.show(replica.connections, 'ReceiveMessage', entry.payload);
  await replica.pass(1_000);
  await replica.message('r1', 'of today');
  const { marks } = await replica.judged();
  assert.equal(marks, '=');
  assert.ok(replica.reports.some(({ disturbed }) => disturbed.includes('an entry stands in the future')));
});

test('what was said twice in the same words says nothing of the order', async () => {
  const replica = await replicaIn(['r1']);
  const said = (content: string, sentAt: number) => {
    const mirrored = { sentAt, answeredAt: sentAt + 5, toLogMs: 0, withinMs: 0 };
    return replica.read({ room: 'r1', payload: argumentOf('r1', content), deliveries: deliveriesTo('r1'), mirrored });
  };
  const each = ['open', 'between', 'open'].map((content) => argumentOf('r1', content));
  replica.show(replica.connections, 'ReceiveMessage', ...each);
  const now = replica.clock.monotonic();
  // The shadow of the second one is in the log before that of the first one.
  await said('open', now - 10);
  await said('between', now - 20);
  await said('open', now - 30);
  assert.deepEqual(
    (await replica.judged()).samples.filter((kind) => kind === 'order'),
    [],
  );
});

describe('a bridge with a made fault', () => {
  test('that drops a message is accused, once', async () => {
    const replica = await replicaIn(['r1']);
    await replica.message('r1', 'one');
    await replica.message('r1', 'two', []);
    await replica.message('r1', 'three');
    assert.deepEqual(await replica.judged(), { marks: '=m=', suspects: [], samples: ['missing'] });
  });

  test('that drops a message is accused of that, not of changing another, whose shadow is not read yet', async () => {
    const replica = await replicaIn(['r1']);
    const { payload, entry } = messageOfManyMembers;
    await replica.read(entry('lost'));
    await replica.pass(2_900);
    replica.show(replica.connections, 'ReceiveMessage', payload('next'));
    await replica.pass(1_000);
    await replica.read(entry('next'), 1_100);
    assert.deepEqual(await replica.judged(), { marks: 'm=', suspects: [], samples: ['missing'] });
  });

  test('that drops one message and changes another is accused of both, also where it was slow', async () => {
    const replica = await replicaIn(['r1']);
    const { payload, entry } = messageOfManyMembers;
    await replica.read(entry('lost'));
    replica.show(replica.connections, 'ReceiveMessage', payload('said').replace('"said"', '"made up"'));
    await replica.pass(4_500);
    await replica.read(entry('said'), 4_600);
    const { marks, suspects, samples } = await replica.judged();
    assert.deepEqual([marks, suspects, samples], ['mc', [], ['missing', 'changed']]);
  });

  test('that changes an argument is accused of that, not of two messages', async () => {
    const replica = await replicaIn(['r1']);
    await replica.message('r1', 'one');
    const changed = argumentOf('r1', 'two').replace('"text"', '"image"');
    replica.show(replica.connections, 'ReceiveMessage', changed);
    await replica.read({ room: 'r1', payload: argumentOf('r1', 'two'), deliveries: deliveriesTo('r1') });
    assert.deepEqual(await replica.judged(), { marks: '=c', suspects: [], samples: ['changed'] });
    const [sample] = replica.reports.flatMap(({ samples }) => samples);
    assert.deepEqual(sample!.paths, ['type']);
  });

  test('that shows numbers by another text is accused; MessagePack has none, and is not', async () => {
    const replica = await replicaIn(['r1']);
    replica.show(replica.connections, 'ReceiveMessage', '{"price":1}');
    await replica.read({ room: 'r1', payload: '{"price":1.0}', deliveries: deliveriesTo('r1') });
    assert.equal((await replica.judged()).marks, 'c');
  });

  test('that swaps two messages is accused only where the second was said after the first was answered', async () => {
    const replica = await replicaIn(['r1', 'r2']);
    for (const [room, isAtOnce] of [
      ['r1', false],
      ['r2', true],
    ] as const) {
      // A bridge may put both into one message of its own.
      replica.show(replica.connections, 'ReceiveMessage', argumentOf(room, 'second'), argumentOf(room, 'first'));
      const now = replica.clock.monotonic();
      for (const [content, sentAt] of [
        ['first', now - 40],
        ['second', isAtOnce ? now - 40 : now - 20],
      ] as const) {
        const mirrored = { sentAt, answeredAt: sentAt + 10, toLogMs: 0, withinMs: 0 };
        await replica.read({ room, payload: argumentOf(room, content), deliveries: deliveriesTo(room), mirrored });
      }
    }
    assert.deepEqual(await replica.judged(), { marks: 'o===', suspects: [], samples: ['order'] });
  });

  test('that shows what nobody has called is accused: by the room’s lane it is the bridge’s, or somebody else’s', async () => {
    const replica = await replicaIn(['r1', 'r2']);
    replica.ways.set('r2', 'stream');
    replica.show(replica.connections, 'ReceiveMessage', argumentOf('r1', 'made up'));
    replica.show(replica.connections, 'ReceiveMessage', argumentOf('r2', 'made up'));
    assert.deepEqual((await replica.judged()).suspects, ['alone', 'foreign']);
  });

  test('that shows a message twice, or to who is no member, is accused of that', async () => {
    const replica = await replicaIn(['r1']);
    const outsider = replica.connect('chat', ['request:r9']);
    await replica.pass(4_000);
    await replica.message('r1', 'one', [replica.connections[0]!, replica.connections[0]!]);
    await replica.message('r1', 'two', [replica.connections[0]!, outsider]);
    const { marks, suspects } = await replica.judged();
    assert.deepEqual([marks, suspects.sort()], ['==', ['outsider', 'twice']]);
  });
});

test('what the contract ignores makes no difference, and is counted apart', async () => {
  const text = supportCenterText.replace(
    '    ends_typing_of: message.senderId\n',
    '$&    compare: { ignore: [updatedAt], unordered: [tags] }\n',
  );
  assert.notEqual(text, supportCenterText);
  const replica = await replicaIn(['r1'], new PlayedReplica(loadContract(text, 'test.yaml')));
  for (const [payload, shown] of [
    ['{"id":"1","tags":["a","b"],"updatedAt":1}', '{"updatedAt":2,"id":"1","tags":["b","a"]}'],
    ['{"id":"2","tags":["a","b"],"updatedAt":1}', '{"id":"2","tags":["a","b"],"updatedAt":1}'],
    ['{"id":"3","tags":["a","b"],"updatedAt":1}', '{"id":"3","tags":["a","c"],"updatedAt":1}'],
  ] as const) {
    replica.show(replica.connections, 'ReceiveMessage', shown);
    await replica.read({ room: 'r1', payload, deliveries: deliveriesTo('r1') });
  }
  assert.equal((await replica.judged()).marks, '~=c');
});

/** Two of these have most values in common, whatever they say. */
const messageOfManyMembers = {
  payload: (content: string) =>
    JSON.stringify({
      ...JSON.parse(argumentOf('r1', content)),
      sender: null,
      title: null,
      isScreenshot: false,
      tempId: null,
      sequenceNumber: 0,
    }),
  entry: (content: string) => ({
    room: 'r1',
    payload: messageOfManyMembers.payload(content),
    deliveries: deliveriesTo('r1'),
  }),
};
